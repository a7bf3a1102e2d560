"""A module per command: it reads the flags, calls the verb and prints. What is heavy is imported when it is run."""

from cyclopts import Parameter

Flags = Parameter(name="*")  # of an options object: each of its fields is a flag
Out = Parameter(name=["-o", "--out"], allow_leading_hyphen=True)  # - is standard output
Archive = Parameter(allow_leading_hyphen=True)  # - is standard input
