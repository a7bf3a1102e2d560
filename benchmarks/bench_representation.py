"""What z_t of a diffusion model tells of x and of its label (Section 3.0.1), beside bench_collapse.py for hierarchies.

q is fixed, so this needs no trained model: I(x; z_t) of 200 test digits, at most log 200 nats, and the test accuracy
of a linear probe from z_t to the label, over log-SNR. Beside them, how far the aggregate q(z_t) of the training digits
is from N(0, I), the prior of the top level (Section 2.5).

    python benchmarks/bench_representation.py
"""

import torch

from vlb.core.distributions import Normal
from vlb.core.emissions import Centres
from vlb.data import load
from vlb.measure.diagnostics import label_probe, mutual_information
from vlb.measure.holes import holes, standard_prior
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear

SHOWN = 200


def main() -> None:
    torch.set_num_threads(1)
    data = load("digits")
    process = GaussianDiffusion(LogSNRLinear(-6.0, 8.0), VP())
    generator = torch.Generator().manual_seed(0)
    train, test = (Centres(17).embed(torch.from_numpy(split.x)) for split in (data.train, data.test))
    assert data.train.labels is not None and data.test.labels is not None
    for gamma in (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0):
        t = process.schedule.inverse(torch.tensor([gamma], dtype=torch.float64))
        q = process.marginal(test[:SHOWN], t)
        q = Normal(q.mean, q.log_variance.expand_as(q.mean))
        information = mutual_information(q.sample(generator), q, []).low
        z_train, z_test = (process.marginal(x, t).sample(generator) for x in (train, test))
        probe = label_probe(z_train, data.train.labels, z_test, data.test.labels)
        whole = process.marginal(train, t)
        whole = Normal(whole.mean, whole.log_variance.expand_as(whole.mean))
        found = holes(whole, standard_prior, generator, draws=2000)
        print(
            f"log SNR {-gamma:+.0f}: I(x; z_t) {information:.2f} nats, probe {probe:.3f}; against N(0, I): KL "
            f"{found.kl:.3f} ± {found.kl_error:.3f} nats, uncovered {found.uncovered:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
