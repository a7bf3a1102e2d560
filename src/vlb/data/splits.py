"""How data that come without their own splits are divided: one stated permutation, no other chance.

Of n examples in file order, numpy's `default_rng(0).permutation(n)` gives the order; its first n // 10
(at least one) are the test split, the next n // 10 the validation split, the rest is for training. Where
the data bring a test or a validation split, only the missing one is taken, by the same rule.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.base.words import so_many
from vlb.core.schema import levels_schema
from vlb.data.dataset import Dataset, Split


def division(
    n: int, *, validation: bool, test: bool, what: str
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Indices (train, validation, test) into n examples; None for a split that is not asked for.

    Raises `UserError`, naming `what`, where n is too small to give each split an example.
    """
    if not (validation or test):
        return np.arange(n), None, None
    wanted = 1 + validation + test
    if n < wanted:
        raise UserError(f"{what} holds {so_many(n, 'example')}; at least {wanted} are needed to split them")
    order = np.random.default_rng(0).permutation(n)
    tenth = max(1, n // 10)
    tests = order[:tenth] if test else None
    rest = order[tenth:] if test else order
    validations = rest[:tenth] if validation else None
    return (rest[tenth:] if validation else rest), validations, tests


def completed(
    name: str,
    levels: int,
    train: Split,
    validation: Split | None,
    test: Split | None,
    what: str,
    labels: tuple[str, ...] | None = None,
) -> Dataset:
    """A data set of whole numbers, of the splits given, the missing ones taken out of `train` (see the module).

    labels: the names of the classes, by default their numbers, from 0 to the largest that there is.

    Raises `UserError` as `parted`.
    """
    parts = parted(train, validation, test, what)
    schema = levels_schema(tuple(train.x.shape[1:]), levels, parts.classes)
    if labels is not None:
        schema = replace(schema, labels=labels)
    return Dataset(name, schema, parts.train, parts.validation, parts.test)


class Parted(NamedTuple):
    """Three splits; classes: how many there are, None without labels."""

    train: Split
    validation: Split
    test: Split
    classes: int | None


def parted(train: Split, validation: Split | None, test: Split | None, what: str) -> Parted:
    """The splits given, the missing ones taken out of `train` (see the module).

    Raises `UserError` where there are too few examples, an empty split, splits of different shapes, or
    labels for some splits only.
    """
    parts = {"train": train, "validation": validation, "test": test}
    given = {key: part for key, part in parts.items() if part is not None}
    for key, part in given.items():
        if len(part) == 0:
            raise UserError(f"{what}: the {key} split is empty; give it at least one example or leave it out")
        if part.x.shape[1:] != train.x.shape[1:]:
            raise UserError(
                f"{what}: examples of the {key} split have shape {part.x.shape[1:]}, those of train "
                f"{train.x.shape[1:]}; make them the same"
            )
        if (part.labels is None) != (train.labels is None):
            raise UserError(f"{what}: only some splits have labels; label {' and '.join(given)}, or none")
    counts = [int(part.labels.max()) + 1 for part in given.values() if part.labels is not None]
    indices = division(len(train), validation=validation is None, test=test is None, what=what)
    if validation is None or test is None:
        whole = train
        train = _taken(whole, indices[0])
        validation = validation if indices[1] is None else _taken(whole, indices[1])
        test = test if indices[2] is None else _taken(whole, indices[2])
    assert validation is not None and test is not None
    return Parted(train, validation, test, max(counts) if counts else None)


def _taken(whole: Split, indices: np.ndarray) -> Split:
    # A fancy index copies, so nothing of a memmapped file or of the other splits is kept alive.
    return replace(part := whole.take(indices), x=np.ascontiguousarray(part.x))
