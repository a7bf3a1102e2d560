"""Write the tables of README and docs that come from files in benchmarks/results: python benchmarks/write_tables.py

What stands between two markers of a page is replaced; a test holds that the pages say what the files say. The files are
made by the commands beside the tables.
"""

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).parent
sys.path.append(str(HERE / "imputation"))

import density_tables  # noqa: E402
import results  # noqa: E402
import tables  # noqa: E402
from tables import markdown  # noqa: E402

RESULTS, README, DOCS = HERE / "results", HERE.parent / "README.md", HERE.parent / "docs"
RECIPE = "Muon, adaptive times"  # of the ways of training, that of the recipe
END = "<!-- made until here -->"


def found(name: str) -> Any:
    """What a result file holds."""
    return json.loads((RESULTS / name).read_text("utf-8"))


def reached() -> str:
    """README's bounds. A training of digits is timed by the processor, where ways of training are compared."""
    steps = [row["seconds"] / row["steps"] for row in found("recipes.json")["rows"] if row["arm"] == RECIPE]
    spent = [row["seconds"] / 60 for row in found("digits-lattices.json")["rows"]]
    large = mean(row["seconds"] / 60 for row in found("fashion-mnist.json")["rows"])
    rows = []
    for data, recipe, training in (
        ("digits, 8×8, 17 levels", "digits", f"{found('digits.json')['steps'] * mean(steps) / 60:.0f} min of one core"),
        ("digits, short files", "digits-lattices", f"{min(spent):.0f}–{max(spent):.0f} min of busy cores"),
        ("Fashion-MNIST, 28×28, 256 levels", "fashion-mnist", f"{large:.0f} min of a busy core"),
    ):
        of = found(f"{recipe}.json")
        test, error = (mean(row["test"][number] for row in of["rows"]) for number in (0, 1))
        seeds = f"{len(of['rows'])} seeds; ± {error:.3f} each" if len(of["rows"]) > 1 else f"± {error:.3f}"
        rows.append(
            [
                data,
                f"**{test:.3f}** ({seeds})",
                f"`vlb train {recipe}`",
                training,
                *(f"{of['baselines'][name]:.3f}" for name in ("independent_pixels", "lzma")),
            ]
        )
    return markdown(["data", "vlb", "by", "training", "independent pixels", "lzma"], rows)


def ways(name: str) -> str:
    """What else a recipe might be, for the same processor time."""
    rows, all_rows = [], found(name)["rows"]
    first = {row["seed"]: row["test"][0] for row in all_rows if row["arm"] == all_rows[0]["arm"]}
    for arm in dict.fromkeys(row["arm"] for row in all_rows):
        of = [row for row in all_rows if row["arm"] == arm]
        gains = [row["test"][0] - first[row["seed"]] for row in of]
        gain = f"{mean(gains):+.3f}" + (f" ± {stdev(gains) / len(gains) ** 0.5:.3f}" if len(gains) > 1 else "")
        rows.append(
            [
                arm,
                str(len(of)),
                f"{mean(row['cost of a step'] for row in of):.2f}",
                f"{mean(row['steps'] for row in of):.0f}",
                *(f"{mean(row[part][0] for row in of):.3f}" for part in ("validation", "test")),
                "" if arm == all_rows[0]["arm"] else gain,
            ]
        )
    head = ["", "seeds", "cost of a step", "steps", "validation", "test", "test, beside the first"]
    return markdown(head, rows)


def seeds(name: str) -> str:
    """Of a recipe: seeds, and what stands beside."""
    of = found(name)
    rows = [
        [f"seed {row['seed']}", f"{row['test'][0]:.3f} ± {row['test'][1]:.3f}", f"{row['test'][2]:.3f}"]
        for row in of["rows"]
    ]
    if len(rows) > 1:
        rows.append(["**mean**", f"**{mean(row['test'][0] for row in of['rows']):.3f}**", ""])
    rows.append(["untrained", *(f"{value:.3f}" for value in of["untrained"])])
    rows += [
        [name.replace("_", " "), f"{value:.3f}", ""]
        for name, value in sorted(of["baselines"].items(), key=lambda item: item[1])
    ]
    return markdown(["", "bits/dim", "Monte Carlo error"], rows)


def by_steps(name: str) -> str:
    """Of T: the bound, files, bits to begin with."""
    rows = [
        [
            str(row["steps"]),
            f"{row['bound']:.3f} ± {row['error']:.3f}",
            *(f"{row[name]:.3f}" for name in ("net", "gross")),
            f"{row['bytes']:,}",
            f"{row['swap']:.1f}",
            f"{row['top_down']:.1f}",
        ]
        for row in found(name)
    ]
    head = ["T", "bound at this T", "net", "file", "bytes", "initial bits/dim: climb", "top-down"]
    return markdown(head, rows)


def whole_files() -> str:
    """Of vlb and of other codecs."""
    rows = []
    for name, file in (
        ("digits, `--tries 8 --lanes 4`", "compression-digits-lattices-tries.json"),
        ("Fashion-MNIST, `fashion-mnist`", "compression-fashion-mnist.json"),
        ("Fashion-MNIST, in lattices, head `posterior`", "compression-fashion-mnist-lattices.json"),
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


def shape() -> str:
    """Bounds by the weight of the shape of p(x | z_t)."""
    rows = found("shape.json")["rows"]
    steps = [name for name in rows[0] if "T = " in name]
    lines = [[f"{row['weight']:g}", f"{row['bound']:.3f}", *(f"{row[name]:.3f}" for name in steps)] for row in rows]
    return markdown(["loss.shape", "T = ∞", *(name.replace(",", " kernel,") for name in steps)], lines)


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


def photographs() -> str:
    """Of held-out pictures, with other codecs."""
    of = found("photographs.json")
    rows = [
        [
            f"vlb, {name}",
            f"{way['steps']:,}",
            f"{way['bits/dim']:.3f} ± {way['standard error']:.3f}",
            f"{way['archive, bits/dim']:.3f} (T = {way['T']})",
        ]
        for name, way in of["ways"].items()
    ]
    rows += [[name, "", "", f"{rate:.3f}"] for name, rate in sorted(of["others"].items(), key=lambda item: item[1])]
    return markdown(["", "steps", "bound, bits/dim", "whole files, bits/dim"], rows)


def sound() -> str:
    """Bits per sample of spoken prompts."""
    rows = []
    for way, of in found("sound.json").items():
        bound, error = of["bound, bits per sample"]
        files = dict(of["bits per sample"])
        own = f"**{files.pop('vlb'):.3f}** (T = {of['steps T']})"
        others = ", ".join(f"{name} {rate:.3f}" for name, rate in sorted(files.items(), key=lambda item: item[1]))
        stated = f"**{bound:.3f}** ± {error:.3f} ({of['of windows']:,} windows)"
        rows.append([way, f"{of['steps']:,}", stated, own, others])
    return markdown(["", "steps", "bound", "whole files", "others, whole files"], rows)


def growth() -> str:
    """Seconds and memory by size, and their slopes."""
    rows = []
    for name, of in found("growth.json").items():
        sizes = of["rows"]
        seconds, mebibytes = (
            " · ".join(f"{size[key] / unit:.{places}f}" for size in sizes)
            for key, unit, places in (("seconds", 1, 2), ("bytes", 2**20, 0))
        )
        slopes = (f"{of['slopes'][key]:.2f}" for key in ("seconds", "bytes"))
        counts = " · ".join(f"{size['size']:,}" for size in sizes)
        rows.append([name, of["work"], counts, seconds, mebibytes, *slopes])
    return markdown(["", "work", "sizes", "seconds", "MiB", "slope of time", "of memory"], rows)


def scaling() -> str:
    """Of a step on several GPUs, by counting."""
    made = found("estimate-scaling.json")
    rows = [
        [
            f"{row['devices']}, {row['parallel'] if row['devices'] > 1 else 'alone'}",
            f"{row['held'] / 1e9:.1f}",
            f"{row['activations'] / 1e9:.0f}",
            str(row["parts"]),
            f"{row['sent'] / 1e9:.1f}",
            f"{1000 * row['arithmetic']:.0f}",
            f"{1000 * row['messages']:.0f}",
            f"{row['hours']:.1f}",
        ]
        for row in made["rows"]
    ]
    heads = ["GPUs", "GB held", "GB kept for the backward pass", "parts of a batch", "GB sent", "ms of arithmetic",
             "ms of messages", f"hours for {made['pictures'] / 1e6:.0f} million pictures"]  # fmt: skip
    return markdown(heads, rows)


TABLES: tuple[tuple[Path, str, Callable[[], str]], ...] = (
    (README, "reached", reached),
    (DOCS / "measurements.md", "digits", partial(seeds, "digits.json")),
    (DOCS / "measurements.md", "digits in lattices", partial(seeds, "digits-lattices.json")),
    (DOCS / "measurements.md", "ways", partial(ways, "recipes.json")),
    (DOCS / "measurements.md", "ways, fashion-mnist", partial(ways, "recipes-fashion-mnist.json")),
    (DOCS / "measurements.md", "ways, mnist", partial(ways, "recipes-mnist.json")),
    (DOCS / "measurements.md", "fashion-mnist", partial(seeds, "fashion-mnist.json")),
    (DOCS / "compression.md", "digits in lattices by steps", partial(by_steps, "compression-digits-lattices.json")),
    (DOCS / "compression.md", "whole files", whole_files),
    (DOCS / "compression.md", "shape", shape),
    (DOCS / "photographs.md", "photographs", photographs),
    (DOCS / "scaling.md", "growth", growth),
    (DOCS / "scaling.md", "many GPUs", scaling),
    (DOCS / "sound.md", "sound", sound),
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
