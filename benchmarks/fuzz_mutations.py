"""How `fuzz_files.py` damages files: bytes, as disks and networks do, and contents, as one would who wants to mislead.

A file damaged in the second way has all checksums made right again: those of an archive's header, chunks and end
marker, and the digest of the model that it carries; those of checkpoints and saved values. What an archive says of the
*decoded* values and files cannot be made right without decoding, and stays as it was.
"""

import copy
import io
import json
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from vlb.base.errors import UserError
from vlb.coding.container import DATA, HEADER_CRC, MAGIC, MODEL, ArchiveReader, ArchiveWriter, Chunk
from vlb.coding.general import unpack
from vlb.coding.header import DIGEST
from vlb.coding.records import MAX_PIECE
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.measure import evaluation_file
from vlb.store import checkpoint
from vlb.store.carried import from_carried
from vlb.store.checkpoint import Checkpoint

Rng = np.random.Generator
RUNS_OF = (0, 0x01, 0x7F, 0x80, 0xFF)
SENSELESS: tuple[Any, ...] = (
    -1, 0, 0.5, 1, 3, 1000, 2**31, 2**62, 10**12, 10**30, 1e30, -1e30, 1e-30, float("nan"), float("inf"), None, True,
    "", "x", "a" * 5000, [], [[]], [-1], [1] * 70, [10**12], ["a", "a"], {}, {"type": "mlp"}, {"x": {"x": {}}},
)  # fmt: skip


@dataclass(frozen=True)
class Raw:
    """All that is asked of a header to write it."""

    written: bytes

    def content(self) -> bytes:
        """As it is."""
        return self.written


@dataclass(frozen=True)
class Parts:
    """An archive taken apart. header: its bytes between magic and check; chunks: kinds and bodies."""

    header: bytes
    chunks: tuple[tuple[int, bytes], ...]

    def content(self) -> bytes:
        """The archive again, with the checksums of what it is now."""
        stream = io.BytesIO()
        writer = ArchiveWriter(stream, Raw(self.header))  # type: ignore[arg-type]
        for kind, body in self.chunks:
            writer.add(kind, body)
        writer.finish()
        return stream.getvalue()


def taken_apart(content: bytes) -> Parts:
    """A whole archive."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.vlb"
        path.write_bytes(content)
        archive = ArchiveReader(path)
        chunks = tuple((chunk.kind, chunk.body) for chunk in archive.chunks() if isinstance(chunk, Chunk))
    return Parts(content[len(MAGIC) : archive._start - HEADER_CRC], chunks)


def damaged(content: bytes, other: bytes, rng: Rng) -> bytes:
    """`content` with one to three kinds of damage; other: bytes to splice with."""
    for _ in range(int(rng.integers(1, 4))):
        content = DAMAGES[int(rng.integers(len(DAMAGES)))](content, other, rng)
    return content


def flipped(content: bytes, _: bytes, rng: Rng) -> bytes:
    """With up to eight bits the other way."""
    changed = bytearray(content)
    for at in rng.integers(0, len(content) or 1, int(rng.integers(1, 9))) if content else ():
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwritten(content: bytes, _: bytes, rng: Rng) -> bytes:
    """With a run of one byte, or of any."""
    at, length = stretch(content, rng)
    run = rng.bytes(length) if rng.random() < 0.5 else bytes([int(rng.choice(RUNS_OF))]) * length
    return content[:at] + run + content[at + length :]


def cut(content: bytes, _: bytes, rng: Rng) -> bytes:
    """Without its end, or without a stretch."""
    at, length = stretch(content, rng)
    return content[:at] if rng.random() < 0.3 else content[:at] + content[at + length :]


def inserted(content: bytes, _: bytes, rng: Rng) -> bytes:
    """With a stretch of any bytes, or of its own, in it."""
    at, length = stretch(content, rng)
    here = int(rng.integers(len(content) + 1))
    return content[:here] + (rng.bytes(length) if rng.random() < 0.5 else content[at : at + length]) + content[here:]


def spliced(content: bytes, other: bytes, rng: Rng) -> bytes:
    """Its beginning, and the end of another; or a stretch of the other in place of its own."""
    at, length = stretch(content, rng)
    if rng.random() < 0.5:
        return content[:at] + other[int(rng.integers(len(other) + 1)) :]
    start = int(rng.integers(len(other) + 1))
    return content[:at] + other[start : start + length] + content[at + length :]


def miscounted(content: bytes, _: bytes, rng: Rng) -> bytes:
    """With a number, as archives write lengths and counts, that is a little or far from what it was."""
    at = int(rng.integers(len(content) or 1))
    reader = Reader(content[at : at + 10])
    try:
        number = reader.number(1 << 63)
    except Damaged:
        return content
    wrong = (number + 1, number - 1, 2 * number, number // 2, 0, 1 << int(rng.integers(64)), number ^ 1 << 7)
    return content[:at] + Writer().number(max(0, wrong[int(rng.integers(7))])).content() + content[at + reader.at :]


DAMAGES: tuple[Callable[[bytes, bytes, Rng], bytes], ...] = (flipped, overwritten, cut, inserted, spliced, miscounted)


def stretch(content: bytes, rng: Rng) -> tuple[int, int]:
    """A place and a length; short ones more often."""
    return int(rng.integers(len(content) + 1)), int(2 ** rng.uniform(0, 8))


def misleading(parts: Parts, others: Parts, rng: Rng) -> bytes:
    """An archive with other content, and checksums that are right; others: of another archive."""
    which = int(rng.integers(6))
    chunks = list(parts.chunks)
    at = int(rng.integers(len(chunks)))
    kind, body = chunks[at]
    other = others.chunks[int(rng.integers(len(others.chunks)))]
    if which == 0:
        return Parts(damaged(parts.header, others.header, rng), parts.chunks).content()
    if which == 1:
        how = int(rng.integers(5))
        there = int(rng.integers(len(chunks)))
        if how == 0:
            del chunks[at]
        elif how == 1:
            chunks[at], chunks[there] = chunks[there], chunks[at]
        elif how == 2:
            chunks[at] = other
        elif how == 3:
            chunks.insert(there, other if rng.random() < 0.5 else chunks[at])
        else:
            chunks[at] = int(rng.integers(8)), body
        return Parts(parts.header, tuple(chunks)).content()
    if which == 2 and chunks[0][0] == MODEL:
        return with_another_model(parts, rng)
    if which in (3, 4) and kind == DATA:
        chunks[at] = kind, other_records(body, rng)
    else:
        chunks[at] = kind, damaged(body, other[1], rng)
    return Parts(parts.header, tuple(chunks)).content()


def with_another_model(parts: Parts, rng: Rng) -> bytes:
    """With what the carried model says, or its weights, changed, and a digest in the header that is right."""
    count = sum(kind == MODEL for kind, _ in parts.chunks)
    model = b""
    for _, body in parts.chunks[:count]:
        reader = Reader(body)
        size = reader.number(MAX_PIECE)
        model += unpack(reader.rest(), size)
    line, _, weights = model.partition(b"\n")
    which = int(rng.integers(4))
    if which == 0:
        model = json.dumps(other_json(json.loads(line), rng)).encode() + b"\n" + weights
    elif which == 1:
        model = line + b"\n" + damaged(weights, weights, rng)
    elif which == 2:
        model = line + b"\n" + with_other_numbers(weights, rng)
    else:
        model = damaged(line, line, rng) + b"\n" + weights
    header = parts.header
    with suppress(Exception):  # what is no model has no digest
        header = header[:1] + from_carried(model, Path("fuzzed")).identity[:DIGEST] + header[1 + DIGEST :]
    chunk = MODEL, Writer().number(len(model)).content() + b"\0" + model
    return Parts(header, (chunk, *parts.chunks[count:])).content()


def with_other_numbers(weights: bytes, rng: Rng) -> bytes:
    """A safetensors file of float32 with some numbers replaced."""
    start = 8 + int.from_bytes(weights[:8], "little")
    numbers = np.frombuffer(weights[start : start + (len(weights) - start) // 4 * 4], np.float32).copy()
    if numbers.size:
        where = rng.integers(0, numbers.size, int(rng.integers(1, 4)))
        numbers[where] = rng.choice(np.array([np.nan, np.inf, -1e30, 1e30, 1e9, 1e4, -50, 0, 1e-30, 3], np.float32))
        if rng.random() < 0.2:
            numbers *= np.float32(rng.choice([-1, 0, 10, 1e4, 1e8]))
    return weights[:start] + numbers.tobytes() + weights[start + numbers.nbytes :]


def other_records(body: bytes, rng: Rng) -> bytes:
    """A chunk of data that says something else of its files: in what is packed, packed again, or in the counts."""
    reader = Reader(body)
    try:
        numbers = [reader.number()]
        if numbers[0]:
            numbers += [reader.number(), reader.number()]
        numbers.append(reader.number())
        check = reader.raw(4)
        numbers.append(reader.number())
        said = b""
        if numbers[-1]:
            size = reader.number()
            said = unpack(reader.raw(reader.number()), size)
    except Damaged:
        return damaged(body, body, rng)
    if said and rng.random() < 0.7:
        said = damaged(said, said, rng)
    else:
        at = int(rng.integers(len(numbers)))
        numbers[at] = max(0, numbers[at] + int(rng.choice([-2, -1, 1, 2, 1000, 1 << 24, 1 << 40])))
    writer = Writer()
    for number in numbers[:-1]:
        writer.number(number)
    writer.raw(check).number(numbers[-1])
    if said:
        writer.number(len(said)).number(len(said) + 1).raw(b"\0" + said)
    return writer.raw(reader.rest()).content()


def other_json(value: Any, rng: Rng) -> Any:
    """A JSON value with one to three of its parts replaced, left out, or made larger."""
    value = json.loads(json.dumps(value))
    for _ in range(int(rng.integers(1, 4))):
        places = list(inner(value))
        if not places:
            return senseless(rng)
        holder, key = places[int(rng.integers(len(places)))]
        found, how = holder[key], rng.random()
        if how < 0.1:
            del holder[key]
        elif how < 0.5 and isinstance(found, int | float) and not isinstance(found, bool):
            holder[key] = (found + 1, found - 1, -found, 2 * found, 10 * found, found / 2, 0, found + 0.5)[
                int(rng.integers(8))
            ]
        elif how < 0.6 and isinstance(found, list):
            holder[key] = found + found if rng.random() < 0.5 else found[:-1]
        elif how < 0.7 and isinstance(holder, dict):
            holder[f"{key}x"] = copy.deepcopy(found)
        else:
            holder[key] = senseless(rng)
    return value


def senseless(rng: Rng) -> Any:
    """One of `SENSELESS`, to be changed further."""
    return copy.deepcopy(SENSELESS[int(rng.integers(len(SENSELESS)))])


def inner(value: Any) -> list[tuple[Any, Any]]:
    """Every part of a JSON value, as what holds it and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in inner(value[key])]


def misleading_checkpoint(content: bytes, rng: Rng, folder: Path) -> bytes:
    """Other tensors or another state, with a digest that is right."""
    path = folder / "checkpoint"
    path.write_bytes(content)
    stored = checkpoint.read(path)
    tensors, state = dict(stored.tensors), stored.state
    if state and (rng.random() < 0.4 or not tensors):
        state = other_json(state, rng)
    elif tensors:
        name = sorted(tensors)[int(rng.integers(len(tensors)))]
        tensors |= other_tensor(name, tensors.pop(name), rng)
    try:
        checkpoint.save(path, Checkpoint(tensors, state))
    except (UserError, ValueError):
        return damaged(content, content, rng)
    return path.read_bytes()


def other_tensor(name: str, tensor: torch.Tensor, rng: Rng) -> dict[str, torch.Tensor]:
    """In place of one: none, or one of another name, shape, type or content."""
    which = int(rng.integers(6))
    if which == 0:
        return {}
    if which == 1:
        return {name + "x": tensor}
    if which == 2:
        return {name: tensor.reshape(-1)[: tensor.numel() // 2].clone()}
    if which == 3:
        dtypes = (torch.float64, torch.int64, torch.uint8, torch.bool, torch.float16, torch.complex64)
        return {name: tensor.to(dtypes[int(rng.integers(len(dtypes)))])}
    changed = tensor.clone().reshape(-1)
    if changed.numel():
        value = float(rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e9, -1.0, 0.0, 3.0]))
        if changed.is_floating_point():
            changed[int(rng.integers(changed.numel()))] = value
        else:
            changed[int(rng.integers(changed.numel()))] = int(rng.integers(-3, 100))
    return {name: changed.reshape(tensor.shape)}


def misleading_values(content: bytes, rng: Rng, _: Path) -> bytes:
    """Saved values of other numbers or of another description, with a digest that is right."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    about = json.loads(str(arrays.pop("about")))
    if rng.random() < 0.5:
        about = other_json(about, rng)
    else:
        name = sorted(arrays)[int(rng.integers(len(arrays)))]
        array = arrays.pop(name)
        which = int(rng.integers(5))
        if which == 0:
            arrays[name] = array.reshape(-1)[: array.size // 2]
        elif which == 1:
            arrays[name] = array.astype(str(rng.choice(["f4", "i8", "u1", "S8", "c16", "?"])))
        elif which == 2:
            arrays[name] = array[None]
        elif which == 3:
            changed = np.array(array).reshape(-1)
            with np.errstate(all="ignore"):
                changed[: rng.integers(changed.size) + 1] = np.array(
                    rng.choice([np.nan, np.inf, 1e300, -1e300, -1, 0, 7])
                ).astype(array.dtype)
            arrays[name] = changed.reshape(array.shape)
    if isinstance(about, dict):
        about.pop("digest", None)
        about["digest"] = evaluation_file._digest(arrays, about)
    stream = io.BytesIO()
    np.savez(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def misleading_said(content: bytes, rng: Rng, _: Path) -> bytes:
    """JSON that says something else, in one of its lines where it is one value per line."""
    try:
        return json.dumps(other_json(json.loads(content), rng)).encode()
    except ValueError:
        lines = content.splitlines()
        at = int(rng.integers(len(lines)))
        lines[at] = json.dumps(other_json(json.loads(lines[at]), rng)).encode()
        return b"\n".join([*lines, b""])


def misleading_schema(content: bytes, rng: Rng, _: Path) -> bytes:
    """TOML that says something else."""
    said = other_json(tomllib.loads(content.decode()), rng)
    with suppress(TypeError, ValueError, AttributeError):  # TOML has no null, and a table at its top
        return tomli_w.dumps(said).encode()
    return damaged(content, content, rng)
