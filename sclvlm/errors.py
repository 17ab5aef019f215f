"""The errors a user can cause. Each message says where, the rule, what was found, and the remedy."""

from __future__ import annotations


class SclvlmError(Exception):
    """A failure while working on good instructions: a broken record, a missing image, a failed engine."""

    exit_code = 1


class ConfigError(SclvlmError):
    """The instructions themselves are wrong: an unknown key, a wrong type, a path that does not exist."""

    exit_code = 2


class RunError(SclvlmError):
    """The run can't go on, whatever it would be asked next: no sample is at fault."""
