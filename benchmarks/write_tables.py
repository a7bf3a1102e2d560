"""Write the tables of README and docs that come from files in benchmarks/results: python benchmarks/write_tables.py

What stands between two markers of a page is replaced; a test holds that the pages say what the files say. The files are
made by the commands beside the tables.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).parent
sys.path.append(str(HERE / "imputation"))

import density_tables  # noqa: E402
import results  # noqa: E402
import tables  # noqa: E402
from tables import markdown  # noqa: E402

RESULTS, README, DOCS = HERE / "results", HERE.parent / "README.md", HERE.parent / "docs"
END = "<!-- made until here -->"


def found(name: str) -> Any:
    """What a result file holds."""
    return json.loads((RESULTS / name).read_text("utf-8"))


def bound(triple: list[float]) -> str:
    """A bound with its standard error."""
    return f"{triple[0]:.3f} ± {triple[1]:.3f}"


def digits() -> str:
    """Seeds, and what stands beside."""
    of = found("digits.json")
    rows = [
        [f"seed {row['seed']}", bound(row["test"]), f"{row['test'][2]:.3f}", f"{row['seconds']:.0f} s"]
        for row in of["rows"]
    ]
    own = [row["test"][0] for row in of["rows"]]
    untrained, beside = of["untrained"], of["baselines"]
    rows += [
        ["**mean**", f"**{mean(own):.3f}**", "", ""],
        ["untrained", f"{untrained[0]:.3f}", f"{untrained[1]:.3f}", "–"],
    ]
    rows += [[name, f"{value:.3f}", "", ""] for name, value in sorted(beside.items(), key=lambda item: item[1])]
    return markdown(["", "bits/dim", "Monte Carlo error", "training"], rows)


def recipes() -> str:
    """Ways of training for the same time."""
    of = found("recipes.json")
    rows = []
    for name in dict.fromkeys(row["arm"] for row in of["rows"]):
        own = [row for row in of["rows"] if row["arm"] == name]
        rows.append(
            [
                name,
                f"{own[0]['cost of a step']:.2f}",
                f"{own[0]['steps']:,}",
                *(f"{mean(row[part][0] for row in own):.3f}" for part in ("validation", "test")),
                str(len(own)),
            ]
        )
    return markdown(["", "cost of a step", "steps", "validation", "test", "seeds"], rows)


def digits_by_steps() -> str:
    """Of T: the bound, files, bits to begin with, speed."""
    rows = [
        [
            str(row["steps"]),
            f"{row['bound']:.3f} ± {row['error']:.3f}",
            *(f"{row[name]:.3f}" for name in ("net", "gross")),
            *(f"{row[name]:.1f}" for name in ("swap", "top_down")),
            f"{1000 * row['encode_mb_s']:.1f}",
            f"{row['coder_share']:.0%}",
        ]
        for row in found("compression-digits.json")
    ]
    head = [
        "T",
        "bound at this T",
        "net",
        "file",
        "initial bits/dim: climb",
        "top-down",
        "kB/s encoding",
        "entropy coder's share",
    ]
    return markdown(head, rows)


TABLES: tuple[tuple[Path, str, Callable[[], str]], ...] = (
    (DOCS / "measurements.md", "digits", digits),
    (DOCS / "measurements.md", "recipes", recipes),
    (DOCS / "compression.md", "digits by steps", digits_by_steps),
    (DOCS / "impute.md", "imputation", lambda: tables.page(tables.Results(results.read(RESULTS / "imputation.jsonl")))),
    (
        DOCS / "mixtures.md",
        "breast cancer",
        lambda: tables.ours(tables.Results(results.read(RESULTS / "imputation.jsonl")), "breast_cancer"),
    ),
    (DOCS / "mixtures.md", "densities", lambda: density_tables.page(results.read(RESULTS / "densities.jsonl"))),
)


def put(text: str, name: str, table: str) -> str:
    """A page with a table between the markers that name it. Raises `ValueError` where they are not there once."""
    begin = f"<!-- table: {name} -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{table}\n\n{END}{rest.split(END, 1)[1]}"


def pages() -> dict[Path, str]:
    """Each page that has tables, as it is with them made anew."""
    made: dict[Path, str] = {}
    for page, name, table in TABLES:
        made[page] = put(made.get(page) or page.read_text("utf-8"), name, table())
    return made


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, "utf-8")
