"""What is said of the columns of a table, alike things once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FIRST = 5  # of many, so many are named


@dataclass(frozen=True)
class Note:
    """What is to be said of a column. text: with all that is the column's own; sort: what is said alike of many."""

    text: str
    sort: str

    def and_(self, text: str, sort: str | None = None) -> "Note":
        """The same with more, of the sort `sort`, by default the text itself."""
        return Note(self.text + text, self.sort + (text if sort is None else sort))


def folded(notes: Iterable[tuple[str, Note]]) -> tuple[str, ...]:
    """Notes of columns as lines: one for all columns of which the same is said, and one for all of a sort, with the
    first as an example, where it comes in more than `FIRST` texts."""
    sorts: dict[str, dict[str, list[str]]] = {}
    for name, note in notes:
        sorts.setdefault(note.sort, {}).setdefault(note.text, []).append(name)
    lines: list[str] = []
    for sort, texts in sorts.items():
        if len(texts) <= FIRST:
            lines += [f"{few(names, 'column')}: {text}" for text, names in texts.items()]
            continue
        text, (name, *_) = next(iter(texts.items()))
        every = [name for names in texts.values() for name in names]
        lines.append(f"{few(every, 'column')}: {sort} ({name}: {text})")
    return tuple(lines)


def few(names: Sequence[str], what: str) -> str:
    """The first few of some things, and how many more there are."""
    more = len(names) - FIRST
    return ", ".join(names[:FIRST]) + (f" and {more:,} more {what}{'s' if more > 1 else ''}" if more > 0 else "")
