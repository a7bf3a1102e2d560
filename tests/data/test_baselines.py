"""The plain codes every model is held against."""

import lzma
import math

import numpy as np
import pytest

from vlb.base.errors import UserError
from vlb.core.marginals import log_marginals
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split, load
from vlb.data.baselines import baselines


def test_digits_baselines() -> None:
    data = load("digits")
    found = baselines(data, "test")
    assert found["uniform"] == pytest.approx(math.log2(17))
    assert 2.39 < found["independent_pixels"] < 2.44
    whole = lzma.compress(data.test.x.tobytes(), preset=9 | lzma.PRESET_EXTREME)
    assert found["lzma"] == pytest.approx(8 * len(whole) / data.test.x.size)
    with pytest.raises(UserError):
        baselines(data, "valdation")


@pytest.mark.parametrize("levels", [3, 1000])
def test_marginals_are_smoothed_relative_counts(levels: int) -> None:
    generator = np.random.default_rng(1)
    x = generator.integers(0, levels, (50, 2, 3, 2)).astype(np.uint8 if levels <= 256 else np.uint16)
    data = Dataset("x", levels_schema(x.shape[1:], levels), *(Split(part) for part in (x[:30], x[30:40], x[40:])))
    log_p = log_marginals(data.train.x, data.levels)
    assert log_p.shape == (12, levels)
    assert log_p.dtype == np.float64
    assert np.allclose(np.exp(log_p).sum(1), 1)
    flat = data.train.x.reshape(30, 12)
    assert math.exp(log_p[7, flat[0, 7]]) == pytest.approx(((flat[:, 7] == flat[0, 7]).sum() + 1) / (30 + levels))
    test = data.test.x.reshape(10, 12)
    direct = -np.mean([[log_p[d, row[d]] for d in range(12)] for row in test]) / math.log(2)
    assert baselines(data, "test")["independent_pixels"] == pytest.approx(direct)


def test_many_chunks_count_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import vlb.data.baselines as module
    from vlb.data.dataset import chunks

    data = load("digits")
    whole = log_marginals(data.train.x, data.levels)
    monkeypatch.setattr(module, "chunks", lambda x: chunks(x, 1000))
    assert np.array_equal(log_marginals(data.train.x, data.levels), whole)
