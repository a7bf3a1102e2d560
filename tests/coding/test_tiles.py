"""Pictures of any size as tiles: where these are, what each is given, and their code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from vlb.coding.accounting import bits
from vlb.coding.contents import MAX_TILES, NOTHING, Continued, Plan
from vlb.coding.diffusion import DiffusionSettings, evenly
from vlb.coding.elements import Model, Numbers
from vlb.coding.header import Header, Numerics
from vlb.coding.models import prepared
from vlb.coding.parts import codec_of
from vlb.coding.records import Record, read_records, record_of, write_records
from vlb.coding.sequence import Lanes
from vlb.coding.strips import Laid, Strip, between, held
from vlb.coding.tiled import Tiled, tiled
from vlb.coding.tiles import InOrder
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import Role
from vlb.core.layouts import Image
from vlb.core.schema import Levels, Pieces, Schema
from vlb.data.formats.base import Declined, File, Member
from vlb.data.pieces import cut
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.model import DiffusionModel
from vlb.nn.mlp import MLP

LEVELS = 5
sides = st.integers(1, 11)
sizes = st.lists(st.tuples(sides, sides), min_size=1, max_size=3)
tiles = st.tuples(st.integers(2, 5), st.integers(2, 5))


@st.composite
def cuttings(draw: st.DrawFn) -> Pieces:
    margin = draw(st.integers(0, 4))
    return Pieces(draw(tiles), margin, draw(st.sampled_from((2, 4))) if margin else 1)


def pictures(shapes: list[tuple[int, int]], channels: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, LEVELS, (channels, *shape), np.uint8) for shape in shapes]


def as_tiles(pieces: Pieces, picture: np.ndarray) -> tuple[Tiled, np.ndarray]:
    values = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    found = tiled(Member("", values), Model((len(picture), *pieces.tile), LEVELS, pieces=pieces))
    assert not isinstance(found, str)
    return found


def schema_of(pieces: Pieces, channels: int) -> Schema:
    return Schema(layout=Image((channels, *pieces.window)), kinds=Levels(LEVELS), pieces=pieces)


def untrained(schema: Schema, strength: float = 0.3) -> DiffusionModel:
    """A network that looks at everything that it is told."""
    torch.manual_seed(0)
    model = Diffusion(backbone=MLP(width=16, blocks=1), roles=True).build(schema)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, strength / math.sqrt(max(1, parameter[0].numel())))
    return prepared(model)


@given(cuttings(), sizes, st.sampled_from((1, 3)))
@hypothesis(derandomize=True, deadline=None, max_examples=60)
def test_a_tile_sees_what_it_is_trained_to_see(pieces: Pieces, shapes: list[tuple[int, int]], channels: int) -> None:
    """Of whole pictures, roles and known values are those of the pieces that training and evaluation cut."""
    things = pictures(shapes, channels)
    found = [as_tiles(pieces, thing) for thing in things]
    laid = Laid(pieces, [strip for member, _ in found for strip in member.strips])
    x = np.concatenate([part for _, part in found])
    expected = cut(pieces, things)
    windows, role = laid.seen(x, np.arange(len(x)))
    assert np.array_equal(role, np.broadcast_to(expected.role[:, None], role.shape))
    assert np.array_equal(windows[role != Role.ABSENT], expected.x[role != Role.ABSENT])
    assert np.array_equal(laid.phase, expected.phase)
    assert channels * laid.held.sum() == sum(thing.size for thing in things) == (role == Role.MODELLED).sum()


@given(cuttings(), st.tuples(sides, sides), st.data())
@hypothesis(derandomize=True, deadline=None, max_examples=60)
def test_a_chunk_knows_nothing_of_others(pieces: Pieces, shape: tuple[int, int], data: st.DataObject) -> None:
    """Whatever tiles of a picture it has: known is what the whole picture would have known, and is in it."""
    (thing,) = pictures([shape], 1)
    member, x = as_tiles(pieces, thing)
    first = data.draw(st.integers(0, len(x) - 1))
    count = data.draw(st.integers(1, len(x) - first))
    some = slice(first, first + count)
    windows, role = Laid(pieces, [Strip(shape, first, count)]).seen(x[some], np.arange(count))
    of_tile = np.arange(len(x)).reshape(-1, 1, 1, 1) + np.zeros_like(x, np.int64)  # of each pixel, which tile it is of
    owner, whole = Laid(pieces, member.strips).seen(of_tile, np.arange(first, first + count))
    there = (owner >= first) & (owner < first + count)
    assert np.array_equal(role == Role.KNOWN, (whole == Role.KNOWN) & there)
    assert np.array_equal(role == Role.MODELLED, whole == Role.MODELLED)
    expected = Laid(pieces, member.strips).seen(x, np.arange(first, first + count))[0]
    assert np.array_equal(windows[role != Role.ABSENT], expected[role != Role.ABSENT])


@given(cuttings(), sizes, st.sampled_from((1, 3)), st.sampled_from((1, 3, 64)), st.data())
@hypothesis(derandomize=True, deadline=None, max_examples=25)
def test_tiles_come_back(
    pieces: Pieces, shapes: list[tuple[int, int]], channels: int, lanes: int, data: st.DataObject
) -> None:
    """Pictures of random sizes, cut in random ways, coded with and without latents, whole or from some tile on."""
    schema = schema_of(pieces, channels)
    found = [as_tiles(pieces, thing) for thing in pictures(shapes, channels)]
    x = np.concatenate([part for _, part in found])
    start = data.draw(st.integers(0, len(x) - 1))
    strips = between([strip for member, _ in found for strip in member.strips], start, len(x))
    code = codec_of(untrained(schema), evenly(2, 2, lanes=Lanes(lanes)), schema).of(strips)
    for form in code.forms:
        content, account = form(x[start:])
        assert np.array_equal(code.decode(content, len(x) - start), x[start:])
        assert account.coded <= held(pieces, channels, strips)
    for (member, part), thing in zip(found, pictures(shapes, channels), strict=True):
        whole = member.restored(part, Model((channels, *pieces.tile), LEVELS, pieces=pieces)).values
        assert np.array_equal(
            whole if channels == 1 else whole.transpose(2, 0, 1), thing.squeeze(0) if channels == 1 else thing
        )


@pytest.mark.parametrize("pieces", [Pieces((4, 4), 2, 4), Pieces((3, 5), 3, 2), Pieces((4, 4))])
def test_the_net_rate_is_the_bound(pieces: Pieces) -> None:
    """Bits of a chunk are −VLB of what its tiles hold, given their margins, by an independent draw: within 6 standard
    errors of the difference (false alarm 2e-9), and 1 % for the grid and the snapping. Without the margins, which
    this network looks at, the bound is another."""
    schema, settings = schema_of(pieces, 1), evenly(2, 6)
    model = untrained(schema, 0.8)
    (thing,) = pictures([(61, 67)], 1)
    member, x = as_tiles(pieces, thing)
    code = codec_of(model, settings, schema).of(member.strips)
    assert isinstance(code, InOrder)
    account = code.phases.encode(x[code.order])[1]
    totals = torch.stack([nats(model, settings, code, x, seed) for seed in (0, 1)]) / math.log(2)
    error = (totals[0] - totals[1]).std().item() / math.sqrt(2) * math.sqrt(1.5 * len(x)) / thing.size
    rate = totals.mean(0).sum().item() / thing.size
    assert account.net / account.coded == pytest.approx(rate, rel=0.01, abs=6 * error)
    header = Header(b"12345678", False, (1, *pieces.tile), LEVELS, settings, Numerics("cpu", 1, (2, 13)), pieces)
    assert abs(bits(model, header, code, x) / thing.size - rate) < 6 * error
    if pieces.margin:
        code.laid = Laid(pieces, [Strip(strip.size, i, 1) for strip in member.strips for i in range(len(x))])
        blind = nats(model, settings, code, x, 0).sum().item() / math.log(2) / thing.size
        assert abs(blind - rate) > 6 * error


@torch.no_grad()
def nats(model: DiffusionModel, settings: DiffusionSettings, code: InOrder, x: np.ndarray, seed: int) -> torch.Tensor:
    """−VLB of each tile, given its margin, by one draw."""
    seen, condition = code.seen(x, 0, len(x))
    generator = torch.Generator().manual_seed(seed)
    terms = settings.bounded(model).terms(torch.from_numpy(seen), condition, generator)
    return torch.stack(list(terms.values())).sum(0)


def test_a_chunk_of_too_many_tiles_is_damage() -> None:
    model = Model((1, 4, 4), LEVELS, pieces=Pieces((4, 4), 2, 4))
    record = Record("a", 0, b"", (Tiled("", Numbers(np.dtype(np.uint8)), 1, (4, 4 * (MAX_TILES + 1)), MAX_TILES + 1),))
    left = Plan.read(Reader(Plan(NOTHING, (record,), 1, bytes(4)).head()), model)
    assert left.count == MAX_TILES == sum(strip.count for strip in left.strips)
    with pytest.raises(Damaged, match="more tiles than a chunk may hold"):
        Plan.read(Reader(Plan(NOTHING, (record,), 0, bytes(4)).head()), model)


def test_what_no_picture_has_is_damage() -> None:
    pieces = Pieces((4, 4), 2, 4)
    for strip in (Strip((9, 9), 8, 2), Strip((0, 9), 0, 1), Strip((9, 1 << 22), 0, 1), Strip((9, 9), 0, 3)):
        writer = Writer()
        strip.write(writer)
        with pytest.raises(Damaged):
            Strip.read(Reader(writer.content()), pieces, 1, 2)
    assert "too wide" in str(
        tiled(Member("", np.zeros((1, (1 << 20) + 1), np.uint8)), Model((1, 4, 4), 5, pieces=pieces))
    )


@given(cuttings(), sizes, st.sampled_from((1, 3)))
@hypothesis(derandomize=True, deadline=None, max_examples=40)
def test_records_and_plans_come_back(pieces: Pieces, shapes: list[tuple[int, int]], channels: int) -> None:
    model = Model((channels, *pieces.tile), LEVELS, pieces=pieces)
    members = tuple(
        Member(str(i), thing[0] if channels == 1 else thing if i % 2 else thing.transpose(1, 2, 0))
        for i, thing in enumerate(pictures(shapes, channels))
    )
    record, x = record_of("a", 0, File(members, b"rest"), model)
    again = read_records(write_records((record,))[0], 1, Reader(write_records((record,))[1]), model)
    assert again == (record,) and isinstance(record, Record)
    restored = record.restored(x, model)
    assert all(np.array_equal(one.values, other.values) for one, other in zip(restored.members, members, strict=True))
    half = len(x) // 2
    plans = [Plan(NOTHING, (record,), len(x) - max(1, half), bytes(4))]
    if half:
        plans.append(Plan(Continued(1, half, len(x) - half, between(record.strips, half, len(x))), (), 0, bytes(4)))
    for plan in plans:
        found = Plan.read(Reader(plan.head()), model)
        assert found == plan and found.count == sum(strip.count for strip in found.strips)
    assert held(pieces, channels, record.strips) == sum(member.values.size for member in members)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((9, 9, 3), np.uint8), "pictures of 1 channel"),
        (np.full((9, 9), 5, np.uint8), "none of the 5 levels"),
        (np.zeros((9, 9)), "float64"),
        (np.zeros((2, 9, 9, 1), np.uint8), "pictures of 1 channel"),
        (np.zeros((0, 9), np.uint8), "pictures of 1 channel"),
        (np.zeros(9, np.uint8), "pictures of 1 channel"),
    ],
)
def test_what_is_no_picture_of_the_model_is_said(values: np.ndarray, said: str) -> None:
    with pytest.raises(Declined, match=said):
        record_of("a", 0, File((Member("", values),), b""), Model((1, 4, 4), 5, pieces=Pieces((4, 4), 2, 4)))


def test_the_header_says_how_pictures_are_cut() -> None:
    for pieces in (Pieces((4, 6), 2, 4), Pieces((4, 6), told=False), Pieces((4, 6)), None):
        numerics = Numerics("cpu", 1, (2, 13))
        header = Header(b"12345678", False, (3, 4, 6), 256, DiffusionSettings(2, (0, 90, 255)), numerics, pieces)
        assert Header.read(Reader(header.content())) == header
    content = Header(b"12345678", False, (3, 4, 6), 256, DiffusionSettings(2, (0, 255)), numerics, Pieces((4, 6), 2, 4))
    for further in (b"\x02\x03\x01", b"\x02\x04\x00", b"\x02\x04", b"\xff\xff\x7f\x04\x01"):
        changed = content.content()[:-4] + bytes((len(further),)) + further
        with pytest.raises(Damaged):
            Header.read(Reader(changed))
