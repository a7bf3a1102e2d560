"""What is put into gaps, against closed forms: one Gaussian, columns with atoms, values that are not listed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2, norm

from vlb.base.errors import UserError
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Levels, Real, Schema
from vlb.data.columns import Described
from vlb.generate.gaps import Gaps
from vlb.generate.points import POINTS
from vlb.models.factor.components import Components
from vlb.models.factor.config import FactorAnalysers

FALSE_ALARM = 1e-8  # of each comparison; there are fewer than 100


def gaps(columns: tuple[Column, ...], x: list[list[float]], known: list[list[int]], **parts) -> Gaps:
    """Rows under a mixture with these components, whose maps are the identity."""
    model = FactorAnalysers().build(Schema(layout=Vector((len(columns),)), kinds=columns, gaps=True))
    tensors = {name: torch.as_tensor(np.array(value), dtype=torch.float64) for name, value in parts.items()}
    model.components = Components(**tensors)
    return Gaps(
        model,
        columns,
        torch.tensor(x, dtype=torch.float64),
        torch.tensor(known).bool(),
        torch.Generator().manual_seed(0),
    )


@pytest.fixture(scope="module")
def gaussian() -> tuple[Gaps, np.ndarray, np.ndarray]:
    """20,000 equal rows of four reals of which the last two are missing; their conditional mean and covariance."""
    loadings = np.array([[1.0, 0.2], [0.5, -1.0], [0.8, 0.3], [-0.4, 0.9]])
    means, variances = np.array([0.5, -1.0, 2.0, 0.0]), np.array([0.3, 0.5, 0.2, 0.4])
    row = [1.5, -0.2, 0.0, 0.0]
    found = gaps(
        tuple(Column(name, Real()) for name in "abcd"), [row] * 20_000, [[1, 1, 0, 0]] * 20_000,
        log_weights=[0.0], means=means[None], loadings=loadings[None], variances=variances[None],
        log_tables=np.zeros((1, 0)),
    )  # fmt: skip
    covariance = loadings @ loadings.T + np.diag(variances)
    gain = covariance[2:, :2] @ np.linalg.inv(covariance[:2, :2])
    return found, means[2:] + gain @ (np.array(row[:2]) - means[:2]), covariance[2:, 2:] - gain @ covariance[:2, 2:]


def test_points_and_deviations_are_the_gaussian_s(gaussian) -> None:
    found, mean, covariance = gaussian
    few = Gaps(found.model, found.columns, found.x[:3], found.known[:3], found.generator)
    for name, tolerance in (("mean", 1e-9), ("median", 1e-9), ("mode", 2e-3)):
        said = np.stack(few.point(POINTS[name]), 1)
        assert np.allclose(said[:, 2:], mean, atol=tolerance) and np.array_equal(said[:, :2], few.x[:, :2])
    deviations = np.stack(few.deviations(), 1)
    assert np.allclose(deviations[:, 2:], np.sqrt(np.diag(covariance))) and not deviations[:, :2].any()


def test_draws_have_the_gaussian_s_mean_and_covariance(gaussian) -> None:
    found, mean, covariance = gaussian
    drawn = np.stack(found.draw(torch.Generator().manual_seed(0)), 1)
    assert np.array_equal(drawn[:, :2], found.x[:, :2])
    white = np.linalg.solve(np.linalg.cholesky(covariance), (drawn[:, 2:] - mean).T)
    n = white.shape[1]
    limit = norm.isf(FALSE_ALARM / 2)
    assert (np.abs(white.mean(1)) * np.sqrt(n) < limit).all()
    for direction in ([1, 0], [0, 1], [2**-0.5, 2**-0.5]):
        squares = float(((np.array(direction) @ white) ** 2).sum())
        assert chi2.ppf(FALSE_ALARM / 2, n) < squares < chi2.isf(FALSE_ALARM / 2, n)


MIXED = (
    *Described("pay", Real(), atoms=(0.0, 5.0)).columns,
    Column("size", Real(0.5)),
    Column("town", Categories(("a", "b"), other=True)),
    Column("rooms", Categories(("1", "2", "9"), ordered=True)),
    Column("floor", Levels(3)),
)
PARTS = {
    "log_weights": np.log([0.4, 0.6]),
    "means": [[2.0, 1.0], [-1.0, 4.0]],
    "loadings": np.zeros((2, 2, 1)),
    "variances": [[1.0, 4.0], [0.25, 1.0]],
    "log_tables": np.log(
        [
            [0.1, 0.2, 0.7, 0.05, 0.05, 0.9, 0.5, 0.3, 0.2, 0.1, 0.2, 0.7],
            [0.6, 0.1, 0.3, 0.03, 0.17, 0.8, 0.1, 0.1, 0.8, 0.6, 0.3, 0.1],
        ]
    ),
}


def mixed(n: int) -> Gaps:
    return gaps(MIXED, [[0.0] * 6] * n, [[0] * 6] * n, **PARTS)


def test_points_of_columns_with_atoms() -> None:
    w, other = np.array([0.4, 0.6]), np.array([0.7, 0.3])
    share, means, variances = w * other, np.array([2.0, -1.0]), np.array([1.0, 0.25])
    at = {0.0: float(w @ [0.1, 0.6]), 5.0: float(w @ [0.2, 0.1])}
    mean = sum(p * atom for atom, p in at.items()) + float(share @ means)
    square = sum(p * atom**2 for atom, p in at.items()) + float(share @ (means**2 + variances))
    found = mixed(2)
    said = {name: np.array([values[0] for values in found.point(point)]) for name, point in POINTS.items()}
    assert said["mean"][0] == pytest.approx(mean)
    assert found.deviations()[0][0] == pytest.approx(np.sqrt(square - mean**2))
    assert at[0.0] < share.sum() and said["mode"][0] == pytest.approx(
        -1.0, abs=0.02
    )  # no atom is the likeliest of three
    below = float(share @ norm.cdf((0.0 - means) / np.sqrt(variances)))
    assert below < 0.5 <= below + at[0.0] and said["median"][0] == 0.0


def test_points_of_categories_and_rounded_columns() -> None:
    found = mixed(1)
    said = {name: [float(values[0]) for values in found.point(point)] for name, point in POINTS.items()}
    rooms = np.array([0.4, 0.6]) @ [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    assert said["mean"][3] == int(np.abs(np.array([1, 2, 9]) - rooms @ [1, 2, 9]).argmin())
    assert said["median"][3] == 2 and said["mode"][3] == 2 and said["mean"][4] == 1.0
    assert all(values[1] == np.rint(values[1] / 0.5) * 0.5 for values in said.values())
    assert all(values[2] == 1 for values in said.values())  # the likeliest of those that are listed
    listed = np.array([0.4, 0.6]) @ [[0.05, 0.05], [0.03, 0.17]]
    sure = found.likelihoods([np.array([value]) for value in said["mode"]])
    assert sure[2][0] == pytest.approx(listed[1] / listed.sum()) and sure[0] is None


def test_other_is_never_drawn_and_the_rest_is_in_proportion() -> None:
    n = 4000
    drawn = mixed(n).draw(torch.Generator().manual_seed(1))
    listed = np.array([0.4, 0.6]) @ [[0.05, 0.05], [0.03, 0.17]]
    assert set(np.unique(drawn[2])) <= {0.0, 1.0}
    count, p = int(drawn[2].sum()), listed[1] / listed.sum()
    assert binom.ppf(FALSE_ALARM, n, p) <= count <= binom.isf(FALSE_ALARM, n, p)
    weights = np.array([0.4, 0.6]) * [0.1, 0.2]  # of the components, given that the town is listed
    at_zero = float(weights @ [0.1, 0.6] / weights.sum())
    count = int((drawn[0] == 0.0).sum())
    assert binom.ppf(FALSE_ALARM, n, at_zero) <= count <= binom.isf(FALSE_ALARM, n, at_zero)


def test_a_row_in_which_nothing_listed_is_likely_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlb.generate.gaps.TRIES", 20)
    tables = np.log([[0.1, 0.2, 0.7, 1e-9, 1e-9, 1 - 2e-9, 0.5, 0.3, 0.2, 0.1, 0.2, 0.7]] * 2)
    with pytest.raises(UserError, match="list more values"):
        gaps(MIXED, [[0.0] * 6], [[0] * 6], **{**PARTS, "log_tables": tables}).draw(torch.Generator().manual_seed(0))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-8, 8), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(0.02, 1), min_size=5, max_size=5),
    st.floats(-5, 5),
)
def test_the_median_with_atoms_is_where_half_of_the_mass_is_reached(atoms, shares, mean) -> None:
    columns = Described("pay", Real(), atoms=tuple(map(float, atoms))).columns
    p = np.array([*shares[: len(atoms)], shares[-1]])
    p /= p.sum()
    found = gaps(
        columns, [[0.0, 0.0]], [[0, 0]],
        log_weights=[0.0], means=[[mean]], loadings=np.zeros((1, 1, 1)), variances=[[1.0]], log_tables=np.log([p]),
    )  # fmt: skip
    median = float(found.point(POINTS["median"])[0][0])

    def below(x: float, *, at: bool) -> float:
        on = sum(share for atom, share in zip(atoms, p, strict=False) if atom < x or (at and atom == x))
        return float(on + p[-1] * norm.cdf(x - mean))

    assert below(median, at=True) >= 0.5 - 1e-9 and below(median, at=False) <= 0.5 + 1e-9
