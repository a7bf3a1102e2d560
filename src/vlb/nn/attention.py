"""Attention of all places, or all points of a set, to each other."""

from torch import Tensor, nn
from torch.nn import functional as F


class ElementNorm(nn.LayerNorm):
    """Layer norm over the channels of each place, (batch, C, …): on a CPU several times faster than group norm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Attention(nn.Module):
    """Residual self-attention over places, (batch, C, …) -> the same; it knows nothing of where they are, and starts as
    the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(n for n in range(max(1, channels // 64), 0, -1) if channels % n == 0)
        self.norm = ElementNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """there: (batch, places) bool, those that are looked at, by default all."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if there is None else there[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).view_as(x)
