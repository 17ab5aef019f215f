"""Agents: a world, a policy that acts from its pixels, and what ties both to records of prompts and completions.

An episode is a record like any other. Its prompt names the start, its completion lists the actions; the frames between
them are not kept, since a world that is told the start and the actions shows the same ones again.
"""
