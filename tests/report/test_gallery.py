"""Pictures: the descent that is shown is the one that `vlb sample` makes."""

import numpy as np
import pytest
import torch

from tests.told import Told
from vlb.base.errors import UserError
from vlb.data import Dataset, Split
from vlb.generate.pictures import drawable
from vlb.pages.film import filmed
from vlb.pages.gallery import ancestral
from vlb.pages.markup import sheet
from vlb.store.runs import Run


def test_the_samples_are_those_of_ancestral_sampling(plain_run: Run, digits: Dataset) -> None:
    model = plain_run.model()
    done: list[int] = []
    shown, _ = filmed(model, digits, 0, columns=4, steps=5, seed=3, progress=Told(done.append))
    expected = model.sample(24, steps=5, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(shown.samples, expected.numpy())
    assert done == [1, 2, 3, 4, 5, 6]


def test_the_film_runs_from_noise_to_data(plain_run: Run, digits: Dataset) -> None:
    _, shown = filmed(plain_run.model(), digits, 0, steps=20)
    log_snr = [frame.log_snr for frame in shown.frames]
    assert log_snr == sorted(log_snr)
    assert (log_snr[0], log_snr[-1]) == pytest.approx((-5.0, 6.0))
    assert all(frame.z.shape == frame.x.shape == shown.ends.shape for frame in shown.frames)
    # At the data end, x̂ and the sample are one picture to within a level.
    last = shown.frames[-1].x / 255 * 16
    assert np.abs(last - shown.ends).mean() < 1


def test_rows_are_classes(labelled_run: Run, digits: Dataset) -> None:
    shown, _ = filmed(labelled_run.model(), digits, 10, columns=3, steps=2)
    assert shown.classes == tuple("0123456789")
    assert shown.samples.shape == shown.data.shape == (30, 1, 8, 8)
    assert digits.test.labels is not None
    fours = digits.test.x[digits.test.labels == 4][:3]
    assert np.array_equal(shown.data[12:15], fours)


def test_too_few_examples_leave_blanks(plain_run: Run, digits: Dataset) -> None:
    few = Dataset("few", digits.schema, digits.train, digits.validation, Split(digits.test.x[:3]))
    shown, _ = filmed(plain_run.model(), few, 0, steps=2)
    assert np.array_equal(shown.data[:3], digits.test.x[:3])
    assert shown.present.tolist() == [True] * 3 + [False] * 45


def test_only_images_and_volumes_are_drawn(plain_run: Run, digits: Dataset) -> None:
    assert [drawable(shape) for shape in ((1, 8, 8), (3, 4, 5), (1, 2, 3, 4))] == [True] * 3
    assert not any(drawable(shape) for shape in ((2, 8, 8), (2, 2, 3, 4), (64,), ()))
    model = plain_run.model()
    model.shape = (64,)
    with pytest.raises(UserError, match="no pictures"):
        filmed(model, digits, 0)
    assert ancestral(model, digits) is None


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_sheet_is_one_escaped_picture(channels: int) -> None:
    element = sheet(np.zeros((4, channels, 2, 2), np.int64), 2, 2, '"><b>')
    assert element.startswith('<img alt="&quot;&gt;&lt;b&gt;" src="data:image/png;base64,')
