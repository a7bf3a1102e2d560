"""Things of any size cut into pieces and put together again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.core.condition import Role
from vlb.core.schema import Pieces
from vlb.data.pieces import Cut, Grid, cut, put


@st.composite
def cases(draw: st.DrawFn) -> tuple[Pieces, list[np.ndarray]]:
    """Pieces of one to three axes, margins wider than tiles among them, and things of several sizes whose elements
    are all different."""
    axes = draw(st.integers(1, 3))
    tile = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    phases = 2 ** draw(st.integers(0, axes))
    pieces = Pieces(tile, draw(st.integers(0, 5)) if phases > 1 else 0, phases)
    channels, start, things = draw(st.integers(1, 2)), 0, []
    for _ in range(draw(st.integers(1, 3))):
        shape = (channels, *(draw(st.integers(1, 9)) for _ in range(axes)))
        things.append(start + np.arange(np.prod(shape)).reshape(shape))
        start += things[-1].size
    return pieces, things


def parts_of(found: Cut, role: Role, chosen: np.ndarray) -> np.ndarray:
    """The elements with a role of the pieces chosen, each by its value, for no two are equal."""
    return found.x[chosen].swapaxes(0, 1)[:, found.role[chosen] == role].reshape(-1)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_every_element_is_modelled_exactly_once(case: tuple[Pieces, list[np.ndarray]]) -> None:
    pieces, things = case
    found = cut(pieces, things)
    modelled = parts_of(found, Role.MODELLED, np.full(len(found.x), True))
    assert np.array_equal(np.sort(modelled), np.arange(sum(thing.size for thing in things)))
    for number, thing in enumerate(things):
        assert np.array_equal(
            np.sort(parts_of(found, Role.MODELLED, found.whole == number)), np.sort(thing.reshape(-1))
        )
        grid = Grid(pieces, thing.shape[1:])
        held = grid.held(np.arange(len(grid)))
        assert np.array_equal(held, (found.role[found.whole == number] == Role.MODELLED).reshape(len(grid), -1).sum(1))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_put_is_the_inverse_of_cut(case: tuple[Pieces, list[np.ndarray]]) -> None:
    pieces, things = case
    found = cut(pieces, things)
    # Nothing is taken from margins or from beyond.
    modelled = np.where(found.role[:, None] == Role.MODELLED, found.x, -1)
    for again in (found.x, modelled):
        restored = list(put(pieces, again, [thing.shape[1:] for thing in things]))
        assert len(restored) == len(things)
        assert all(np.array_equal(one, other) for one, other in zip(restored, things, strict=True))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_pieces_know_earlier_phases_alone(case: tuple[Pieces, list[np.ndarray]]) -> None:
    """Pieces of a phase do not see each other: what one knows is modelled in an earlier phase, of the same thing."""
    pieces, things = case
    found = cut(pieces, things)
    assert set(found.phase) <= set(range(pieces.phases))
    phase_of = np.empty(sum(thing.size for thing in things), np.int64)
    whole_of = np.empty_like(phase_of)
    for i in range(len(found.x)):
        own = parts_of(found, Role.MODELLED, np.array([i]))
        phase_of[own], whole_of[own] = found.phase[i], found.whole[i]
    for i in range(len(found.x)):
        known = parts_of(found, Role.KNOWN, np.array([i]))
        assert (phase_of[known] < found.phase[i]).all()
        assert (whole_of[known] == found.whole[i]).all()


@settings(max_examples=25, deadline=None)
@given(cases())
def test_what_is_earlier_and_within_the_margin_is_known(case: tuple[Pieces, list[np.ndarray]]) -> None:
    """By its definition, place by place: no margin is wasted, and what is known is at its place."""
    pieces, things = case
    thing = things[0]
    size, grid = thing.shape[1:], Grid(pieces, thing.shape[1:])
    every = np.arange(len(grid))
    x, role, phase, places = grid.cut(thing, every), grid.role(every), grid.phase(every), grid.places(every)
    phase_at = np.empty(size, np.int64)
    for own, place in zip(phase, places, strict=True):
        phase_at[tuple(slice(p * t, (p + 1) * t) for p, t in zip(place, pieces.tile, strict=True))] = own
    for i in every:
        for at in np.ndindex(pieces.window):
            there = tuple(grid.corners(every)[i] + np.array(at))
            if not all(0 <= p < s for p, s in zip(there, size, strict=True)):
                assert role[i][at] == Role.ABSENT
                continue
            assert np.array_equal(x[i][(slice(None), *at)], thing[(slice(None), *there)])
            tile = np.array(there) // np.array(pieces.tile)
            mine = (tile == places[i]).all()
            expected = Role.MODELLED if mine else Role.KNOWN if phase_at[there] < phase[i] else Role.ABSENT
            assert role[i][at] == expected


def test_neighbours_alternate() -> None:
    """In as many phases as a block of tiles has corners, no two tiles that touch are of one phase; in two, none that
    share a side."""
    for tile, phases in (((3,), 2), ((3, 2), 4), ((2, 2, 2), 8), ((3, 2), 2)):
        grid = Grid(Pieces(tile, 1, phases), tuple(5 * side for side in tile))
        phase = grid.phase(np.arange(len(grid))).reshape(grid.counts)
        assert set(phase.reshape(-1)) == set(range(phases))
        for axis in range(len(tile)):
            assert (np.diff(phase, axis=axis) != 0).all()
        if phases == 4:
            assert (phase[1:, 1:] != phase[:-1, :-1]).all() and (phase[1:, :-1] != phase[:-1, 1:]).all()


def test_what_cuts_nothing_is_refused() -> None:
    for tile, margin, phases, told, words in (
        ((), 0, 1, True, "a size along each axis"),
        ((4, 4), 0, 3, True, r"one of \[1, 2, 4\], not 3"),
        ((4,), 0, 4, True, r"one of \[1, 2\], not 4"),
        ((4, 4), 2, 1, True, "a margin is known across phases"),
        ((4, 4), 2, 4, False, "a margin is known across phases"),
    ):
        with pytest.raises(UserError, match=words):
            Pieces(tile, margin, phases, told)


@pytest.mark.parametrize("phases", (1, 2, 4))
def test_a_product_over_pieces_is_a_law_of_the_whole(phases: int) -> None:
    """Of all pictures of 3×3 bits under laws of tiles that look at everything known: their masses add up to one."""
    pieces, rng = Pieces((2, 2), 1 if phases > 1 else 0, phases), np.random.default_rng(0)
    weights = rng.normal(size=(4, np.prod(pieces.window)))
    pictures = [np.array([number >> bit & 1 for bit in range(9)], np.uint8).reshape(1, 3, 3) for number in range(512)]
    found = cut(pieces, pictures)
    x, role = found.x[:, 0].reshape(len(found.x), -1), found.role.reshape(len(found.x), -1)
    # A bit is 1 with a probability that depends on known bits, on where it lies and on which places are absent.
    logits = (np.where(role == Role.KNOWN, 2.0 * x - 1, 0.3 * (role == Role.ABSENT)) @ weights.T)[:, :1] + weights[1]
    log_p = -np.logaddexp(0, np.where(x == 1, -logits, logits))
    nats = np.bincount(found.whole, np.where(role == Role.MODELLED, log_p, 0.0).sum(1))
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-12)
    assert phases == 1 or len(set(np.round(logits[:, 0], 9))) > 4
