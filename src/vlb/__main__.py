"""`python -m vlb` is the command line."""

from vlb.interfaces.cli import main

main()
