"""What a data set is made of, as a person should read it before training: what there is, and what was left out."""

from collections.abc import Iterator
from dataclasses import dataclass

from vlb.base.walk import Reason

CLASSES_SHOWN = 20


@dataclass(frozen=True)
class Count:
    """How many examples are of a split, or of a class in the train split."""

    name: str
    examples: int


@dataclass(frozen=True)
class About:
    """splits, classes: with how many examples, () without classes; left_out: what was not taken and why; remarks: what
    else had to be decided, a sentence each without its full stop."""

    splits: tuple[Count, ...]
    classes: tuple[Count, ...] = ()
    left_out: tuple[Reason, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def rows(self) -> Iterator[tuple[str, str]]:
        """What there is to say, under a heading each."""
        yield "examples", ", ".join(f"{split.name} {split.examples:,}" for split in self.splits)
        if self.classes:
            shown = ", ".join(f"{c.name}: {c.examples:,}" for c in self.classes[:CLASSES_SHOWN])
            yield f"{len(self.classes)} classes", shown + (", …" if len(self.classes) > CLASSES_SHOWN else "")
        missing = [c.name for c in self.classes if not c.examples]
        if missing:
            yield "classes without a training example", ", ".join(missing)
        for reason in self.left_out:
            yield "left out", str(reason)
        for remark in self.remarks:
            yield "note", remark

    def examples_of(self, name: str) -> int | None:
        """Training examples of a class; None where that is not known."""
        return next((c.examples for c in self.classes if c.name == name), None)
