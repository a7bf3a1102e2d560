"""What a weighting optimises: the ELBO of data with noise added, or something else (Section 4.7).

By parts, L_w = ∫ L(t) dw(λ_t) + w(λ_max) L(0) − w(λ_min) L(1) (Eq. 4.145), L(t) = E[−ELBO_t(z_t)] − H(q(z_t | x))
(Eq. 4.158): a mixture of ELBOs of noisy data (Eq. 4.152). In units of the largest w it has an atom of w(λ_max)/max w
on data without noise (t = 0; Eq. 4.146 prints that term as a constant, which it is not), and, where w(λ_min) is not the
largest, another of 1 − w(λ_min)/max w on pure noise (t = 1), of which no network is asked anything: L(1) is that of the
prior. With it the shares sum to 1. Where w increases with λ, its share is negative and the ELBO there is *minimised*
(Section 4.7.1).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vlb.models.diffusion.schedules import Schedule
from vlb.models.diffusion.weightings.base import Weighting
from vlb.models.diffusion.weightings.custom import check

NODES = 2001
STEP = 1e-4


class Share(NamedTuple):
    """The part of the mixture of ELBOs on data noised to log SNR in [low, high]; negative where it is minimised."""

    low: float
    high: float
    mass: float


@dataclass(frozen=True)
class Description:
    """What w(λ) optimises between its ends, in units of its largest value. Made by `describe`.

    monotone: whether w never increases with λ, so that L_w is an ELBO of noise-augmented data (Eq. 4.161).
    atom: the share of data without noise, t = 0; top: that of pure noise, t = 1. minimised: intervals of λ where the
    ELBO is minimised.
    """

    weighting: Weighting
    gamma_0: float
    gamma_1: float
    scale: float
    atom: float
    top: float
    minimised: tuple[tuple[float, float], ...]

    @property
    def monotone(self) -> bool:
        """Whether w(λ_t), in units of its largest value, is a distribution function of t (Eq. 4.147–4.149)."""
        return not self.minimised

    def density(self, log_snr: Tensor) -> Tensor:
        """−w′(λ)/max w: the mixture's density over λ beside its atoms, by central differences: (…,) -> (…,)."""
        log_snr = log_snr.double()
        low, high = (log_snr - STEP).clamp(min=-self.gamma_1), (log_snr + STEP).clamp(max=-self.gamma_0)
        with torch.no_grad():
            return (self.weighting(low) - self.weighting(high)) / ((high - low) * self.scale)

    def kernel(self, t: Tensor, schedule: Schedule) -> Tensor:
        """p_w(t) = dw(λ_t)/dt (Eq. 4.150) under a schedule with these ends, without the atoms: (…,) -> (…,)."""
        return self.density(-schedule.gamma(t).mean(-1)) * schedule.rate(t).mean(-1)

    def mixture(self, parts: int = 8) -> tuple[Share, ...]:
        """The mixture of ELBOs (Eq. 4.164) over `parts` equal intervals of λ, least noise first, without the atoms."""
        edges = torch.linspace(-self.gamma_0, -self.gamma_1, parts + 1, dtype=torch.float64)
        with torch.no_grad():
            masses = self.weighting(edges).diff() / self.scale
        return tuple(
            Share(low, high, mass)
            for high, low, mass in zip(edges[:-1].tolist(), edges[1:].tolist(), masses.tolist(), strict=True)
        )

    def __str__(self) -> str:
        if self.monotone:
            head = "monotone: the ELBO of data with Gaussian noise added (Eq. 4.161)"
        else:
            where = ", ".join(f"[{low:.2f}, {high:.2f}]" for low, high in self.minimised)
            head = f"not monotone: for log SNR in {where} the ELBO is minimised (Section 4.7.1)"
        lines = [head, f"{self.atom:8.1%} of the mixture of ELBOs on data without noise (t = 0)"]
        lines += [f"{s.mass:8.1%} on data noised to log SNR in [{s.low:.2f}, {s.high:.2f}]" for s in self.mixture()]
        if self.top:
            lines.append(f"{self.top:8.1%} on pure noise (t = 1), of which no network is asked anything")
        return "\n".join(lines)


def describe(weighting: Weighting, gamma_0: float, gamma_1: float) -> Description:
    """What `weighting` optimises for γ in [γ₀, γ₁]. Raises `UserError` where it is negative or not finite."""
    check(weighting, gamma_0, gamma_1)
    log_snr = torch.linspace(-gamma_1, -gamma_0, NODES, dtype=torch.float64)
    with torch.no_grad():
        value = weighting(log_snr).double()
    scale = value.max().item()
    atoms = (value[-1].item() / scale, 1 - value[0].item() / scale)
    rises = (value.diff() > 1e-12 * scale).tolist()
    minimised, start = [], None
    for i, up in enumerate([*rises, False]):
        if up and start is None:
            start = i
        elif not up and start is not None:
            minimised.append((log_snr[start].item(), log_snr[i].item()))
            start = None
    return Description(weighting, gamma_0, gamma_1, scale, *atoms, tuple(minimised))
