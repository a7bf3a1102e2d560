"""What vlb adds to a bare training loop and to bare network evaluations: ratios within one run.

Training: `Trainer.update` on staged batches against the same network with head, loss, backward,
clipping, optimiser and average written out. Sampling: `model.sample` against its T + 1 network
evaluations. Alternating repetitions, medians. Targets: at most 1.05 and 1.02.

    python benchmarks/bench_overhead.py [--repetitions 7] [--precision bfloat16]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from vlb.base.configuration import override
from vlb.base.memory import keep_freed_memory
from vlb.core.condition import UNCONDITIONAL
from vlb.data import load
from vlb.models.diffusion.model import DiffusionModel
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(ours: Callable[[], object], bare: Callable[[], object], repetitions: int) -> tuple[float, float]:
    """Median seconds of both, alternating so that a noisy neighbour hurts both alike."""
    ours(), bare()
    pairs = [(seconds(ours), seconds(bare)) for _ in range(repetitions)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def bare_step(
    model: DiffusionModel, x: torch.Tensor, share: float, clip: float, precision: str
) -> Callable[[], object]:
    """A training step as one would write it by hand for this one model."""
    optimiser = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    levels, start = model.embedding, torch.zeros(1, dtype=torch.float64)
    gamma_0, gamma_1 = model.process.schedule.gamma_0, model.process.schedule.gamma_1
    few = int(len(x) * share)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            embedded = levels.embed(x)
            t = (torch.rand(()) + torch.arange(len(x)) / len(x)) % 1
            gamma = (gamma_0 + (gamma_1 - gamma_0) * t).double()[:, None]
            alpha = torch.sigmoid(-gamma).sqrt().float()[:, :, None, None]
            sigma = torch.sigmoid(gamma).sqrt().float()[:, :, None, None]
            eps = torch.randn_like(embedded)
            prediction = model.denoiser(alpha * embedded + sigma * eps, gamma)
            loss = 0.5 * (gamma_1 - gamma_0) * ((eps - prediction.eps) ** 2).sum() / len(x)
            z_0 = model.process.marginal(embedded[:few], start).sample(torch.default_generator)
            loss = loss - model.likelihood(z_0).log_prob(x[:few]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.01)

    return step


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repetitions", type=int, default=7)
    arguments.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    options = arguments.parse_args()
    keep_freed_memory()
    experiment = recipe("fashion-mnist")
    plain = ("optimiser=adamw", "loss.times=low-discrepancy", "model.head=posterior", "widths=[64, 64, 64]", "batch=64")
    for assignment in (f"precision={options.precision}", *plain):
        experiment = override(experiment, assignment)
    data = load("fashion-mnist")
    share = experiment.loss.decoder_share
    x = torch.from_numpy(data.train.x[: experiment.training.batch].copy())
    model = experiment.build(data)
    trainer = Trainer(model, experiment.build_loss(model), experiment.training, 0, torch.device("cpu"))
    bare = bare_step(experiment.build(data), x, share, experiment.training.clip, options.precision)
    ours, theirs = compare(lambda: trainer.update(x, UNCONDITIONAL), bare, options.repetitions)
    print(f"training step: vlb {ours:.3f} s, bare {theirs:.3f} s, ratio {ours / theirs:.3f}")

    model = experiment.build(data).eval().requires_grad_(False)
    steps, n = 8, 16
    z, t = torch.randn(n, *model.shape), torch.full((1,), 0.5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def evaluations() -> None:
        for _ in range(steps + 1):
            model.predict(z, t)

    ours, theirs = compare(lambda: model.sample(n, steps=steps, generator=generator), evaluations, options.repetitions)
    print(
        f"sampling, {steps} steps: vlb {ours:.3f} s, its network evaluations {theirs:.3f} s, ratio {ours / theirs:.3f}"
    )


if __name__ == "__main__":
    main()
