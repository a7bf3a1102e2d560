"""Sequences of any length, from an empty stack."""

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from tests.coding.archives import independent_codec
from tests.coding.conftest import placed
from vlb.coding import values
from vlb.coding.bitsback import Exact
from vlb.coding.cells import Uncodable
from vlb.coding.products import ProductMixture, whole
from vlb.coding.sequence import Lanes, Plan, SequenceCodec
from vlb.coding.stack import BitStack, Underflow
from vlb.coding.wire import Damaged, Reader
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.models.diffusion.model import DiffusionModel


@given(st.integers(0, 400), st.integers(0, 20), st.integers(0, 300), st.integers(1, 64))
@hypothesis(derandomize=True, deadline=None)
def test_batches_cover_every_example_once(count: int, direct: int, growth: int, lanes: int) -> None:
    sizes = Plan(direct, growth).batches(count, lanes)
    assert sum(sizes) == max(0, count - direct) and all(1 <= size <= lanes for size in sizes)
    done = direct + np.cumsum([0, *sizes])[:-1]
    assert all(size <= max(1, before * growth // 64) for size, before in zip(sizes, done, strict=True))
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("count", [1, 2, 4, 9, 70])
def test_any_number_of_examples(model: DiffusionModel, test_images: np.ndarray, count: int) -> None:
    codec = placed(4).codec(model)
    content, account = codec.encode(test_images[:count])
    assert np.array_equal(codec.decode(content, count), test_images[:count])
    assert account.examples == count and account.direct <= count
    assert abs(8 * len(content) - account.initial - account.net) <= 32


def test_a_few_images_cost_hardly_more_than_many(model: DiffusionModel, test_images: np.ndarray) -> None:
    """10 images cost about the marginals' rate at most: the direct ones are few, and give their bits back."""
    codec = placed(4).codec(model)
    few, _ = codec.encode(test_images[:10])
    direct, _ = codec.direct(test_images[:10])
    assert len(few) < len(direct) + 8


def test_lanes_hardly_change_the_size(model: DiffusionModel, test_images: np.ndarray) -> None:
    sizes = [len(placed(4, lanes=lanes).codec(model).encode(test_images[:100])[0]) for lanes in (5, 32)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)


def test_the_shortest_of_several_codes_is_kept_and_read(model: DiffusionModel, test_images: np.ndarray) -> None:
    one, several = (placed(4, lanes=2, tries=tries).codec(model) for tries in (1, 8))
    x, full = test_images[:9], BitStack(np.random.default_rng(0).bytes(4000) + b"\1")
    bits = []
    for salt in range(8):
        stack = full.copy()
        one.batch.encode(stack, x, salt)
        bits.append(stack.bits)
    kept = several.shortest(full.copy(), several.batch, x)
    assert kept.bits == pytest.approx(min(bits) + 3, abs=1)  # 3 bits say which
    assert len(set(bits)) > 1 and several.salt(kept) == int(np.argmin(bits))
    content, _ = several.encode(test_images[:80])
    assert np.array_equal(several.decode(content, 80), test_images[:80])


def test_any_salt_undoes_itself(model: DiffusionModel, test_images: np.ndarray) -> None:
    codec = placed(4).codec(model).batch
    stack = BitStack(np.random.default_rng(0).bytes(4000) + b"\1")
    before, contents = stack.content(), set()
    for salt in (0, 1, 255):
        codec.encode(stack, test_images[:3], salt)
        contents.add(stack.content())
        assert np.array_equal(codec.decode(stack, 3, salt), test_images[:3]) and stack.content() == before
    assert len(contents) == 3


@pytest.mark.parametrize("count", [1, 3, 40])
def test_black_leaves_a_stack_empty_and_comes_back(count: int) -> None:
    """Without latents nothing is known to lie below: an empty stack is no sign that bits ran out."""
    x = np.zeros((count, 1, 6, 5), np.uint8)
    direct = independent_codec()
    content, _ = direct.direct(x)
    assert len(content) == 2 and np.array_equal(direct.decode(content, count), x)
    cells = np.log(0.7) * np.arange(16)
    exact = Exact(ProductMixture(whole(np.zeros(1)), [whole(cells[None])] * 30), (1, 6, 5))
    codec = SequenceCodec(exact, direct.marginals, (1, 6, 5), Lanes(8))
    later = np.concatenate((x, x + 3))
    for values_ in (x, later):
        coded, _ = codec.encode(values_)
        assert np.array_equal(codec.decode(coded, len(values_)), values_)


class _Picky:
    """Codes nothing under most salts."""

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        if salt != 5:
            raise Uncodable if salt % 2 else Underflow
        stack.push(x.reshape(-1).astype(np.int64), constriction.stream.model.Uniform(17))

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        raise AssertionError("nothing is decoded here")


def test_a_try_that_fails_is_no_failure(model: DiffusionModel, test_images: np.ndarray) -> None:
    real = placed(1).codec(model)
    codec = SequenceCodec(_Picky(), real.marginals, real.shape, Lanes(8, 8))
    assert codec.salt(codec.shortest(BitStack(), codec.batch, test_images[:2])) == 5
    with pytest.raises(Underflow):
        codec = SequenceCodec(_Picky(), real.marginals, real.shape, Lanes(8, 5))
        codec.shortest(BitStack(), codec.batch, test_images[:2])


class _Greedy:
    """A batch codec that always needs more than there is."""

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        if stack.bits < 10_000:
            raise Underflow

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        raise AssertionError("nothing was coded by it")


def test_what_never_starts_is_coded_directly(model: DiffusionModel, test_images: np.ndarray) -> None:
    real = placed(1).codec(model)
    codec = SequenceCodec(_Greedy(), real.marginals, real.shape, Lanes(8))
    content, account = codec.encode(test_images[:6])
    assert account.direct == 6
    assert np.array_equal(codec.decode(content, 6), test_images[:6])


@given(st.binary(max_size=200), st.integers(0, 5))
@hypothesis(derandomize=True, deadline=None, max_examples=60)
def test_random_bytes_are_damage_or_examples(coded: tuple[SequenceCodec, bytes], content: bytes, count: int) -> None:
    codec, _ = coded
    try:
        x = values.decode(Reader(content), count, codec, 17)
    except Damaged:
        return
    assert x.shape == (count, 1, 8, 8)


@pytest.fixture(scope="module")
def coded(model: DiffusionModel, test_images: np.ndarray) -> tuple[SequenceCodec, bytes]:
    codec = placed(1).codec(model)
    return codec, values.encode(test_images[:12], codec, 17, verify=True).content


def test_every_flipped_bit_is_noticed(coded: tuple[SequenceCodec, bytes]) -> None:
    """Without the container's checksums: the values' own, and the stack that must come out empty."""
    codec, content = coded
    for position in range(0, 8 * len(content), 41):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(Damaged):
            values.decode(Reader(bytes(damaged)), 12, codec, 17)


@pytest.mark.slow
def test_fuzzed_codes(coded: tuple[SequenceCodec, bytes], test_images: np.ndarray) -> None:
    """2,000 codes of a diffusion model with up to 4 mutations: damage, or what was encoded."""
    codec, content = coded
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        mutated = bytearray(content)
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(len(mutated)))
            if rng.random() < 0.3:
                del mutated[at : at + int(rng.integers(1, 9))]
            elif rng.random() < 0.5:
                mutated[at:at] = rng.bytes(int(rng.integers(1, 9)))
            else:
                mutated[at] ^= 1 << int(rng.integers(8))
        try:
            x = values.decode(Reader(bytes(mutated)), 12, codec, 17)
        except Damaged:
            continue
        assert np.array_equal(x, test_images[:12])


def test_noise_is_stored_by_the_best_that_fits(coded: tuple[SequenceCodec, bytes], test_images: np.ndarray) -> None:
    codec, _ = coded
    blank = np.full((40, 1, 8, 8), 5, np.uint8)  # nothing a model of digits expects, all the same for LZMA
    stored = values.encode(blank, codec, 17, verify=True)
    assert stored.account is None and stored.reason == "it is smaller"
    assert np.array_equal(values.decode(Reader(stored.content), 40, codec, 17), blank)
    assert len(stored.content) < 40


class _Wrong(torch.nn.Module):
    """A denoiser that never says the same twice."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.calls, self.decodes, self.takes = inner, 0, True, inner.takes

    def forward(self, z: torch.Tensor, gamma: torch.Tensor, condition: Condition = UNCONDITIONAL) -> object:
        self.calls += 1
        return self.inner(z * (1 + 0.1 * self.calls), gamma, condition)


def test_a_code_that_does_not_decode_is_not_used(model: DiffusionModel, test_images: np.ndarray) -> None:
    broken = DiffusionModel(model.process, _Wrong(model.denoiser), model.embedding, model.shape)
    codec = placed(1).codec(broken)
    stored = values.encode(test_images[:30], codec, 17, verify=True)
    # Directly, without latents: what the model says of each pixel by itself is the same every time.
    assert stored.account is None or stored.account.direct == 30
    good = placed(1).codec(model)
    assert np.array_equal(values.decode(Reader(stored.content), 30, good, 17), test_images[:30])
