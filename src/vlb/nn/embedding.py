"""Embeddings of the noise level and the condition, shared by all backbones."""

import math

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.condition import LABEL, NOTHING, Condition, Role


class Conditioning(nn.Module):
    """γ and a condition -> (batch, width). `classes` is the number of labels, 0 for none.

    It takes labels where there are classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.takes = LABEL if classes else NOTHING
        self.frequencies: Tensor
        # Periods from a quarter of a nat to 64 nats resolve any noise schedule's γ.
        self.register_buffer("frequencies", 2 * math.pi / torch.logspace(-2, 6, 32, base=2), persistent=False)
        self.network = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.labels = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, gamma: Tensor, condition: Condition) -> Tensor:
        """γ (batch, 1 or D) and a condition -> (batch, width)."""
        level = gamma.mean(-1, keepdim=True).float() * self.frequencies
        embedded = self.network(torch.cat((level.sin(), level.cos()), -1))
        if self.labels is None:
            return embedded
        if condition.label is not None:
            index = torch.where(condition.label < 0, self.classes, condition.label)
        else:
            index = torch.full(gamma.shape[:1], self.classes, device=gamma.device)
        return embedded + self.labels(index)


def seen(z: Tensor, role: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a network that knows roles sees of z (batch, C, …), which holds the values of known elements: what is
    modelled beside what is known, (batch, 2C, …), each 0 elsewhere; and which are known and which are absent, alike.

    role: of each element of z, None where all are modelled.
    """
    role = torch.zeros_like(z, dtype=torch.uint8) if role is None else role
    known = role == Role.KNOWN
    values = torch.cat((torch.where(role == Role.MODELLED, z, 0.0), torch.where(known, z, 0.0)), 1)
    return values, torch.cat((known, role == Role.ABSENT), 1).to(z.dtype)


def beside(h: Tensor, condition: Condition) -> Tensor:
    """h (batch, C, …) with the condition's planes (batch, channels, …) as further channels, or h (batch, D) with all of
    their numbers. Raises `UserError` where there are none."""
    if condition.planes is None:
        raise UserError("this network is told maps aligned with x: give the condition's planes")
    planes = condition.planes if h.ndim > 2 else condition.planes.flatten(1)
    return torch.cat((h, planes.to(h.dtype)), 1)


def fourier(z: Tensor, octaves: tuple[int, ...]) -> Tensor:
    """z with sin and cos of 2ⁿπz for n in `octaves`, along dimension 1 (Kingma et al. 2021, §C).

    They show a network the fine values of its input, which decide the likelihood.
    """
    angles = [math.pi * 2.0**n * z for n in octaves]
    return torch.cat([z, *(f(angle) for angle in angles for f in (torch.sin, torch.cos))], 1)
