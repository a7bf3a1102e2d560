"""The stack of bits: pops invert pushes, masks undo themselves, and the bottom is noticed."""

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.coding.stack import BitStack, Underflow

TABLE = constriction.stream.model.Categorical(perfect=False)


def filled(seed: int, words: int) -> BitStack:
    return BitStack(np.random.default_rng(seed).integers(1, 2**32, words, dtype=np.uint32).tobytes())


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 40), st.integers(2, 30))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_pop_undoes_a_push_and_a_push_a_pop(seed: int, words: int, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random((count, size)) + 1e-3
    symbols = rng.integers(0, size, count)
    stack = filled(seed, words)
    before = stack.content()
    stack.push(symbols, TABLE, weights)
    assert np.array_equal(stack.pop(count, TABLE, weights), symbols)
    assert stack.content() == before
    if stack.bits > 40 * count:  # enough for what a pop may take
        popped = stack.pop(count, TABLE, weights)
        stack.push(popped, TABLE, weights)
        assert stack.content() == before


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(0, 3000), st.integers(0, 100))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_whitening_undoes_itself_and_costs_nothing(seed: int, words: int, bits: int, key: int) -> None:
    stack = filled(seed, words)
    before, length = stack.content(), stack.bits
    stack.whiten(bits, key)
    assert stack.bits == length
    if words > 10 and bits > 64:
        assert stack.content() != before
    stack.whiten(bits, key)
    assert stack.content() == before


def test_whitening_makes_bits_of_a_skewed_stack_fair() -> None:
    # Twenty thousand certain symbols in one byte each: all but zeros. False alarm: 6 standard deviations, 2e-9.
    stack = BitStack(b"\0" * 20_000 + b"\1")
    stack.whiten(8 * 19_000, key=3)
    content = np.unpackbits(np.frombuffer(stack.content(), np.uint8)[-18_000:])
    assert abs(content.mean() - 0.5) < 6 * 0.5 / np.sqrt(content.size)


def test_the_bottom_is_noticed() -> None:
    weights = np.ones((1000, 256))
    stack = filled(0, 100)
    stack.pop(1000, TABLE, weights)  # 8000 bits of 3200: silent
    with pytest.raises(Underflow):
        stack.check()
    enough = filled(0, 300)
    enough.pop(1000, TABLE, weights)
    enough.check()


@given(st.binary(max_size=64))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_any_content_is_a_stack_or_refused(content: bytes) -> None:
    try:
        stack = BitStack(content)
    except ValueError:
        assert not content.rstrip(b"\0") or content.endswith(b"\0")
        return
    assert stack.content() == content.rstrip(b"\0")


def test_an_empty_stack_is_no_bytes() -> None:
    stack = BitStack()
    assert stack.empty and stack.content() == b"" and stack.bits == 0
    stack.push(np.array([1, 2, 3]), TABLE, np.ones((3, 4)))
    copy = stack.copy()
    assert np.array_equal(stack.pop(3, TABLE, np.ones((3, 4))), [1, 2, 3])
    assert stack.empty and not copy.empty
