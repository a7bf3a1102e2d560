"""Tables 4.1–4.3 as the documentation prints them, against the library's 2×2 solve."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from tests.oracles import SCALINGS, seeded
from vlb.models.diffusion.parameterization import Data, Flow, Noise, Score, Velocity, solve, target
from vlb.models.diffusion.process import GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear

DOCS = Path(__file__).parent.parent / "docs"
LIBRARY = {"x": Data(), "ε": Noise(), "s": Score(), "v": Velocity(), "u": Flow()}


def load_tables():
    spec = importlib.util.spec_from_file_location("parameterizations", DOCS / "figures" / "parameterizations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["parameterizations"] = module
    spec.loader.exec_module(module)
    return module


tables = load_tables()


def setting(scaling: str):
    process = GaussianDiffusion(LogSNRLinear(-4.0, 4.0), SCALINGS[scaling])
    s, t = torch.tensor([0.35], dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64)
    x, eps = torch.randn(2, 5, 2, generator=seeded(), dtype=torch.float64).unbind(0)
    alpha, sigma = process.alpha_sigma(t, x)
    return process, s, t, x, eps, alpha, sigma, alpha * x + sigma * eps


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("given", LIBRARY)
def test_entries_hold_in_every_process(scaling: str, given: str) -> None:
    """Conversions, ratios of losses and means: Tables 4.1–4.3 in their general form."""
    process, s, t, x, eps, alpha, sigma, z = setting(scaling)
    level = alpha.item(), sigma.item()
    out = target(LIBRARY[given], x, eps, alpha, sigma)
    wrong = out + torch.randn(5, 2, generator=seeded(1), dtype=torch.float64)
    x_hat, eps_hat = solve(LIBRARY[given], wrong, z, alpha, sigma)
    for wanted in LIBRARY:
        first, second, bottom = (part.at(*level) for part in tables.conversion(wanted, given))
        expected = target(LIBRARY[wanted], x, eps, alpha, sigma)
        torch.testing.assert_close((first * z + second * out) / bottom, expected, rtol=1e-9, atol=1e-9)
        top, under = (part.at(*level) for part in tables.loss_ratio(wanted, given))
        error = target(LIBRARY[wanted], x_hat, eps_hat, alpha, sigma) - expected
        torch.testing.assert_close(error**2, (top / under) ** 2 * (wrong - out) ** 2, rtol=1e-9, atol=1e-9)
    (a, under_a), (b, under_b) = tables.mean(given)
    ratio, variance = alpha / process.alpha_sigma(s, x)[0], process.transition(x, s, t).log_variance.exp()
    mean = (1 + variance * a.at(*level) / under_a.at(*level)) * z - variance * b.at(*level) / under_b.at(*level) * wrong
    torch.testing.assert_close(mean / ratio, process.posterior(z, x_hat, s, t).mean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("given", LIBRARY)
@pytest.mark.parametrize("wanted", LIBRARY)
def test_printed_entries_are_the_derived_ones(wanted: str, given: str) -> None:
    """What a reader sees, evaluated as an expression, is what was derived."""
    if wanted == given:
        return
    values = {"α": 0.7, "σ": 0.4, "z": 1.3, given: -0.6}

    def evaluate(text: str) -> float:
        for mark, power in (("²", "**2"), ("³", "**3")):
            text = text.replace(mark, power)
        text = text.replace("−", "-")
        spaced = ""
        for i, character in enumerate(text):
            follows = spaced and (text[i - 1] in "ασzxεsuv)23" or text[i - 1] == "2")
            if follows and character in "ασzxεsuv(" and text[i - 1] not in "*/":
                spaced += "*"
            spaced += character
        return eval(spaced, {"__builtins__": {}}, values)

    first, second, bottom = (part.at(values["α"], values["σ"]) for part in tables.conversion(wanted, given))
    expected = (first * values["z"] + second * values[given]) / bottom
    assert evaluate(tables.conversion_text(wanted, given)) == pytest.approx(expected)
    top, under = (part.at(values["α"], values["σ"]) for part in tables.loss_ratio(wanted, given))
    assert evaluate(tables.loss_text(wanted, given)) == pytest.approx((top / under) ** 2)


def test_the_page_prints_these_tables() -> None:
    assert tables.markdown() in (DOCS / "parameterization.md").read_text()
