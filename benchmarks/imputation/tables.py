"""The tables of docs/impute.md, and one of docs/mixtures.md: means over seeds with their standard errors.

`benchmarks/write_tables.py` writes them.
"""

import math
from collections import defaultdict
from typing import Any

import numpy as np
from masks import USUAL

OURS = "vlb"
SIGNS = {"energy": 1, "nats": -1, "rmse": 1, "mae": 1, "accuracy": -1, "seconds": 1}  # 1: less is better
TITLES = {"energy": "energy score", "nats": "log p", "rmse": "RMSE"}

Found = dict[int, float]  # by seed


class Results:
    """Scores by table, mechanism, rate, method and score."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self.found: dict[tuple[str, str, float], dict[str, dict[str, Found]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(dict))
        )
        self.failed = [line for line in lines if "failed" in line]
        for line in lines:
            if "failed" in line:
                continue
            place = self.found[line["table"], line["mechanism"], line["rate"]][line["method"]]
            for name, value in line.items():
                if isinstance(value, float) and name != "rate":
                    place[name][line["seed"]] = value

    def tables(self, mechanism: str, rate: float) -> list[str]:
        """Those that have results of vlb, in their order."""
        return [name for (name, *rest), of in self.found.items() if rest == [mechanism, rate] and OURS in of]

    def methods(self, mechanism: str, rate: float) -> list[str]:
        """Of all tables, in their order."""
        return list(dict.fromkeys(m for key, of in self.found.items() if key[1:] == (mechanism, rate) for m in of))

    def scores(self, table: str, mechanism: str, rate: float, score: str) -> dict[str, Found]:
        """By method."""
        return {m: own[score] for m, own in self.found[table, mechanism, rate].items() if own.get(score)}

    def behind(self, table: str, mechanism: str, rate: float, score: str) -> tuple[str, float, float] | None:
        """The best other method, by how much vlb is worse (negative: better), and the standard error of that over the
        seeds that both have; None where there is no other."""
        own = self.scores(table, mechanism, rate, score)
        ours, sign = own.pop(OURS, {}), SIGNS[score]
        paired = {
            m: {seed: sign * (ours[seed] - found[seed]) for seed in ours if seed in found} for m, found in own.items()
        }
        worse = {m: mean_error(found) for m, found in paired.items() if found}
        if not worse:
            return None
        best = max(worse, key=lambda m: worse[m][0])
        return (best, *worse[best])


def mean_error(found: Found) -> tuple[float, float]:
    """The mean over seeds and its standard error, NaN of one seed."""
    values = np.array(list(found.values()))
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


def shown(found: Found | None, digits: int = 3) -> str:
    if not found:
        return ""
    mean, error = mean_error(found)
    return f"{mean:.{digits}f}" + ("" if math.isnan(error) else f" ± {error:.{digits}f}")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def by_table(results: Results, score: str, digits: int = 3) -> str:
    """Tables down, methods across; best in bold."""
    tables = results.tables(*USUAL)
    methods = [m for m in results.methods(*USUAL) if any(m in results.scores(t, *USUAL, score) for t in tables)]
    rows = []
    for table in tables:
        own = results.scores(table, *USUAL, score)
        if not own:
            continue
        best = min(own, key=lambda m: SIGNS[score] * mean_error(own[m])[0])
        cells = [f"**{shown(own[m], digits)}**" if m == best else shown(own.get(m), digits) for m in methods]
        rows.append([table, *cells])
    return markdown(["", *methods], rows)


def standing(results: Results) -> str:
    """Where vlb is best, within one standard error of the best, or behind: by mechanism, rate and score."""
    rows = []
    for mechanism, rate in settings(results):
        row = [named(mechanism, rate)]
        for score in ("energy", "nats", "rmse"):
            found = [results.behind(table, mechanism, rate, score) for table in results.tables(mechanism, rate)]
            told = [each for each in found if each is not None]
            good = sum(difference <= (0 if math.isnan(error) else error) for _, difference, error in told)
            row.append(f"{good} of {len(told)}")
        rows.append(row)
    return markdown(["", "energy score", "log p", "RMSE"], rows)


def settings(results: Results) -> list[tuple[str, float]]:
    """Mechanisms and rates, the usual one first."""
    return sorted({key[1:] for key in results.found}, key=lambda setting: (setting != USUAL, *setting))


def named(mechanism: str, rate: float) -> str:
    return f"{mechanism.upper()} {round(100 * rate)} %"


def ran(results: Results) -> str:
    """What was run: of each method, how many tables and how many seeds of them at each mechanism and rate."""
    found = settings(results)
    rows = []
    for method in dict.fromkeys(m for setting in found for m in results.methods(*setting)):
        row = [method]
        for setting in found:
            runs = [own[method]["energy"] for key, own in results.found.items() if key[1:] == setting and method in own]
            least, most = (pick(map(len, runs), default=0) for pick in (min, max))
            row.append(f"{len(runs)} × {least}" + (f"–{most}" if most > least else "") if runs else "")
        rows.append(row)
    return markdown(["", *(named(*setting) for setting in found)], rows)


def beside(results: Results, score: str) -> str:
    """By mechanism and rate: a score of each method over that of vlb, the geometric mean over the tables and seeds that
    both have."""
    found = settings(results)
    methods = [m for m in dict.fromkeys(m for setting in found for m in results.methods(*setting)) if m != OURS]
    rows = []
    for setting in found:
        row = [named(*setting)]
        for method in methods:
            logs = []
            for table in results.tables(*setting):
                own = results.scores(table, *setting, score)
                both = sorted(set(own.get(method, {})) & set(own.get(OURS, {})))
                if both:
                    logs.append(np.mean([math.log(own[method][seed] / own[OURS][seed]) for seed in both]))
            row.append(f"{math.exp(np.mean(logs)):.2f} ({len(logs)})" if logs else "")
        rows.append(row)
    return markdown(["", *methods], rows)


def failures(results: Results) -> str:
    """What gave no answer, and its last words."""
    rows = [
        [line["method"], line["table"], named(line["mechanism"], line["rate"]), line["failed"]]
        for line in results.failed
    ]
    return markdown(["method", "table", "hidden", "said"], rows) if rows else "None."


def losses(results: Results) -> str:
    """Tables on which another method is better by more than one standard error, worst first."""
    rows = []
    for (table, mechanism, rate), _ in results.found.items():
        for score in ("energy", "nats", "rmse"):
            found = results.behind(table, mechanism, rate, score)
            if found and found[1] > (0 if math.isnan(found[2]) else found[2]):
                other, difference, error = found
                plus = "" if math.isnan(error) else f" ± {error:.3f}"
                rows.append(
                    [
                        table,
                        named(mechanism, rate),
                        TITLES[score],
                        other,
                        f"{difference:.3f}{plus}",
                    ]
                )
    return markdown(["table", "hidden", "score", "better", "by"], rows) if rows else "None."


def intervals(results: Results) -> str:
    """By table and method: how much of the hidden cells 50 % and 90 % intervals cover, per cent."""
    tables = results.tables(*USUAL)
    methods = [m for m in results.methods(*USUAL) if any(m in results.scores(t, *USUAL, "cover90") for t in tables)]
    rows = []
    for table in tables:
        halves, most = (results.scores(table, *USUAL, score) for score in ("cover50", "cover90"))
        both = [
            f"{100 * mean_error(halves[m])[0]:.1f}, {100 * mean_error(most[m])[0]:.1f}" if m in most else ""
            for m in methods
        ]
        rows.append([table, *both])
    return markdown(["", *methods], rows)


def ours(results: Results, table: str) -> str:
    """What vlb reaches on a table, mask by mask and in the mean."""
    own = results.found[table, *USUAL][OURS]
    digits = {"nats": 3, "rmse": 3, "energy": 3, "cover50": 3, "cover90": 3, "seconds": 1}
    rows = [
        [str(seed), *(f"{own[score][seed]:.{places}f}" for score, places in digits.items())]
        for seed in sorted(own["rmse"])
    ]
    rows.append(["mean", *(shown(own[score], places) for score, places in digits.items())])
    head = ["mask", "log p, nats per cell", "RMSE", "energy score", "50 % cover", "90 % cover", "seconds of processor"]
    return markdown(head, rows)


def page(results: Results) -> str:
    """What stands between the markers."""
    parts = [
        "What was run, tables × seeds (of each table; mixed tables are not for the Gaussian):",
        ran(results),
        "Methods that failed:",
        failures(results),
        "vlb is best, or within one standard error of the best, over seeds and paired, on",
        standing(results),
        "Energy scores over those of vlb: the geometric mean over tables, of how many; above 1 vlb is better:",
        beside(results, "energy"),
        "RMSE over that of vlb, likewise:",
        beside(results, "rmse"),
        "Energy score at 30 % MCAR (less is better; the best in bold):",
        by_table(results, "energy"),
        "RMSE of the mean, likewise:",
        by_table(results, "rmse"),
        "log p(missing \\| observed), nats per cell (more is better), of tables of reals alone:",
        by_table(results, "nats"),
        "Share of hidden categories found:",
        by_table(results, "accuracy"),
        "Seconds of processor to fit and fill:",
        by_table(results, "seconds", 1),
        "What intervals of 50 % and 90 % cover, per cent:",
        intervals(results),
        "Where another method is better by more than one standard error:",
        losses(results),
    ]
    return "\n\n".join(parts)
