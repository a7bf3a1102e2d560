"""What a bound is, and what its terms are called: values that say it, and words made of them for people and files."""

from dataclasses import dataclass, replace

TermPath = tuple[str | int, ...]  # ("reconstruction",), ("kl", 3): the KL of rung 3, of which 1 is next to the data


def key(path: TermPath) -> str:
    """A term's path as one word, for JSON: ("kl", 3) -> "kl_3"."""
    return "_".join(map(str, path))


def spoken(path: TermPath) -> str:
    """A term's path as a person says it."""
    match path:
        case ("kl", rung):
            return f"KL of rung {rung}"
        case _:
            return key(path).replace("_", " ")


@dataclass(frozen=True)
class BoundKind:
    """What the sum of a model's terms is. what: the words before −log p(x); how: those after it; exact: whether it is
    −log p(x) itself and nothing is approximated. `str` is the whole."""

    what: str
    how: str = ""
    exact: bool = False

    def __str__(self) -> str:
        return self.of("p(x)")

    def of(self, law: str) -> str:
        """The same words about another law, such as p(x | y)."""
        return f"{self.what} -log {law}{self.how}"

    def given(self, conditional: bool) -> str:
        """In words, of p(x | y) where labels are given and of p(x) elsewhere."""
        return self.of("p(x | y)" if conditional else "p(x)")

    def with_how(self, words: str) -> "BoundKind":
        """The same with `words` added at the end."""
        return replace(self, how=f"{self.how}, {words}")


EXACT = BoundKind("exact", exact=True)
