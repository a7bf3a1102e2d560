"""Dates as tables write them, as days or seconds since 1970; and what else looks like one."""

import math
import re
from collections.abc import Sequence

import numpy as np

DAYS, SECONDS = "days since 1970-01-01", "seconds since 1970-01-01"
LONG_AS = {DAYS: 86400.0, SECONDS: 1.0}
DATE, TIME = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?")
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
LIKE_DATE = re.compile(
    rf"(\d{{4}}([-/. ])\d\d?\2\d\d?|\d\d?([-/. ])\d\d?\3(\d{{4}}|\d\d)|\d{{4}}-\d\d"
    rf"|(\d\d?\.?[- ])?{MONTH}[- ](\d\d?,?[- ])?\d{{2,4}})"
    r"([T ,]+\d\d?:\d\d(:\d\d)?([.,]\d+)?( ?[ap]m)?( ?(z|utc|[+-]\d\d:?\d\d))?)?",
    re.IGNORECASE,
)


def dates(texts: Sequence[str]) -> np.ndarray | None:
    """Dates, or dates with times, as days or seconds since 1970, (n,); None where not all are such."""
    for pattern, unit in ((DATE, "D"), (TIME, "s")):
        if texts and all(pattern.fullmatch(text.strip()) for text in texts):
            try:
                return np.array([text.strip() for text in texts], f"datetime64[{unit}]").astype(np.float64)
            except ValueError:
                return None
    return None


def unit_of(text: str) -> str:
    """The unit of a date, or of one with a time; no text for what is none."""
    return DAYS if DATE.fullmatch(text.strip()) else SECONDS if TIME.fullmatch(text.strip()) else ""


def instant(text: str, unit: str) -> float:
    """A date, or a date with a time, in days or seconds since 1970 as `unit` says; NaN for what is none."""
    found = dates([text])
    return math.nan if found is None else float(found[0]) * LONG_AS[unit_of(text)] / LONG_AS[unit]


def like_date(text: str) -> bool:
    """Whether a text looks like a date, in whatever order and with whatever marks."""
    return LIKE_DATE.fullmatch(text.strip()) is not None
