"""Tables with gaps under a factor mixture: files come back to the byte, at the model's own rate."""

import lzma
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vlb
from vlb.base.errors import UserError
from vlb.coding.cells import Uncodable
from vlb.coding.elements import Model
from vlb.coding.factors import FactorSettings, Gapped, _pop_there, _push_there
from vlb.coding.files import known, read
from vlb.coding.files import written as written_again
from vlb.coding.gridded import GriddedCode, Window, snapped
from vlb.coding.records import read_records, record_of, write_records
from vlb.coding.rows import CODES, FURTHEST, codes_of, folded, rows_of, unfolded
from vlb.coding.stack import BitStack
from vlb.coding.tabled import TABLED, Coded, Tabled
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.coding.wording import worded
from vlb.core.schema import Categories, Column, Levels, Real
from vlb.data.columns import Described
from vlb.data.formats import FORMATS
from vlb.data.formats.base import Declined
from vlb.models.factor.model import FactorMixture
from vlb.store.runs import Run


def written(path: Path, n: int, gaps: float, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 4, n)
    second = (first + (generator.random(n) < 0.2)) % 3
    rows = ["a,b,always,c"]
    for values, missing in zip(
        zip(first, second, first // 2, strict=True), generator.random((n, 3)) < gaps, strict=True
    ):
        a, b, c = ("" if gap else "wxyz"[value] for value, gap in zip(values, missing, strict=True))
        rows.append(f"{a},{b},one,{c}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_a_table_comes_back_to_the_byte_at_the_rate_of_its_bound(tmp_path: Path, gaps: float) -> None:
    file = written(tmp_path / "table.csv", 600, gaps)
    run = tmp_path / "run"
    options = vlb.TrainOptions(overrides=("model.draws=2", "model.steps=20"))
    vlb.train("table", options, data=file, out=run)
    more = written(tmp_path / "more.csv", 500, gaps, seed=1)
    vlb.compress(run, [more], tmp_path / "more.vlb")
    vlb.decompress(tmp_path / "more.vlb", tmp_path / "back", run=run)
    assert (tmp_path / "back" / "more.csv").read_bytes() == more.read_bytes()
    if not gaps:
        nats = vlb.score(run, more).columns["nats"].sum()
        assert (tmp_path / "more.vlb").stat().st_size < nats / math.log(2) / 8 * 1.02 + 400


def test_what_is_beside_a_table_weighs_what_it_takes() -> None:
    places, odd = np.arange(3), np.array(["a", "bb", "ccc"], object)
    empty = Tabled("t", 3, False, 1, (), places[:0], odd[:0], 0, b"").size
    sizes = [Tabled("t", 3, False, 1, (), places[:n], odd[:n], kept, b"").size for n, kept in ((3, 0), (3, 70))]
    assert sizes[0] >= empty + places.nbytes + odd.nbytes and sizes[1] == sizes[0] + 70


def test_levels_and_values_that_are_not_listed_come_back(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    numbers = np.random.default_rng(0).integers(0, 4, 200)
    file.write_text("a,b,always,c\n" + "".join(f"{n},{(n + 1) % 3},one,{n // 2}\n" for n in numbers))
    schema = tmp_path / "schema.toml"
    schema.write_text(
        '[[column]]\nname = "a"\ntype = "levels"\ncount = 4\n'
        '[[column]]\nname = "b"\ntype = "categories"\nvalues = ["0", "1"]\nother = true\n'
        '[[column]]\nname = "always"\ntype = "categories"\nvalues = ["one"]\n'
        '[[column]]\nname = "c"\ntype = "levels"\ncount = 2\n'
    )
    options = vlb.TrainOptions(overrides=("model.draws=1", "model.steps=5"), schema=schema)
    vlb.train("table", options, data=file, out=tmp_path / "run")
    vlb.compress(tmp_path / "run", [file], tmp_path / "x.vlb")
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "back", run=tmp_path / "run")
    assert (tmp_path / "back" / "table.csv").read_bytes() == file.read_bytes()


NAMES = "id,height,income,town,since,children,note"


def people(path: Path, n: int, seed: int = 0, gaps: float = 0.15) -> Path:
    """Rounded reals, an atom, categories, dates, whole numbers and a real without a grid, with gaps."""
    generator = np.random.default_rng(seed)
    rows = [NAMES]
    for number in range(n):
        size = generator.normal()
        income = 0 if generator.random() < 0.3 else 1000 * math.exp(0.5 * size + 0.3 * generator.normal())
        cells = [
            f"#{generator.integers(1 << 30)}-{number}",
            f"{170 + 8 * size + 3 * generator.normal():.1f}",
            f"{income:.2f}",
            "York" if generator.random() < 0.4 + 0.1 * size else "Hull",
            str(np.datetime64("2020-01-01") + int(400 * generator.random())),
            str(generator.poisson(1.5)),
            repr(float(size + generator.normal())),
        ]
        lost = generator.random(7) < gaps
        lost[0] = False
        rows.append(",".join("" if gone else cell for cell, gone in zip(cells, lost, strict=True)))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    options = vlb.TrainOptions(
        leave_out=("id",), overrides=("model.draws=2", "model.components=2", "model.rank=2", "model.steps=15")
    )
    vlb.train("table", options, data=people(folder / "people.csv", 400), out=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    schema = Run.open(run).trained.example
    return Model(schema.shape, CODES, schema.columns)


def there_and_back(run: Path, file: Path, folder: Path) -> vlb.Compressed:
    result = vlb.compress(run, [file], folder / "x.vlb")
    vlb.decompress(folder / "x.vlb", folder / "back", run=run)
    assert (folder / "back" / file.name).read_bytes() == file.read_bytes()
    return result


def test_a_mixed_table_comes_back_to_the_byte_at_the_rate_of_its_bound(run: Path, tmp_path: Path) -> None:
    file = people(tmp_path / "people.csv", 300, seed=1)
    result = there_and_back(run, file, tmp_path)
    assert (tmp_path / "x.vlb").stat().st_size < len(lzma.compress(file.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    # What is coded is log p of the rounded columns and the categories, `note` left out, and which cells are there.
    alone = vlb.inspect(tmp_path / "x.vlb", vlb.InspectOptions(account=True), run=run).audit
    assert alone is not None
    entropy = -sum(p * math.log2(p) for p in (0.15, 0.85))
    net = sum(account.net for account in result.summary.accounts)
    assert abs(net - alone.bound - 300 * 6 * entropy) < 0.03 * net
    assert any("'note' is real" in note for note in result.summary.notes)
    assert vlb.inspect(tmp_path / "x.vlb").table()


def test_it_is_read_by_the_model_that_it_carries(run: Path, tmp_path: Path) -> None:
    file = people(tmp_path / "people.csv", 40, seed=2)
    vlb.compress(run, [file], tmp_path / "x.vlb", vlb.CompressOptions(embed_model=True))
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "back")
    assert (tmp_path / "back" / "people.csv").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a,b\n1,2\n", "none of its columns"),
        ("height\n", "no rows"),
        ("height,height\n1.0,2.0\n", "none of its columns"),
        ("town\nLeeds\nParis\nRome\n", "none of its columns"),
    ],
)
def test_other_tables_are_stored_whole(run: Path, tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(content)
    result = there_and_back(run, file, tmp_path)
    assert any(why in note and "stored as it is" in note for note in result.summary.notes)


def test_damage_is_named_and_other_models_are_refused(run: Path, tmp_path: Path) -> None:
    file = people(tmp_path / "people.csv", 60, seed=3)
    vlb.compress(run, [file], tmp_path / "x.vlb")
    whole = (tmp_path / "x.vlb").read_bytes()
    for place in range(3, len(whole), max(1, len(whole) // 25)):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        (tmp_path / "broken.vlb").write_bytes(broken)
        with pytest.raises(UserError):
            vlb.decompress(tmp_path / "broken.vlb", tmp_path / "never", run=run)
    assert not (tmp_path / "never").exists()


QUIRKS = {
    "height": [
        "170",
        "170.0",
        "170.00",
        " 170.1",
        "1.701e2",
        "NA",
        "nan",
        "?",
        "-",
        "",
        "99999.9",
        "170,1",
        "tall",
        "-3.2",
    ],
    "income": ["0.00", "0", "0.0", "-0.00", "12.34", "1e9", "null", "", "5000000000000.25"],
    "town": ["York", "Hull", "york", "Leeds", "", "NA", '"', "a,b", "Y\nZ"],
    "since": ["2020-02-29", "1969-12-31", "2020-02-29T10:00", "20200229", "", "9999-12-31"],
    "children": ["0", "1", "1.0", "+2", "17", "", "many"],
    "note": ["0.1", "1e-300", "", "x"],
    "more": ["a", "", "b b", "é"],
}
TEXTS = st.text("0123456789.-,NA e", max_size=8)
CELLS = {name: st.one_of(st.sampled_from(texts), TEXTS) for name, texts in QUIRKS.items()}


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(st.sampled_from(list(QUIRKS)), min_size=1, unique=True))
    rows = draw(st.lists(st.tuples(*(CELLS[name] for name in names)), min_size=1, max_size=12))
    rows *= draw(st.sampled_from([1, 1, 3]))
    delimiter, newline = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))
    quoted = draw(st.booleans())

    def cell(text: str) -> str:
        needed = quoted or any(mark in text for mark in f'"\n\r{delimiter}')
        return '"' + text.replace('"', '""') + '"' if needed else text

    lines = [delimiter.join(map(cell, row)) for row in (names, *rows)]
    return (newline.join(lines) + draw(st.sampled_from(["", newline]))).encode()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=tables())
def test_whatever_is_in_a_table_comes_back(model: Model, content: bytes) -> None:
    try:
        number, format_ = known(FORMATS, "table.csv", content)
        record, x = record_of("table.csv", number, read(format_, content), model)
    except Declined:
        return
    said, beside = write_records((record,))
    (again,) = read_records(said, 1, Reader(beside), model)
    assert written_again(format_, again.restored(x, model)) == content
    assert x.max(initial=0) < CODES and again.weight(x, model) > 0


def test_rows_with_numbers_come_back() -> None:
    columns = (
        Column("a", Real(0.1)),
        Column("b", Categories(("x", "y"), other=True)),
        Column("c", Levels(5)),
        Column("d", Real()),
    )
    generator = np.random.default_rng(0)
    parts = (
        generator.integers(-99, 99, 50) * 0.1,
        generator.integers(0, 3, 50),
        generator.integers(0, 5, 50),
        generator.normal(size=50),
    )
    x = np.stack(parts, 1)
    observed = generator.random(x.shape) < 0.7
    values, there = rows_of(codes_of(x, observed, columns), columns)
    np.testing.assert_array_equal(there, observed & (np.arange(4) < 3))
    np.testing.assert_allclose(values[there], x[there], rtol=0, atol=1e-12)
    numbers = np.arange(-1000, 1000)
    np.testing.assert_array_equal(unfolded(folded(numbers)), numbers)
    assert sorted(folded(numbers).tolist()) == list(range(2000))


def test_the_masses_of_a_grid_are_those_of_its_intervals() -> None:
    """Each digit's table holds the masses of its parts, to what is tabulated of Φ (1e-6) and snapped."""
    window = Window(-128, 2, lambda cells: (cells - 0.5) * 0.1)
    means, variances = np.array([[0.3, -2.0]]), np.array([[0.5, 0.04]])
    weights, (centres, deviations) = np.array([[1.0, 3.0]]), snapped(means, variances)
    code = GriddedCode(window, weights, centres, deviations)
    cells = np.arange(-128, 128)
    coarse = code.within.table(np.zeros(1, np.int64), 1).weights[0]
    found = [
        coarse[block] / coarse.sum() * (fine := code.within.table(np.array([block]), 0).weights[0]) / fine.sum()
        for block in range(16)
    ]
    normal = torch.distributions.Normal(torch.from_numpy(centres), torch.from_numpy(deviations))
    edges = torch.from_numpy(window.edge(np.append(cells, 128)).copy())
    edges[0], edges[-1] = -torch.inf, torch.inf
    below = (normal.cdf(edges.unsqueeze(1)) * torch.tensor([0.25, 0.75])).sum(1)
    np.testing.assert_allclose(np.concatenate(found), below.diff().numpy(), atol=3e-6)
    for far in (0, -128, 127, 400, -5000):
        stack = BitStack()
        code.push(stack, np.array([far]))
        assert code.pop(stack).tolist() == [far]
        assert stack.empty


def test_codes_of_any_kind_come_back(run: Path, model: Model) -> None:
    mixture = Run.open(run).trained.build()
    assert isinstance(mixture, FactorMixture)
    codec = FactorSettings().codec(mixture)
    generator = np.random.default_rng(5)
    x = np.zeros((70, *model.shape), np.uint32)
    for place, column in enumerate(model.columns or ()):
        if isinstance(column.kind, Real):
            if column.kind.resolution is not None:
                x[:, place] = generator.integers(0, 1 << generator.integers(2, 31), 70)
        else:
            x[:, place] = generator.integers(0, column.kind.count + 1, 70)
    x[:, 0] = 0
    content, account = codec.encode(x)
    np.testing.assert_array_equal(codec.decode(content, 70), x)
    assert account.direct == 0
    x[3, -2] = 4000
    with pytest.raises(Uncodable):
        Gapped(mixture).encode(BitStack(), x)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_said_of_a_table_is_believed_only_as_far_as_it_makes_sense(model: Model, data: st.DataObject) -> None:
    content = b"id,height,income,town\n1,170.0,0.00,York\n2,,12.50,Leeds\n3,171,NA,Hull\n"
    number, format_ = known(FORMATS, "table.csv", content)
    record, x = record_of("table.csv", number, read(format_, content), model)
    said, beside = write_records((record,))
    broken = bytearray(said)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    try:
        (again,) = read_records(bytes(broken), 1, Reader(beside), model)
        if again.examples == len(x):
            again.weight(x, model)
            again.restored(x, model)
    except Damaged:
        return


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(1, 2000), st.floats(0, 1), st.integers(0, 2**31))
def test_which_cells_are_there_costs_its_entropy(count: int, rate: float, seed: int) -> None:
    """How many, evenly from 0 to n, then each at that rate: log₂(n + 1) + n H(m/n) bits."""
    there = np.random.default_rng(seed).random(count) < rate
    stack = BitStack(np.random.default_rng(seed).integers(1, 2**32, 64, dtype=np.uint32).tobytes())
    before = stack.bits
    _push_there(stack, there)
    shares = [share for share in (there.mean(), 1 - there.mean()) if 0 < share < 1]
    expected = math.log2(count + 1) - count * sum(share * math.log2(share) for share in shares)
    assert abs(stack.bits - before - expected) < 33 + 1e-3 * expected
    assert np.array_equal(_pop_there(stack, count), there)


def test_any_symbol_may_be_written_in_its_own_way() -> None:
    """What is missing, an atom, a category, the last among them, and what is usual is not said."""
    kind = Categories(("red", "green", "blue"))
    symbols, texts = np.array([0, 1, 2, 3, 3, 0, 2]), ["NA", "red", "Green", "BLUE", "BLUE", "NA", "Green"]
    found = worded(symbols, texts, Described("c", kind))
    assert found.own == ((0, "NA"), (2, "Green"), (3, "BLUE"))
    assert found.texts(symbols, Described("c", kind)).tolist() == texts


@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_which_cells_are_there_comes_back(count: int) -> None:
    for many in range(count + 1):
        there = np.arange(count) < many
        stack = BitStack(np.random.default_rng(0).bytes(400) + b"\1")
        before = stack.content()
        _push_there(stack, there)
        assert np.array_equal(_pop_there(stack, count), there) and stack.content() == before


def test_exceptions_beside_each_other_and_tables_of_one_column_come_back(tmp_path: Path) -> None:
    for name, head, row in (("two", "a,b", "{0},{0}"), ("one", "a", "{0}")):
        cells = ["x", "y", "z"] * 70
        table = "\n".join((head, *(row.format(cell) for cell in cells))) + "\n"
        (tmp_path / f"{name}.csv").write_text(table)
        run = tmp_path / name
        options = vlb.TrainOptions(overrides=("model.draws=0", "model.steps=5"))
        vlb.train("table", options, data=tmp_path / f"{name}.csv", out=run)
        odd = tmp_path / f"odd-{name}.csv"
        lines = table.splitlines()
        lines[5] = row.format('"x"')  # the same value, written otherwise: in all cells of a row
        odd.write_text("\n".join(lines) + "\n")
        vlb.compress(run, [odd], tmp_path / "x.vlb")
        vlb.decompress(tmp_path / "x.vlb", tmp_path / f"back-{name}", run=run)
        assert (tmp_path / f"back-{name}" / odd.name).read_bytes() == odd.read_bytes()
        (tmp_path / "x.vlb").unlink()


def test_rounded_columns_cost_what_the_model_says(tmp_path: Path) -> None:
    """Each is coded given the cells that came before: two columns that tell each other cost less than apart."""
    rng = np.random.default_rng(0)
    a = np.rint(rng.normal(0, 20, 900)) / 10
    b = np.rint(10 * (a + rng.normal(0, 0.06, 900))) / 10
    file = tmp_path / "t.csv"
    file.write_text("a,b\n" + "".join(f"{x:.1f},{y:.1f}\n" for x, y in zip(a, b, strict=True)))
    run = tmp_path / "run"
    options = vlb.TrainOptions(overrides=("model.draws=0", "model.steps=20", "model.components=1"))
    vlb.train("table", options, data=file, out=run)
    vlb.compress(run, [file], tmp_path / "t.vlb")
    nats = vlb.score(run, file).columns["nats"].sum()
    assert (tmp_path / "t.vlb").stat().st_size < nats / math.log(2) / 8 * 1.02 + 180


def test_numbers_at_the_furthest_step_have_one() -> None:
    column = Described("a", Real(resolution=0.5)).columns
    for step, there in ((FURTHEST, True), (-FURTHEST, True), (FURTHEST + 1, False)):
        codes = codes_of(np.array([[step * 0.5]]), np.array([[True]]), column)
        assert (codes[0, 0] > 0) == there


def test_exceptions_may_lie_beside_each_other() -> None:
    described = Described("a", Categories(("x", "y")))
    wording = worded(np.array([0, 1, 0]), ["x", "y", "x"], described)
    odd = np.array(['"x"', '"y"'], object)
    table = Tabled("t", 3, False, 2, (Coded(0, 0, wording),), np.array([2, 3]), odd, 0, b"")
    writer = Writer()
    packed = table.write(writer)
    reader = Reader(writer.content())
    assert reader.text() == "t" and reader.number() == TABLED
    again = Tabled.read("t", reader, Reader(packed), 1 << 20)
    assert again.places.tolist() == [2, 3] and again.odd.tolist() == odd.tolist()
