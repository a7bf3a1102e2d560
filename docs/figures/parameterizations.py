"""Tables 4.1–4.3 of the monograph, derived from the pairs (a, b), as Markdown.

    python docs/figures/parameterizations.py

Every parameterization of Section 4.1 has a and b that are Laurent polynomials in α and σ, so that all
entries follow from out = a·x + b·ε by sums and products, in any process.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Laurent:
    """Σ coefficient · α^i σ^j: {(i, j): coefficient}."""

    terms: dict[tuple[int, int], int]

    def __add__(self, other: "Laurent") -> "Laurent":
        keys = {*self.terms, *other.terms}
        total = {k: self.terms.get(k, 0) + other.terms.get(k, 0) for k in keys}
        return Laurent({k: c for k, c in total.items() if c})

    def __mul__(self, other: "Laurent") -> "Laurent":
        total = Laurent({})
        for (i, j), c in self.terms.items():
            total += Laurent({(i + k, j + m): c * d for (k, m), d in other.terms.items()})
        return total

    def __neg__(self) -> "Laurent":
        return Laurent({k: -c for k, c in self.terms.items()})

    def __sub__(self, other: "Laurent") -> "Laurent":
        return self + -other

    def negative(self) -> bool:
        return all(c < 0 for c in self.terms.values())

    def at(self, alpha: float, sigma: float) -> float:
        return sum(c * alpha**i * sigma**j for (i, j), c in self.terms.items())

    def lowest(self) -> tuple[int, int]:
        """The powers of α and σ that divide every term."""
        return min(i for i, _ in self.terms), min(j for _, j in self.terms)

    def __str__(self) -> str:
        text = ""
        for (i, j), c in sorted(self.terms.items(), reverse=True):
            letters = _power("α", i) + _power("σ", j)
            number = "" if abs(c) == 1 and letters else str(abs(c))
            text += (" − " if c < 0 else " + ") + number + letters
        return text.removeprefix(" + ").replace(" − ", "−", 1) if text.startswith(" −") else text.removeprefix(" + ")


def _power(letter: str, exponent: int) -> str:
    marks = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return {0: "", 1: letter}.get(exponent, letter + marks)


ZERO, ONE = Laurent({}), Laurent({(0, 0): 1})
ALPHA, SIGMA = Laurent({(1, 0): 1}), Laurent({(0, 1): 1})
PAIRS: dict[str, tuple[Laurent, Laurent]] = {
    "x": (ONE, ZERO),
    "ε": (ZERO, ONE),
    "s": (ZERO, Laurent({(0, -1): -1})),
    "v": (-SIGMA, ALPHA),
    "u": (-ONE, ONE),
}


def determinant(name: str) -> Laurent:
    """bα − aσ."""
    a, b = PAIRS[name]
    return b * ALPHA - a * SIGMA


def reduced(*parts: Laurent) -> list[Laurent]:
    """The same ratios without common powers, the last part with a positive leading term."""
    kept = [part for part in parts if part.terms]
    i, j = (min(part.lowest()[k] for part in kept) for k in (0, 1))
    sign = 1 if sorted(parts[-1].terms.items(), reverse=True)[0][1] > 0 else -1
    factor = Laurent({(-i, -j): sign})
    return [part * factor for part in parts]


def conversion(wanted: str, given: str) -> list[Laurent]:
    """wanted = (N_z z + N_out given)/D: the three polynomials."""
    (a, b), (c, d) = PAIRS[wanted], PAIRS[given]
    return reduced(a * d - b * c, b * ALPHA - a * SIGMA, determinant(given))


def mean(given: str) -> tuple[list[Laurent], list[Laurent]]:
    """μ = [(1 + σ²_{t|s} A) z − σ²_{t|s} B out]/α_{t|s}: A and B as numerator and denominator."""
    a, _ = PAIRS[given]
    bottom = SIGMA * determinant(given)
    return (reduced(a, bottom) if a.terms else [ZERO, ONE]), reduced(ALPHA, bottom)


def loss_ratio(wanted: str, given: str) -> list[Laurent]:
    """‖Δwanted‖² = (N/D)² ‖Δgiven‖²."""
    return reduced(determinant(wanted), determinant(given))


def times(factor: Laurent, letter: str) -> str:
    if not factor.terms:
        return ""
    text = str(factor)
    if text in ("1", "−1"):
        return text.replace("1", "") + letter
    if len(factor.terms) == 1:
        return f"{text}{letter}"
    return f"−({-factor}){letter}" if factor.negative() else f"({text}){letter}"


def over(top: str, bottom: Laurent, several: bool) -> str:
    text = str(bottom)
    if text == "1":
        return top
    bottom_text = f"({text})" if len(bottom.terms) > 1 or len(text) > 2 else text
    return (f"({top})" if several else top) + "/" + bottom_text


def conversion_text(wanted: str, given: str) -> str:
    first, second, bottom = conversion(wanted, given)
    parts = [times(first, "z"), times(second, given)]
    parts.sort(key=lambda part: part.startswith("−"))
    text = " + ".join(part for part in parts if part).replace("+ −", "− ")
    return over(text, bottom, several=bool(first.terms))


def mean_text(given: str) -> str:
    (a, under_a), (b, under_b) = mean(given)
    if not a.terms:
        z = "z"
    else:
        sign = "−" if str(a).startswith("−") else "+"
        z = (
            f"(1 {sign} "
            + over(f"{times(-a if sign == '−' else a, 'σ²ₜₛ').replace('1σ', 'σ')}", under_a, False)
            + ") z"
        )
    sign = "+" if str(b).startswith("−") else "−"
    return f"[{z} {sign} " + over(times(-b if sign == "+" else b, "σ²ₜₛ"), under_b, False) + f" {given}]/αₜₛ"


def loss_text(wanted: str, given: str) -> str:
    top, bottom = loss_ratio(wanted, given)
    if str(top) == str(bottom):
        return "1"
    if top.negative():
        top = -top
    many = len(top.terms) > 1
    text = over(f"({top})" if many and str(bottom) != "1" else str(top), bottom, False)
    return f"({text})²" if len(text) > 1 else f"{text}²"


def markdown() -> str:
    """The three tables."""
    names = list(PAIRS)
    rule = "|---|" + "---|" * len(names)
    lines = ["| wanted from | " + " | ".join(names) + " |", rule]
    for wanted in names:
        cells = ["–" if wanted == given else conversion_text(wanted, given) for given in names]
        lines.append(f"| {wanted} | " + " | ".join(cells) + " |")
    lines += ["", "| output | mean of p(z_s given z_t) |", "|---|---|"]
    lines += [f"| {name} | {mean_text(name)} |" for name in names]
    lines += ["", "| loss in, from that in | " + " | ".join(names) + " |", rule]
    for wanted in names:
        lines.append(f"| {wanted} | " + " | ".join(loss_text(wanted, given) for given in names) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
