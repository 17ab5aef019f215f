"""python -m sclvlm is the command sclvlm."""

from sclvlm.cli import main

main()
