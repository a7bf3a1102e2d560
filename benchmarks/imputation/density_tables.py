"""The tables of densities in docs/mixtures.md: means over seeds with their standard errors.

`benchmarks/write_tables.py` writes them.
"""

from collections import defaultdict
from typing import Any

from tables import Found, markdown, shown


def by_table(lines: list[dict[str, Any]], score: str, digits: int) -> str:
    """Tables down, methods across."""
    found: dict[str, dict[str, Found]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        if score in line:
            found[line["table"]][line["method"]][line["seed"]] = line[score]
    methods = list(dict.fromkeys(method for own in found.values() for method in own))
    rows = [
        [f"{table} ({max(map(len, own.values()))})", *(shown(own.get(method), digits) for method in methods)]
        for table, own in found.items()
    ]
    return markdown(["splits", *methods], rows)


def page(lines: list[dict[str, Any]]) -> str:
    """What stands between the markers."""
    return "\n\n".join(
        (
            "log p of the test rows, nats per column, standardised (more is better), of tables of reals alone:",
            by_table(lines, "nats", 3),
            "Area under the ROC curve of gradient boosting that tells samples from test rows (0.5: it cannot):",
            by_table(lines, "auc", 2),
            "Seconds of processor to fit, score and sample:",
            by_table(lines, "seconds", 1),
        )
    )
