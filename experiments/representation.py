"""What codes tell of the label: z_t, a hierarchy's latents, and an encoder beside a diffusion decoder (Section 5,
outlook i).

q(z_t | x) of a diffusion model is fixed, so that what z_t tells needs no training: I(x; z_t) of 200 test digits, at
most log 200 nats, the test accuracy of a linear probe for the label, and KL(q(z_t) ‖ N(0, I)) of the training digits
(Section 3.0.1, 2.5). A hierarchical VAE's latents are probed rung by rung. And an encoder is put beside a diffusion
decoder: c ~ q(c | x) from the top of a ladder network, p(x | c) a diffusion model that is told c, together a bound,
KL(q(c | x) ‖ N(0, I)) + E −log p(x | c). It is trained by the bound or by a tenth of its KL, with and without the
ladder's denoising costs at every layer of the encoder, which are no part of the bound; the bound is what is reported.

    python experiments/representation.py [--budget short]
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from matplotlib.figure import Figure
from shared.arms import Experiment, Found, Values, main
from shared.style import GREY, panels
from shared.training import EVEN, SMALL, TINY, configured, mean_and_error, trained
from torch import Tensor, nn

from vlb.core.condition import NOTHING, Condition
from vlb.core.distributions import Normal, closed_kl
from vlb.core.draws import Draws
from vlb.core.emissions import Centres
from vlb.core.initial import initialise
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Dataset, load
from vlb.measure.diagnostics import label_probe, mutual_information
from vlb.measure.evaluation import measure_bound
from vlb.measure.holes import holes, standard_prior
from vlb.models.diffusion.loss import DiffusionTerms
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.ladder.model import LadderNetwork
from vlb.models.loss import Sums, Terms

LOG_SNR = (6, 4, 2, 0, -2, -4, -6, -8)
SHOWN = 200
ENCODERS = {
    "the bound": (1.0, 0.0),
    "the bound, ladder costs": (1.0, 0.1),
    "a tenth of the KL": (0.1, 0.0),
    "a tenth of the KL, ladder costs": (0.1, 0.1),
}


@dataclass(frozen=True)
class Budget:
    """network: the decoder, as set of `digits`; steps: of the encoder with its decoder; hierarchy: steps of the recipe
    `digits-hvae-top-down`; draws: of z_t for its KL; size: of c."""

    network: tuple[str, ...] = SMALL
    steps: int = 400
    hierarchy: int = 600
    seeds: tuple[int, ...] = (0, 1)
    draws: int = 500
    size: int = 16


BUDGETS = {
    "toy": Budget(TINY, 10, 10, (0,), 100, 4),
    "short": Budget(),
    "night": Budget((), 1000, 1500, (0, 1, 2), 2000),
}


class Encoded(nn.Module):
    """c ~ q(c | x) = N(μ(x), s²(x)) from the top of a ladder network, which is told no labels; p(x | c) a diffusion
    model that is told a linear map of c as a plane."""

    takes = NOTHING
    bound = BoundKind("variational bound on")

    def __init__(self, ladder: LadderNetwork, decoder: DiffusionModel, size: int) -> None:
        super().__init__()
        self.ladder, self.decoder, self.shape = ladder, decoder, decoder.shape
        self.posterior = nn.Linear(len(ladder.log_scale), 2 * size)
        self.lift = nn.Linear(size, math.prod(decoder.shape))

    def code(self, x: Tensor) -> Normal:
        """q(c | x)."""
        return Normal(*self.posterior(self.ladder.encode(x).logits).chunk(2, 1))

    def told(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Condition]:
        """KL(q(c | x) ‖ N(0, I)), (batch,) nats, and what the decoder is told of one draw."""
        q = self.code(x)
        kl = closed_kl(q, Normal(torch.zeros_like(q.mean), torch.zeros_like(q.mean)))
        assert kl is not None
        return kl, Condition(planes=self.lift(q.sample(generator)).view(len(x), *self.shape))

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of the bound's terms, (batch,) nats each."""
        kl, told = self.told(x, generator)
        return {("code",): kl, **self.decoder.terms(x, told, generator)}


class EncodedTerms(Terms[Encoded]):
    """The decoder's loss, a share of the KL, and the ladder's costs per unit and layer."""

    why_whole = "a ladder network normalises by the moments of a whole batch"

    def __init__(self, decoder: DiffusionTerms, kl: float, costs: float) -> None:
        super().__init__()
        self.decoder, self.kl, self.costs = decoder, kl, costs

    def forward(
        self, model: Encoded, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        kl, told = model.told(x, generator)
        terms, sums = self.decoder(model.decoder, x, told, generator, step)
        terms["code"] = self.kl * kl.mean() / math.prod(x.shape[1:])
        costs, clean = model.ladder.costs(x, generator)
        terms["ladder"] = self.costs * costs.sum()
        with torch.no_grad():  # the running moments, for use outside training
            for layer, moments in enumerate(zip(clean.means, clean.stds, strict=True)):
                for name, moment in zip(("mean", "std"), moments, strict=True):
                    model.ladder.get_buffer(f"{name}_{layer}").lerp_(moment, 0.05)
        return terms, sums

    def learn(self, sums: Sums) -> None:
        self.decoder.learn(sums)


def fixed(budget: Budget) -> Values:
    """z_t at every λ of `LOG_SNR`; and x itself."""
    data = load("digits")
    process = GaussianDiffusion(LogSNRLinear(-6.0, 8.0), VP())
    generator = torch.Generator().manual_seed(0)
    train, test = (Centres(17).embed(torch.from_numpy(split.x)) for split in (data.train, data.test))
    found: Values = {"information": [], "probe": [], "kl": [], "uncovered": []}
    for log_snr in LOG_SNR:
        t = process.schedule.inverse(torch.tensor([-float(log_snr)], dtype=torch.float64))
        q = wide(process.marginal(test[:SHOWN], t))
        found["information"].append(mutual_information(q.sample(generator), q, []).low)
        found["probe"].append(probed(data, *(process.marginal(x, t).sample(generator) for x in (train, test))))
        whole = holes(wide(process.marginal(train, t)), standard_prior, generator, draws=budget.draws)
        found["kl"].append(whole.kl)
        found["uncovered"].append(whole.uncovered)
    return found | {"probe of x": probed(data, train, test)}


def wide(q: object) -> Normal:
    """A Gaussian with a variance per element."""
    assert isinstance(q, Normal)
    return Normal(q.mean, q.log_variance.expand_as(q.mean))


def probed(data: Dataset, train: Tensor, test: Tensor) -> float:
    """A linear probe's accuracy on test codes."""
    assert data.train.labels is not None and data.test.labels is not None
    return label_probe(train, data.train.labels, test, data.test.labels)


@torch.no_grad()
def hierarchy(budget: Budget, seed: int) -> Values:
    """A hierarchical VAE, the rung next to the data first: probes of drawn latents, the KL of each rung, the bound."""
    data = load("digits")
    settings = (f"steps={budget.hierarchy}", f"loss.warmup={budget.hierarchy // 2}")
    with torch.enable_grad():
        model = trained(configured("digits-hvae-top-down", settings, seed), data).model
    generator = torch.Generator().manual_seed(0)
    train, test = ([rung.z for rung in model.inferred(torch.from_numpy(split.x), generator)]
                   for split in (data.train, data.test))  # fmt: skip
    bound = measure_bound(model, data.test, passes=8)
    dimensions = data.test.dimensions * math.log(2)
    kl = {path[1]: dimensions * value for path, value in bound.terms.items() if path[0] == "kl"}
    return {
        "bound": bound.bits_per_dim,
        "probe": [probed(data, *codes) for codes in zip(train, test, strict=True)],
        "kl": [kl[place] for place in sorted(kl)],
    }


@torch.no_grad()
def encoder(how: str, budget: Budget, seed: int) -> Values:
    """The encoder and its decoder: bound, KL of the code, probes of a draw and of its mean."""
    data = load("digits")
    experiment = configured("digits", (*EVEN, *budget.network, f"steps={budget.steps}"), seed)
    generator = torch.Generator().manual_seed(seed)
    with Draws(generator):
        decoder = experiment.model.build(data.schema, planes=1)  # type: ignore[union-attr,call-arg]
        initialise(decoder, data.train, generator)
        none = torch.zeros(0, *data.schema.shape), torch.zeros(0, dtype=torch.int64)
        ladder = LadderNetwork((64, 128, 32), data.schema.shape, 17, 0.3, (1.0, 1.0, 1.0), *none)
        model = Encoded(ladder, decoder, budget.size)
    loss = EncodedTerms(replace(experiment.loss).build(decoder), *ENCODERS[how])  # type: ignore[arg-type]
    with torch.enable_grad():
        model = trained(experiment, data, model=model, loss=loss).model
    bound = measure_bound(model, data.test, passes=8)
    train, test = (model.code(torch.from_numpy(split.x)) for split in (data.train, data.test))
    draws = torch.Generator().manual_seed(0)
    return {
        "bound": bound.bits_per_dim,
        "kl": data.test.dimensions * math.log(2) * bound.terms[("code",)],
        "probe": probed(data, train.sample(draws), test.sample(draws)),
        "probe of the mean": probed(data, train.mean, test.mean),
    }


def arms(budget: Budget) -> Mapping[str, Callable[[], Values]]:
    """z_t; a hierarchy and every encoder per seed."""
    found: dict[str, Callable[[], Values]] = {"z_t": partial(fixed, budget)}
    for seed in budget.seeds:
        found[f"hierarchy, seed {seed}"] = partial(hierarchy, budget, seed)
        found |= {f"{how}, seed {seed}": partial(encoder, how, budget, seed) for how in ENCODERS}
    return found


def draw(found: Found) -> Figure:
    """z_t over λ; probes against what codes cost."""
    figure, (left, right) = panels(2, height=3.6)
    values = found.arms["z_t"]
    left.plot(LOG_SNR, values["probe"], "o-", label="label probe")
    left.plot(LOG_SNR, [value / math.log(SHOWN) for value in values["information"]], "o-", label="I(x; z_t)/log 200")
    left.axhline(values["probe of x"], color="C0", ls=":")
    left.set(xlabel="λ = log SNR", title="z_t of the fixed q; dotted: probe of x", ylim=(0, 1.02))
    left.legend()
    for seed in found.budget["seeds"]:
        rungs = found.arms[f"hierarchy, seed {seed}"]
        right.plot(rungs["kl"], rungs["probe"], "s", color=GREY, mfc="none", label=None if seed else "rungs of an HVAE")
        for number, how in enumerate(ENCODERS):
            one = found.arms[f"{how}, seed {seed}"]
            right.plot(one["kl"], one["probe"], "o", ms=6, color=f"C{number}", label=None if seed else how)
    right.axhline(values["probe of x"], color="C0", ls=":")
    right.set(xlabel="KL of the code, nats", ylabel="label probe, accuracy", title="learned codes", ylim=(0, 1.02))
    right.set_xscale("symlog", linthresh=1)
    right.legend()
    return figure


def tell(found: Found) -> str:
    """Tables."""
    values, seeds = found.arms["z_t"], found.budget["seeds"]
    lines = ["| log SNR of z_t | " + " | ".join(f"{x:+d}".replace("-", "−") for x in LOG_SNR) + " |"]
    lines.append("|---" * (len(LOG_SNR) + 1) + "|")
    for key, name in (
        ("kl", "KL(q(z_t) ‖ N(0, I)), nats"), ("uncovered", "uncovered"),
        ("information", "I(x; z_t) of 200 test digits, nats"), ("probe", "linear label probe"),
    ):  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(f"{value:.3g}" for value in values[key]) + " |")
    lines += [
        "",
        "| learned code | test bound, bits/dim | KL, nats | probe of a draw | of the mean |",
        "|---" * 5 + "|",
    ]
    rungs = [found.arms[f"hierarchy, seed {seed}"] for seed in seeds]
    bound = mean_and_error([one["bound"] for one in rungs])
    for place in range(len(rungs[0]["probe"])):
        kl, probe = (mean_and_error([one[key][place] for one in rungs], 2) for key in ("kl", "probe"))
        lines.append(f"| HVAE, rung {place + 1} | {bound} | {kl} | {probe} | |")
    for how in ENCODERS:
        ones = [found.arms[f"{how}, seed {seed}"] for seed in seeds]
        cells = (mean_and_error([one[key] for one in ones], digits)
                 for key, digits in (("bound", 3), ("kl", 2), ("probe", 2), ("probe of the mean", 2)))  # fmt: skip
        lines.append(f"| beside a diffusion decoder: {how} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\nThe same probe of the pixels themselves reaches {values['probe of x']:.2f}."


EXPERIMENT = Experiment(
    name="representation",
    title="What codes tell of the label",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: a label probe of z_t and its information about x fall together as λ falls. Right: "
    "label probes of learned codes against the KL that they cost.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
