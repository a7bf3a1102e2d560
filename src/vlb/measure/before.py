"""What kept evaluations of before said in words, in today's values. Nothing else in the library reads words."""

from vlb.core.terms import EXACT, BoundKind, TermPath


def term(words: str) -> TermPath:
    """The path of a term that was called kl_3, or reconstruction."""
    name, _, rung = words.rpartition("_")
    return ("kl", int(rung)) if name == "kl" else (words,)


def bound(words: str) -> BoundKind:
    """What a bound is that was only described: of these, mixtures' alone are exact."""
    what, _, how = words.partition(" -log p(x)")
    return BoundKind(what, how, exact=what == EXACT.what)
