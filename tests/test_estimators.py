"""The estimators: scikit-learn's own checks, tables in and out, and what their numbers are."""

import copy
import inspect
import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

import vlb
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.estimators import DiffusionDensity, Imputer, MixtureDensity, VAEDensity
from vlb.interfaces.estimators.trained import drawn
from vlb.models.factor.config import FactorAnalysers

SMALL: dict[str, Any] = {"components": 2, "rank": 1, "draws": 1, "steps": 8, "random_state": 0}
SMALLEST: dict[str, Any] = {"components": 1, "rank": 1, "draws": 0, "steps": 5}
BRIEFEST: dict[str, Any] = {"latents": 2, "width": 8, "steps": 4, "draws": 4}
BRIEF: dict[str, Any] = {"width": 8, "blocks": 1, "steps": 4, "draws": 4, "particles": 2, "descent": 2}
EXPECTED_TO_FAIL: dict[str, str] = {}  # the name of a check: why. There is none


@parametrize_with_checks(
    [
        MixtureDensity(**SMALLEST),
        Imputer(MixtureDensity(**SMALLEST)),
        VAEDensity(**BRIEFEST),
        Imputer(VAEDensity(**BRIEFEST)),
        DiffusionDensity(**BRIEF),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL,
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [Imputer(DiffusionDensity(**BRIEF)), Imputer(DiffusionDensity(**BRIEF, method="twisted"))],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL,
)
def test_scikit_learns_checks_of_imputers_by_diffusion(estimator: Any, check: Any) -> None:
    check(estimator)


def gappy(n: int = 80) -> np.ndarray:
    """Three correlated columns, a fifth of the cells missing."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 3))
    x[:, 1] += x[:, 0]
    x[generator.random(x.shape) < 0.2] = np.nan
    return x


def columns(n: int = 80) -> dict[str, list[Any]]:
    """Columns of all types with gaps."""
    generator = np.random.default_rng(1)
    day, moment = np.datetime64("2020-01-01"), np.datetime64("2020-01-01T00:00:00", "us")
    full = {
        "real": generator.normal(size=n).tolist(),
        "rounded": np.round(generator.normal(size=n), 1).tolist(),
        "count": generator.integers(0, 100, n).tolist(),
        "text": generator.choice(["a", "b", "c"], n).tolist(),
        "group": generator.choice(["u", "v"], n).tolist(),
        "flag": (generator.random(n) < 0.5).tolist(),
        "day": (day + generator.integers(0, 300, n)).tolist(),
        "moment": (moment + generator.integers(0, 10**6, n) * np.timedelta64(10**6, "us")).tolist(),
    }
    return {name: [None if generator.random() < 0.2 else cell for cell in cells] for name, cells in full.items()}


def of_pandas() -> pd.DataFrame:
    frame = pd.DataFrame(columns(), index=[f"row {i}" for i in range(80)])
    return frame.astype({"count": "Int64", "group": "category", "moment": "datetime64[us]"})


def of_polars() -> pl.DataFrame:
    group = pl.col("group").cast(pl.Enum(["u", "v"]))
    return pl.DataFrame(columns()).with_columns(
        pl.col("count").cast(pl.UInt8), pl.col("text").cast(pl.Categorical), group
    )


def of_arrow() -> pa.Table:
    return pa.table(columns())


FRAMES = {"pandas": of_pandas, "polars": of_polars, "arrow": of_arrow}


@pytest.fixture(scope="module", params=FRAMES)
def frame(request: pytest.FixtureRequest) -> Any:
    return FRAMES[request.param]()


def listed(frame: Any) -> dict[str, list[Any]]:
    """The cells of a DataFrame by column, None where they are missing."""
    table = frame if isinstance(frame, pa.Table) else pa.table({name: pa.array(frame[name]) for name in frame.columns})
    return {name: table[name].to_pylist() for name in table.column_names}


def types(frame: Any) -> Any:
    return frame.dtypes.to_dict() if isinstance(frame, pd.DataFrame) else dict(zip(*named(frame), strict=True))


def named(frame: Any) -> tuple[Any, Any]:
    return (frame.column_names, frame.schema.types) if isinstance(frame, pa.Table) else (frame.columns, frame.dtypes)


# Densities.


def test_parameters_are_those_of_the_mixture_with_its_defaults() -> None:
    own = {name: p.default for name, p in inspect.signature(MixtureDensity).parameters.items()}
    config = FactorAnalysers()
    assert own == {f.name: getattr(config, f.name) for f in fields(config)} | {"schema": None, "random_state": None}


def test_a_score_is_log_p_of_the_cells_that_are_there() -> None:
    x = gappy()
    density = MixtureDensity(**SMALL).fit(x)
    role = torch.from_numpy(np.where(np.isnan(x), Role.ABSENT, Role.MODELLED).astype(np.uint8))
    expected = density.model_.log_prob(torch.from_numpy(np.nan_to_num(x)), Condition(role=role)).numpy()
    assert np.array_equal(density.score_samples(x), expected)
    assert density.score(x) == expected.mean() == pytest.approx(density.bound_[0])
    assert density.bound_[1] == pytest.approx(expected.std() / np.sqrt(len(x)))
    assert density.score_samples(np.full((1, 3), np.nan)) == pytest.approx(0, abs=1e-12)
    alone = density.score_samples(np.column_stack((np.linspace(-40, 40, 8001), np.full((8001, 2), np.nan))))
    assert np.exp(alone).sum() * 0.01 == pytest.approx(1, abs=1e-6)


def test_a_weight_is_a_row_repeated() -> None:
    x, weight = gappy(6), np.array([1, 2, 1, 0, 3, 1])  # so few that none is held out
    settings = {**SMALL, "components": 1, "draws": 0}
    weighted = MixtureDensity(**settings).fit(x, sample_weight=weight)
    repeated = MixtureDensity(**settings).fit(np.repeat(x, weight, 0))
    grid = np.random.default_rng(0).normal(size=(50, 3))
    assert np.allclose(weighted.score_samples(grid), repeated.score_samples(grid), rtol=1e-6)
    assert weighted.bound_[0] == pytest.approx(repeated.bound_[0], rel=1e-6)


def test_samples_are_seeded_and_come_as_the_table_of_fit(frame: Any) -> None:
    density = MixtureDensity(**SMALL).fit(frame)
    first, again = density.sample(5), density.sample(5)
    assert type(first) is type(frame) and listed(first) == listed(again) != listed(density.sample(5, random_state=1))
    assert set(listed(first)) == set(columns()) and np.isfinite(density.score_samples(first)).all()
    x = MixtureDensity(**SMALL).fit(gappy()).sample(4)
    assert x.shape == (4, 3) and x.dtype == np.float64


def test_arrays_are_densities_and_frames_what_they_look_like() -> None:
    x = np.random.default_rng(0).integers(0, 30, (60, 2)).astype(float)
    assert MixtureDensity(**SMALL).fit(x).schema_.measure == "Lebesgue, per unit"
    named = pd.DataFrame(x, columns=["a", "b"])
    assert MixtureDensity(**SMALL).fit(named).schema_.measure == "the mass of an interval of 1"


def test_a_schema_says_what_columns_are(tmp_path: Any) -> None:
    file = tmp_path / "schema.toml"
    file.write_text('[[column]]\nname = "x1"\ntype = "real"\nresolution = 0.5\n')
    x = np.round(gappy() * 2) / 2
    with pytest.warns(UserWarning, match="left out.*'x0', 'x2'"):
        density = MixtureDensity(**SMALL, schema=file).fit(x)
    assert density.schema_.measure == "the mass of an interval of 0.5"
    assert np.exp(density.score_samples(np.full((1, 3), 0.5))) < 1
    with pytest.warns(UserWarning, match="left out"):
        completed = Imputer(density).fit_transform(x)
    assert np.isfinite(completed[:, 1]).all() and np.array_equal(completed[:, [0, 2]], x[:, [0, 2]], equal_nan=True)
    with pytest.raises(UserError, match="no column 'x1'"):
        MixtureDensity(**SMALL, schema=file).fit(x[:, :1])


def test_a_category_that_was_not_seen_has_no_mass_and_is_said() -> None:
    frame = pd.DataFrame({"a": ["u", "v"] * 10, "b": np.arange(20) / 7})
    density = MixtureDensity(**SMALL).fit(frame)
    other = pd.DataFrame({"a": ["u", "w"], "b": [1.0, None]})
    with pytest.warns(UserWarning, match="'w'"):
        scores = density.score_samples(other)
    assert np.isfinite(scores[0]) and scores[1] == -np.inf
    with pytest.warns(UserWarning, match="'w'"):
        completed = Imputer(density).fit(frame).transform(other)
    assert completed["a"].tolist() == ["u", "w"] and np.isfinite(completed["b"]).all()


@pytest.mark.parametrize("x", [np.full((3, 2), np.nan), [[1.0, np.nan]] * 4])
def test_a_column_without_cells_has_no_density(x: Any) -> None:
    with pytest.raises(UserError, match="no cell that is not missing"):
        MixtureDensity(**SMALL).fit(x)


def test_a_setting_out_of_its_domain_is_refused() -> None:
    with pytest.raises(UserError, match="steps"):
        MixtureDensity(steps=0).fit(gappy())
    with pytest.raises(UserError, match="point"):
        Imputer(point="best").fit(gappy())
    with pytest.raises(UserError, match="n_draws"):
        Imputer(MixtureDensity(**SMALLEST), n_draws=0).fit(gappy()).draws(gappy())


# Pickles and pages.


def test_a_pickle_holds_text_and_tensors_alone(frame: Any) -> None:
    density = MixtureDensity(**SMALL).fit(frame)
    content = pickle.dumps(density)
    named = {arguments for _, arguments, _ in __import__("pickletools").genops(content) if isinstance(arguments, str)}
    assert b"torch" not in content and not any(name.startswith(("torch", "vlb.models", "vlb.core")) for name in named)
    for again in (pickle.loads(content), copy.deepcopy(density)):
        assert np.array_equal(again.score_samples(frame), density.score_samples(frame))
        assert again.schema_ == density.schema_ and listed(again.sample(3)) == listed(density.sample(3))
    assert not hasattr(clone(density), "model_") and repr(clone(density)) == repr(density)


def test_a_damaged_pickle_is_refused() -> None:
    state = MixtureDensity(**SMALL).fit(gappy()).__getstate__()
    for carried in (state["carried"][:-9], b"", b"{}\n"):
        with pytest.raises(UserError, match="the pickle"):
            MixtureDensity().__setstate__({**state, "carried": carried})


def test_an_imputer_is_pickled() -> None:
    imputer = Imputer(MixtureDensity(**SMALL)).fit(gappy())
    assert np.array_equal(pickle.loads(pickle.dumps(imputer)).transform(gappy()), imputer.transform(gappy()))


def test_a_notebook_shows_the_bound_with_its_error() -> None:
    density = MixtureDensity(**SMALL)
    assert "nats" not in density._repr_html_()
    density.fit(gappy())
    shown = f"{density.bound_[0]:.3f} ± {density.bound_[1]:.3f} nats"
    for page in (density._repr_html_(), density._repr_mimebundle_()["text/html"]):
        assert shown in page and "Lebesgue" in page
    imputer = Imputer(density)
    assert "nats" not in imputer._repr_html_() and shown in imputer.fit(gappy())._repr_html_()
    with config_context(display="text"):
        assert "text/html" not in density._repr_mimebundle_()


def test_the_process_is_left_as_it_was() -> None:
    x, alone = gappy(), Imputer(MixtureDensity(**SMALL), n_draws=1, random_state=0).fit(gappy())
    expected = alone.estimator_.score_samples(x), alone.draws(x)[0]
    before = torch.get_rng_state(), check_random_state(None).get_state()[1].copy()  # scikit-learn's None: numpy's own
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.inference_mode(), np.errstate(all="raise"):
            again = Imputer(MixtureDensity(**SMALL), n_draws=1, random_state=0).fit(x)
            found = again.estimator_.score_samples(x), again.draws(x)[0]
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], check_random_state(None).get_state()[1])


# Imputing.


@pytest.mark.parametrize("point", ["mean", "median", "mode", "draw"])
def test_what_is_there_stays_and_the_gaps_are_of_the_law(point: str) -> None:
    x = gappy()
    imputer = Imputer(MixtureDensity(**SMALL), point=point, random_state=0).fit(x)
    completed, there = imputer.transform(x), ~np.isnan(x)
    assert completed[there].tobytes() == x[there].tobytes() and np.isfinite(completed).all()
    law = imputer.estimator_.conditional(x)
    assert point == "draw" or np.allclose(completed, getattr(law, point)().numpy(), rtol=1e-9, atol=0)
    assert np.array_equal(imputer.transform(x), completed)  # a seed is one


@given(
    x=arrays(np.float64, (7, 2), elements=st.just(np.nan) | st.floats(-1e6, 1e6)),
    kind=st.sampled_from([np.float64, np.float32]),
    keep=st.booleans(),
    mark=st.booleans(),
)
@settings(max_examples=8, deadline=None)
def test_any_array_is_completed(x: np.ndarray, kind: type, keep: bool, mark: bool) -> None:
    x[0, 0] = 1.5
    x = x.astype(kind)
    imputer = Imputer(MixtureDensity(**SMALLEST), keep_empty_features=keep, add_indicator=mark)
    completed = imputer.fit(x).transform(x)
    gone = np.isnan(x)
    kept = np.arange(2) if keep else np.flatnonzero(~gone.all(0))
    shown = np.flatnonzero(gone.any(0)) if mark else []
    assert completed.dtype == kind and completed.shape == (7, len(kept) + len(shown))
    assert len(imputer.get_feature_names_out()) == completed.shape[1]
    there = ~gone[:, kept]
    assert completed[:, : len(kept)][there].tobytes() == x[:, kept][there].tobytes() and np.isfinite(completed).all()
    if mark:
        assert np.array_equal(completed[:, len(kept) :], gone[:, shown])


def test_a_frame_comes_back_as_it_came(frame: Any) -> None:
    before = copy.deepcopy(listed(frame))
    imputer = Imputer(MixtureDensity(**SMALL), n_draws=2, random_state=0).fit(frame)
    for completed in (imputer.transform(frame), *imputer.draws(frame)):
        assert type(completed) is type(frame) and types(completed) == types(frame)
        for name, cells in listed(completed).items():
            pairs = list(zip(before[name], cells, strict=True))
            assert all(cell == kept for kept, cell in pairs if kept is not None)
            assert all(cell is not None for _, cell in pairs)
            assert len({type(cell) for cell in cells}) == 1
    assert listed(frame) == before
    if isinstance(frame, pd.DataFrame):
        assert imputer.transform(frame).index.equals(frame.index)
    marked = Imputer(MixtureDensity(**SMALLEST), add_indicator=True).fit(frame).transform(frame)
    assert listed(marked)["missingindicator_text"] == [cell is None for cell in before["text"]]


def test_lists_and_objects_are_arrays() -> None:
    rows = [[1.0, None], [2, 3], [4, 5.5]]
    for x in (rows, np.array(rows, object)):
        completed = Imputer(MixtureDensity(**SMALLEST)).fit_transform(x)
        assert completed.dtype == np.float64 and np.isfinite(completed).all()
    whole = np.arange(12, dtype=np.int32).reshape(6, 2)
    assert np.array_equal(Imputer(MixtureDensity(**SMALLEST)).fit_transform(whole), whole)


def test_types_of_pandas_with_more_to_them_stay() -> None:
    moments = (
        pd.date_range("2020-01-01", periods=12, freq="7h", tz="Europe/Berlin").to_series().sample(12, random_state=0)
    )
    frame = pd.DataFrame({
        "moment": moments.tolist(), "flag": pd.array([True, False, None] * 4, dtype="boolean"),
        "text": pd.array(["u", "v", None] * 4, dtype="string[pyarrow]"), "group": pd.Categorical([1, 2, None, 2] * 3),
        "large": pd.array([2**62 + 5, None, *range(10)], dtype="Int64"),
    }, index=[7] * 12)  # fmt: skip
    frame.loc[:, "moment"] = frame["moment"].where(frame["large"].notna())
    completed = Imputer(MixtureDensity(**SMALLEST)).fit_transform(frame)
    assert types(completed) == types(frame) and completed.notna().all(axis=None)
    assert completed.index.equals(frame.index) and completed["large"].iloc[0] == 2**62 + 5


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame([[1.5, 2.0]], columns=["a", "a"]), "same name"),
        (pl.LazyFrame({"a": [1.5]}), "LazyFrame is no DataFrame"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame({"a": [1.5, np.inf]}), "infinity in row 2"),
        (pl.DataFrame({"a": [[1.5]]}), "'a' is of List"),
        (pl.DataFrame({"a": range(60)}), "identifier"),
    ],
    ids=["twice", "lazy", "empty", "infinite", "nested", "identifier"],
)
@pytest.mark.filterwarnings("ignore:Determining the column names of a LazyFrame")
def test_a_frame_that_holds_no_table_is_refused_with_advice(frame: Any, said: str) -> None:
    for estimator in (MixtureDensity(**SMALLEST), Imputer(MixtureDensity(**SMALLEST))):
        with pytest.raises(UserError, match=said):
            estimator.fit(frame)


def test_a_value_beside_those_of_a_schema_is_no_value_to_fill_in(tmp_path: Any) -> None:
    file = tmp_path / "schema.toml"
    file.write_text('[[column]]\nname = "x0"\ntype = "categories"\nvalues = ["0", "1"]\nother = true\n')
    x = np.array([[0.0], [2.0], [3.0], [4.0], [5.0], [np.nan]])
    density = MixtureDensity(**SMALLEST, schema=file, random_state=0).fit(x)
    assert np.array_equal(Imputer(density).fit_transform(x), x, equal_nan=True)  # it is likeliest another
    assert set(np.unique(density.sample(40))[:2].tolist()) <= {0.0, 1.0} and np.isnan(density.sample(40)).any()


def test_draws_differ_and_are_a_list() -> None:
    x = gappy()
    first, second = Imputer(MixtureDensity(**SMALL), n_draws=2, random_state=0).fit(x).draws(x)
    gone = np.isnan(x)
    assert (first != second)[gone].all() and np.array_equal(first[~gone], second[~gone])


def test_draws_of_a_whole_table_are_copies_of_it() -> None:
    x = np.nan_to_num(gappy())
    first, second = Imputer(MixtureDensity(**SMALLEST), n_draws=2).fit(x).draws(x)
    assert np.array_equal(first, x) and not np.shares_memory(first, second) and not np.shares_memory(first, x)


def test_names_of_pandas_that_are_no_text_stay() -> None:
    frame = pd.DataFrame(gappy(), index=range(100, 180))
    completed = Imputer(MixtureDensity(**SMALL), add_indicator=True).fit(frame).transform(frame)
    assert completed.columns.tolist() == [0, 1, 2, *(f"missingindicator_{i}" for i in range(3))]
    assert completed.index.equals(frame.index) and completed.notna().all(axis=None)


def test_empty_columns_of_frames() -> None:
    frame = pl.DataFrame({"a": [1.0, None, 2.5], "b": [None] * 3, "c": [np.nan] * 3})
    assert Imputer(MixtureDensity(**SMALLEST)).fit_transform(frame).columns == ["a"]
    kept = Imputer(MixtureDensity(**SMALLEST), keep_empty_features=True).fit_transform(frame)
    assert kept.columns == ["a", "b", "c"] and kept["c"].to_list() == [0.0] * 3 and kept["b"].null_count() == 3
    with pytest.raises(UserError, match="no cell"):
        Imputer().fit(frame[["b"]])


# Beside others.


def test_a_grid_is_searched_over_components() -> None:
    search = GridSearchCV(MixtureDensity(**SMALLEST), {"components": [1, 2]}, cv=2).fit(gappy())
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.score(gappy()) > -10


def test_pipelines_and_column_transformers() -> None:
    x = gappy()
    target = np.nan_to_num(x[:, 0])
    scaled = make_pipeline(StandardScaler(), Imputer(MixtureDensity(**SMALLEST)), Ridge()).fit(x, target)
    assert np.isfinite(scaled.predict(x)).all()
    frame = of_pandas()
    imputer = Imputer(MixtureDensity(**SMALLEST))
    encoded = make_pipeline(Imputer(MixtureDensity(**SMALLEST)), OneHotEncoder(sparse_output=False))
    made = ColumnTransformer([("numbers", imputer, ["real", "count"]), ("texts", encoded, ["text", "group"])])
    out = made.set_output(transform="pandas").fit_transform(frame)
    assert out.columns.tolist()[:2] == ["numbers__real", "numbers__count"] and out.notna().all(axis=None)
    assert out.index.equals(frame.index) and out.shape == (80, 7)


@pytest.mark.parametrize(("library", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_outputs_are_as_set(library: str, kind: type) -> None:
    imputer = Imputer(MixtureDensity(**SMALLEST)).set_output(transform=library)
    assert isinstance(imputer.fit_transform(gappy()), kind)
    assert isinstance(imputer.fit_transform(of_pandas()[["real", "rounded"]]), kind)


def test_the_page_runs() -> None:
    page = Path(__file__).parents[1] / "docs" / "scikit-learn.md"
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec"), names)
    assert len(names["tables"]) == 2 and names["completed"].notna().all(axis=None)


def test_they_are_offered_at_the_top() -> None:
    assert vlb.MixtureDensity is MixtureDensity and vlb.Imputer is Imputer


# Densities that are trained.


TRAINED = [
    (VAEDensity(**{**BRIEFEST, "steps": 15}, random_state=0), "bounded from below"),
    (DiffusionDensity(**{**BRIEF, "steps": 15}, random_state=0), "noise levels"),
]


@pytest.mark.parametrize(("density", "said"), TRAINED, ids=["vae", "diffusion"])
def test_a_trained_density_scores_the_cells_that_are_there_samples_and_imputes(
    frame: Any, density: Any, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    density = clone(density).fit(frame)
    scores = density.score_samples(frame)
    assert np.isfinite(scores).all() and np.array_equal(scores, density.score_samples(frame))
    assert density.score(frame) == pytest.approx(density.bound_[0])
    first = density.sample(5)
    assert (
        type(first) is type(frame)
        and listed(first) == listed(density.sample(5))
        and set(listed(first)) == set(columns())
    )
    content = pickle.dumps(density)
    assert b"torch" not in content and np.array_equal(pickle.loads(content).score_samples(frame), scores)
    assert said in density._repr_html_() and not hasattr(clone(density), "model_")
    imputer = Imputer(density, n_draws=1, random_state=0).fit(frame)
    for completed in (imputer.transform(frame), *imputer.draws(frame)):
        assert all(cell is not None for cells in listed(completed).values() for cell in cells)
    assert capfd.readouterr() == ("", "")  # nothing is said but warnings and errors


@pytest.mark.parametrize(("density", "said"), TRAINED, ids=["vae", "diffusion"])
def test_a_row_has_the_same_bound_and_law_whatever_rows_are_beside_it(density: Any, said: str) -> None:
    x = gappy(30)
    fitted = clone(density).fit(x)
    scores = fitted.score_samples(x)
    alone = np.concatenate([fitted.score_samples(row[None]) for row in x])
    assert np.allclose(alone, scores, rtol=1e-9, atol=1e-9)
    backwards = fitted.conditional(x[::-1].copy()).mean().numpy()[::-1]
    assert np.allclose(fitted.conditional(x).mean().numpy(), backwards, rtol=1e-9, atol=1e-9)
    nothing = np.full((1, 3), np.nan)
    assert fitted.score_samples(nothing) == pytest.approx(0, abs=1e-12)


def test_methods_of_a_diffusion_density_are_named() -> None:
    with pytest.raises(UserError, match="twisted"):
        DiffusionDensity(**BRIEF, method="twist").fit(gappy())
    with pytest.raises(UserError, match="draws"):
        DiffusionDensity(**{**BRIEF, "draws": 0}).fit(gappy())
    density = DiffusionDensity(**BRIEF, random_state=0).fit(gappy(20))
    told = density.conditional(gappy(20)).mean()
    for method in ("smc", "twisted"):
        assert not torch.equal(density.set_params(method=method).conditional(gappy(20)).mean(), told)


def test_whole_weights_are_rows_repeated() -> None:
    rows, weight = np.array([4, 7, 9]), np.array([1.0, 0.0, 3.0])
    assert drawn(rows, weight).tolist() == [4, 9, 9, 9]
    many = drawn(np.arange(50), np.random.default_rng(0).random(50))
    shares = np.bincount(many, minlength=50) / len(many)
    assert np.abs(shares - np.random.default_rng(0).random(50) / np.random.default_rng(0).random(50).sum()).max() < 1e-2
