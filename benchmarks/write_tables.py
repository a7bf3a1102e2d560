"""Write the tables of README and docs that come from files in benchmarks/results: python benchmarks/write_tables.py

What stands between two markers of a page is replaced; a test holds that the pages say what the files say. The files are
made by the commands beside the tables.
"""

import json
import math
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


def digits() -> str:
    """Seeds, and what stands beside."""
    of = found("digits-lattices.json")
    rows = [
        [f"seed {row['seed']}", f"{row['test'][0]:.3f} ± {row['test'][1]:.3f}", f"{row['test'][2]:.3f}"]
        for row in of["rows"]
    ]
    rows.append(["**mean**", f"**{mean(row['test'][0] for row in of['rows']):.3f}**", ""])
    rows.append(["untrained", *(f"{value:.3f}" for value in of["untrained"])])
    rows += [
        [name.replace("_", " "), f"{value:.3f}", ""]
        for name, value in sorted(of["baselines"].items(), key=lambda item: item[1])
    ]
    return markdown(["", "bits/dim", "Monte Carlo error"], rows)


def digits_by_steps() -> str:
    """Of T: the bound, files, bits to begin with."""
    rows = [
        [
            str(row["steps"]),
            f"{row['bound']:.3f} ± {row['error']:.3f}",
            *(f"{row[name]:.3f}" for name in ("net", "gross")),
            f"{row['bytes']:,}",
            f"{row['swap']:.1f}",
        ]
        for row in found("compression-digits-lattices.json")
    ]
    head = ["T", "bound at this T", "net", "file", "bytes", "initial bits/dim"]
    return markdown(head, rows)


def whole_files() -> str:
    """Of vlb and of other codecs."""
    rows = []
    for name, file in (
        ("digits, `--tries 8 --lanes 4`", "compression-digits-lattices-tries.json"),
        ("Fashion-MNIST", "compression-fashion-mnist-lattices.json"),
    ):
        of = found(file)
        best = min(of["others"], key=lambda other: of["others"][other])
        rate = of["gross"] / of["bytes"]
        rows.append(
            [
                name,
                f"{of['images']:,}",
                str(of["steps"]),
                *(f"{of[key]:.3f}" for key in ("bound", "net")),
                f"**{of['gross']:.3f}** ({of['bytes']:,} bytes)",
                f"{rate * of['others'][best]:.3f} ({best})",
            ]
        )
    return markdown(["", "images", "T", "bound at this T", "net", "vlb, whole file", "best of the others"], rows)


def table_size() -> str:
    """Of each recipe, seconds of training and −log p, beside the law that rows were drawn from."""
    of = found("table-size.json")
    rows = [
        [
            f"`vlb train {name}`",
            f"{row['seconds']:.0f}",
            f"{row['nats_per_example']:.2f} ± {row['standard_error'] * row['dimensions'] * math.log(2):.2f}",
            row["bound"],
        ]
        for name, row in of["rows"].items()
    ]
    rows.append(["the law itself", "", f"{of['law'][0]:.2f} ± {of['law'][1]:.2f}", "exact, of all rows"])
    return markdown(["", "CPU seconds", "nats a row", ""], rows)


TABLES: tuple[tuple[Path, str, Callable[[], str]], ...] = (
    (DOCS / "measurements.md", "digits", digits),
    (DOCS / "compression.md", "digits by steps", digits_by_steps),
    (DOCS / "compression.md", "whole files", whole_files),
    (DOCS / "impute.md", "imputation", lambda: tables.page(tables.Results(results.read(RESULTS / "imputation.jsonl")))),
    (
        DOCS / "mixtures.md",
        "breast cancer",
        lambda: tables.ours(tables.Results(results.read(RESULTS / "imputation.jsonl")), "breast_cancer"),
    ),
    (DOCS / "mixtures.md", "table size", table_size),
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
