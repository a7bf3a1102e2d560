"""`python -m vlb` is the command line."""

from vlb.cli import main

main()
