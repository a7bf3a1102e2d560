"""What every data set is here: a schema and three splits of values under it, and nothing hidden.

Discrete data have a likelihood in bits only because K is known, so the schema travels with the values.
Nothing is scaled or dequantised at this place; that belongs to the model.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vlb.base.configuration import encode
from vlb.base.errors import UserError, suggestion
from vlb.base.walk import Reason
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.marginals import chunks, log_marginals
from vlb.core.schema import Schema, smallest
from vlb.data.about import About, Count

OF_ALL = ("digest", "thing")  # what a split has of all its examples together


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set.

    x: (n, *shape) the numbers of values, in the schema's dtype; images are (n, C, H, W). It may be read-only (a
        memmap), or computed as it is asked for: ask for a batch, and copy it before writing to it. An unobserved
        element holds a valid value, never NaN.
    labels: (n,) int64 class numbers; observed: (n, *shape) bool, which elements are known; weight: (n,) float64, how
        much each example counts; whole: (n,) int64, the thing that each is a piece of; given: (n, *shape) bool, but of
        pieces the same in every example, which elements a likelihood is told and not of; counted: (n,) int64, how many
        elements of each example a likelihood is of, where these differ; planes: (n, maps, …) float32, maps aligned with
        x that a model is told, as many as the schema's layout says. Each may be None: no classes, all observed, all
        alike, all whole, nothing given, all of one size, no maps.
    digest: what stands for the values of x where it would take long to compute them all; thing: whole -> the thing
        itself, (C, *size).

    Raises ValueError if they disagree about n or the shape.
    """

    x: np.ndarray
    labels: np.ndarray | None = None
    observed: np.ndarray | None = None
    weight: np.ndarray | None = None
    whole: np.ndarray | None = None
    given: np.ndarray | None = None
    counted: np.ndarray | None = None
    planes: np.ndarray | None = None
    digest: bytes | None = None
    thing: Callable[[int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "weight", "whole", "counted"):
            part = getattr(self, name)
            if part is not None and part.shape != (len(self.x),):
                raise ValueError(f"{name} of shape {part.shape} for {len(self.x)} examples")
        for name in ("observed", "given"):
            part = getattr(self, name)
            if part is not None and part.shape != self.x.shape:
                raise ValueError(f"{name} of shape {part.shape} for examples {self.x.shape}")
        if self.planes is not None and (len(self.planes), *self.planes.shape[2:]) != (len(self.x), *self.x.shape[2:]):
            raise ValueError(f"planes of shape {self.planes.shape} for examples {self.x.shape}")

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.x)

    @property
    def dimensions(self) -> float:
        """The number of values in one example that a likelihood is of, in the mean where these differ: what bits per
        dimension divides by."""
        if self.counted is not None and len(self):
            return float(self.counted.mean())
        told = 0 if self.given is None or not len(self) else int(self.given[0].sum())
        return math.prod(self.x.shape[1:]) - told

    @property
    def sizes(self) -> np.ndarray:
        """How many values of each example a likelihood is of, (n,)."""
        return np.full(len(self), self.dimensions) if self.counted is None else self.counted

    @property
    def modelled(self) -> np.ndarray:
        """Which elements a likelihood is of, (n, *shape) bool: those that are observed and not given."""
        there = np.ones(self.x.shape, bool) if self.observed is None else self.observed
        return there if self.given is None else there & ~self.given

    def take(self, index: np.ndarray) -> "Split":
        """A copy of the examples at `index`, in that order, with all that is known of them."""
        parts = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in OF_ALL}
        taken: dict[str, Any] = {name: part[index] for name, part in parts.items() if part is not None}
        return replace(self, digest=None, **taken)

    def subset(self, count: int, seed: int = 0) -> "Split":
        """At most `count` examples, drawn without replacement, in the split's own order."""
        return self if len(self) <= count else self.take(self.subset_index(count, seed))

    def subset_of_things(self, count: int) -> np.ndarray:
        """The places of at most `count` examples, as `subset` takes them, or of all pieces of so many things;
        increasing int64."""
        if self.whole is None:
            return self.subset_index(count)
        things = np.unique(self.whole)
        if count < len(things):
            things = np.random.default_rng(0).choice(things, count, replace=False)
        return np.flatnonzero(np.isin(self.whole, things))

    def subset_index(self, count: int, seed: int = 0) -> np.ndarray:
        """Which examples `subset` takes, increasing int64."""
        if len(self) <= count:
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))

    def batch(self, index: np.ndarray, conditional: bool, device: torch.device | str) -> tuple[Tensor, Condition]:
        """Examples `index`, (n, *shape) on the device; their labels where asked for and there are any, the roles of
        their elements where some are not observed, and their planes."""
        x = torch.from_numpy(np.ascontiguousarray(self.x[index])).to(device)
        labels = self.labels if conditional else None
        planes = None if self.planes is None else torch.from_numpy(self.planes[index]).to(device)
        if labels is None and self.observed is None and self.given is None:
            return x, UNCONDITIONAL if planes is None else Condition(planes=planes)
        role = None if self.observed is None else np.where(self.observed[index], Role.MODELLED, Role.ABSENT)
        if self.given is not None:
            role = np.full(x.shape, Role.MODELLED) if role is None else role
            role = np.where(self.given[index] & (role == Role.MODELLED), Role.KNOWN, role)
        return x, Condition(
            label=None if labels is None else torch.from_numpy(labels[index]).to(device),
            role=None if role is None else torch.from_numpy(role.astype(np.uint8)).to(device),
            planes=planes,
        )


SPLITS = ("train", "validation", "test")


class Fresh(Protocol):
    """Where training draws its examples, if there are more than could be listed."""

    def draw(self, seed: int, step: int, count: int) -> Split:
        """So many examples, a function of (seed, step)."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set: its schema and three disjoint splits.

    absent: splits that are not the data's own, and are refused by name, because `why`: something stands in for them.
    marginals: (D, K) log-marginals of the training examples where these are absent.
    left_out: what was found and not taken; remarks: what was decided in reading, a sentence each; fresh: what training
    draws from, where `train` is but a sample of it; density: log p of examples (n, *shape), (n,) nats, under the law
    that they were drawn from, where it is known.

    Raises ValueError if a split holds examples of another shape than the schema's.
    """

    name: str
    schema: Schema
    train: Split
    validation: Split
    test: Split
    absent: tuple[str, ...] = ()
    why: str = ""
    marginals: np.ndarray | None = None
    left_out: tuple[Reason, ...] = ()
    remarks: tuple[str, ...] = ()
    fresh: Fresh | None = None
    density: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self) -> None:
        for name in SPLITS:
            shape = getattr(self, name).x.shape[1:]
            if tuple(shape) != self.schema.shape:
                raise ValueError(f"{self.name}: the {name} split has shape {shape}, the schema {self.schema.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example; (C, H, W) for images."""
        return self.schema.shape

    @property
    def dimensions(self) -> int:
        """The number of values in one example: what bits per dimension divides by."""
        return self.schema.dimensions

    @property
    def levels(self) -> int:
        """The largest number of values of an element."""
        return self.schema.levels

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of a SHA-256 over what the values are, shapes, values and labels; the name plays no part."""
        plain = self.schema.plain and self.schema.pieces is None
        what = f"vlb-data-1 {self.levels}" if plain else f"vlb-data-2 {json.dumps(_meaning(self.schema))}"
        kind = smallest(self.levels).newbyteorder("<") if plain else np.dtype("<f8")
        digest = hashlib.sha256(what.encode())
        for split in (self.train, self.validation, self.test):
            digest.update(f" {split.x.shape} {split.labels is not None}".encode())
            for chunk in chunks(split.x) if split.digest is None else ():
                # One byte order for every machine; a chunk at a time, for the array may be a large memmap.
                digest.update(np.asarray(chunk, dtype=kind).tobytes())
            if split.digest is not None:
                digest.update(split.digest)
            elif split.observed is not None:
                digest.update(np.packbits(split.observed).tobytes())
            if split.labels is not None:
                digest.update(np.asarray(split.labels, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]

    @property
    def about(self) -> About:
        """What there is, and what was left out."""
        splits = tuple(Count(name, len(getattr(self, name))) for name in SPLITS)
        classes: tuple[Count, ...] = ()
        if self.schema.labels is not None and self.train.labels is not None:
            counts = np.bincount(self.train.labels, minlength=len(self.schema.labels)).tolist()
            classes = tuple(map(Count, self.schema.labels, counts))
        return About(splits, classes, self.left_out, self.remarks)

    @cached_property
    def log_marginals(self) -> np.ndarray:
        """(D, K) float64 log-probabilities of each element by itself, of the training examples (`core.marginals`)."""
        if self.marginals is not None:
            return self.marginals
        each, laws = self.schema.counts if self.schema.columns else None, self.schema.laws
        found = log_marginals(self.train.x, self.levels, each, laws)
        alike = np.broadcast_to(found[:, None], (laws, self.dimensions // laws, self.levels))
        return alike.reshape(self.dimensions, self.levels)

    def with_test(self, name: str, test: Split) -> "Dataset":
        """The same with other examples for its test split, called after them."""
        return replace(self, name=name, test=test, absent=tuple(split for split in self.absent if split != "test"))

    def split(self, name: str) -> Split:
        """The split called 'train', 'validation' or 'test'; any other name, and an absent split, raise `UserError`."""
        if name not in SPLITS:
            raise UserError(f"there is no split {name!r}; {suggestion(name, SPLITS)}")
        if name in self.absent:
            raise UserError(self.why)
        split: Split = getattr(self, name)
        return split


def _meaning(schema: Schema) -> Any:
    """A schema as plain values without how numbers are written, which is no part of what they are."""
    told = encode(schema)
    if schema.columns is not None:
        for column in told["kinds"]:
            del column["thousands"]
    return told
