"""The contract of a backbone: (z, γ, condition) -> (batch, *shape, outputs), zero at first, then responsive."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import seeded
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.nn.attention import Attention
from vlb.nn.axes import fold
from vlb.nn.embedding import Conditioning, fourier
from vlb.nn.mlp import MLPBackbone
from vlb.nn.sets import SetBackbone
from vlb.nn.unet import UNetBackbone

Build = Callable[..., nn.Module]


def mlp(shape: tuple[int, ...], outputs: int, classes: int = 0, dropout: float = 0.0) -> nn.Module:
    return MLPBackbone(shape, (*shape, outputs), classes, width=16, blocks=2, dropout=dropout)


def unet(
    shape: tuple[int, ...],
    outputs: int,
    classes: int = 0,
    dropout: float = 0.0,
    widths: tuple[int, ...] = (8, 12),
    patch: int = 1,
) -> nn.Module:
    attention = tuple(i > 0 for i in range(len(widths)))
    return UNetBackbone(shape, outputs, classes, widths, 1, attention, (2,), patch, dropout)


def folded(shape: tuple[int, ...], outputs: int, classes: int = 0, dropout: float = 0.0) -> nn.Module:
    return unet(shape, outputs, classes, dropout, patch=2)


def sets(shape: tuple[int, ...], outputs: int, classes: int = 0, dropout: float = 0.0) -> nn.Module:
    return SetBackbone(shape[1], outputs, classes, 16, 2, (0, 1), dropout)


CASES = [
    pytest.param(sets, (7, 3), id="sets"),
    pytest.param(sets, (2, 2), id="sets-of-two"),
    pytest.param(mlp, (5,), id="mlp-vector"),
    pytest.param(mlp, (2, 3, 3), id="mlp-image"),
    pytest.param(unet, (1, 8, 8), id="unet"),
    pytest.param(unet, (3, 7, 5), id="unet-odd"),
    pytest.param(unet, (4, 1, 9), id="unet-one-row"),
    pytest.param(folded, (3, 7, 5), id="unet-patch-odd"),
    pytest.param(folded, (1, 8, 12), id="unet-patch"),
    pytest.param(unet, (2, 11), id="unet-wave-odd"),
    pytest.param(folded, (1, 13), id="unet-wave-patch"),
    pytest.param(unet, (2, 5, 4, 3), id="unet-volume-odd"),
    pytest.param(folded, (1, 5, 6, 4), id="unet-volume-patch"),
]
EVERY = pytest.mark.parametrize("build, shape", CASES)


def perturbed(network: nn.Module, seed: int = 0) -> nn.Module:
    """As after some training: no parameter is at its start."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def inputs(shape: tuple[int, ...], n: int = 3) -> tuple[Tensor, Tensor]:
    gamma = torch.linspace(-13.3, 5.0, n, dtype=torch.float64).unsqueeze(1)
    return torch.randn(n, *shape, generator=seeded(1)), gamma


@EVERY
@pytest.mark.parametrize("outputs", [1, 4])
def test_starts_at_zero_in_the_shape_of_the_contract(build: Build, shape: tuple[int, ...], outputs: int) -> None:
    out = build(shape, outputs)(*inputs(shape), UNCONDITIONAL)
    assert torch.equal(out, torch.zeros(3, *shape, outputs))


@EVERY
def test_gradient_reaches_every_parameter(build: Build, shape: tuple[int, ...]) -> None:
    network = perturbed(build(shape, 3, classes=2))
    out = network(*inputs(shape), Condition(label=torch.tensor([0, 1, -1])))
    (out * torch.randn(out.shape, generator=seeded(2))).sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not silent


@EVERY
def test_depends_on_every_input(build: Build, shape: tuple[int, ...]) -> None:
    """On each element of z, on γ and on the label, once it has learned anything."""
    network, (z, gamma) = perturbed(build(shape, 2, classes=3)), inputs(shape)
    z.requires_grad_()
    labels = Condition(label=torch.tensor([0, 1, 2]))
    out = network(z, gamma, labels)
    (gradient,) = torch.autograd.grad((out * torch.randn(out.shape, generator=seeded(3))).sum(), z)
    assert gradient.abs().min() > 0
    for other in (network(z, gamma + 0.5, labels), network(z, gamma, Condition(label=torch.tensor([1, 2, 0])))):
        assert all((other[i] - out[i]).abs().max() > 1e-4 for i in range(3))


@EVERY
def test_no_label_is_none(build: Build, shape: tuple[int, ...]) -> None:
    network, (z, gamma) = perturbed(build(shape, 2, classes=3)), inputs(shape)
    torch.testing.assert_close(
        network(z, gamma, Condition(label=torch.full((3,), -1))), network(z, gamma, UNCONDITIONAL)
    )


@EVERY
def test_examples_do_not_mix(build: Build, shape: tuple[int, ...]) -> None:
    network, (z, gamma) = perturbed(build(shape, 2, classes=3)), inputs(shape)
    labels = torch.tensor([0, 1, 2])
    together = network(z, gamma, Condition(label=labels))
    for i in range(3):
        alone = network(z[i : i + 1], gamma[i : i + 1], Condition(label=labels[i : i + 1]))
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-4, atol=1e-4)


@EVERY
def test_dropout_acts_in_training_only(build: Build, shape: tuple[int, ...]) -> None:
    network, (z, gamma) = perturbed(build(shape, 2, dropout=0.5)), inputs(shape)
    assert torch.equal(network(z, gamma, UNCONDITIONAL), network(z, gamma, UNCONDITIONAL))
    network.train()
    assert not torch.equal(network(z, gamma, UNCONDITIONAL), network(z, gamma, UNCONDITIONAL))


@EVERY
def test_runs_in_float64(build: Build, shape: tuple[int, ...]) -> None:
    network, (z, gamma) = perturbed(build(shape, 2)), inputs(shape)
    single = network(z, gamma, UNCONDITIONAL)
    torch.testing.assert_close(network.double()(z.double(), gamma, UNCONDITIONAL).float(), single, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 7, 5), (2, 11), (2, 5, 7, 4)])
@pytest.mark.parametrize("patch", [2, 4])
def test_patches_unfold_where_they_came_from(shape: tuple[int, ...], patch: int) -> None:
    """A network that only copies its first convolution's centre out again must return z, pixel by pixel."""
    channels, blocks = shape[0], patch ** (len(shape) - 1)
    folded_channels = channels * blocks
    network = UNetBackbone(shape, 1, 0, (folded_channels,), 1, (False,), (), patch, 0.0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.first.weight[:, :, *[1] * (len(shape) - 1)] = torch.eye(folded_channels)

        class Passing(nn.Module):
            def forward(self, x: Tensor, *_: Tensor) -> Tensor:
                return x[:, :folded_channels]

        for stages in (*network.down, *network.up):
            for i in range(len(stages)):
                stages[i] = Passing()
        for i in range(len(network.middle)):
            network.middle[i] = Passing()
        network.norm = nn.Identity()
        # Folding puts channel c, offset (i, j) at c·p² + i·p + j; the output wants (i, j) first.
        order = torch.arange(folded_channels).view(channels, blocks).T.flatten()
        network.last.weight[:, :, *[0] * (len(shape) - 1)] = torch.eye(folded_channels)[order]
    z, gamma = inputs(shape)
    torch.testing.assert_close(network(z, gamma, UNCONDITIONAL).squeeze(-1), nn.functional.silu(z))


@pytest.mark.parametrize("patch", [2, 3])
def test_patches_of_images_are_folded_as_torch_does(patch: int) -> None:
    """`pixel_unshuffle` is the same map where sizes are multiples: kept models were trained with it."""
    h = torch.randn(2, 3, 4 * patch, 5 * patch, generator=seeded(5))
    assert torch.equal(fold(h, patch), nn.functional.pixel_unshuffle(h, patch))


@pytest.mark.parametrize("lower, higher", [((2, 9), (2, 1, 9)), ((2, 9), (2, 1, 9, 1)), ((2, 7, 6), (2, 7, 1, 6))])
def test_an_axis_of_one_element_changes_nothing(lower: tuple[int, ...], higher: tuple[int, ...]) -> None:
    """Kernels see nothing but zeros beside it, so a network of more axes with the same middles gives the same."""
    small, large = perturbed(unet(lower, 3, 2, widths=(8, 12, 12))), unet(higher, 3, 2, widths=(8, 12, 12)).eval()
    weights = small.state_dict()
    with torch.no_grad():
        for name, weight in large.named_parameters():
            kernel = weights[name]
            if weight.ndim == kernel.ndim:
                weight.copy_(kernel)
                continue
            for axis in (place + 1 for place, size in enumerate(higher) if size == 1):
                reach = weight.shape[axis] // 2  # of a kernel beyond its middle
                kernel = kernel.unsqueeze(axis)
                kernel = torch.cat((kernel,) * (2 * reach + 1), axis)  # only its middle ever meets an element
            weight.copy_(kernel)
    z, gamma = inputs(lower)
    torch.testing.assert_close(large(z.view(3, *higher), gamma).view(3, *lower, 3), small(z, gamma))


@pytest.mark.parametrize("shape, order", [((1, 7, 5), (1, 0)), ((2, 5, 4, 3), (2, 0, 1))])
def test_no_axis_is_special(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    """With the axes of its kernels in another order, a network does to the axes in that order what it did."""
    places = (0, 1, *(2 + axis for axis in order))
    network, turned = perturbed(unet(shape, 3)), unet((shape[0], *(shape[1 + axis] for axis in order)), 3).eval()
    with torch.no_grad():
        for weight, original in zip(turned.parameters(), network.parameters(), strict=True):
            weight.copy_(original.permute(places) if original.ndim == len(places) else original)
    z, gamma = inputs(shape)
    torch.testing.assert_close(turned(z.permute(places), gamma), network(z, gamma).permute(*places, len(places)))


@pytest.mark.parametrize("channels", [8, 64, 96, 160, 224])
def test_attention_has_heads_for_any_width(channels: int) -> None:
    x = torch.randn(2, channels, 3, 2, generator=seeded(4))
    attention = Attention(channels)
    assert torch.equal(attention(x), x)
    # Attention without positions commutes with permutations of the pixels.
    perturbed(attention)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = x.flatten(2)[:, :, order].view_as(x)
    torch.testing.assert_close(attention(moved).flatten(2), attention(x).flatten(2)[:, :, order], rtol=1e-4, atol=1e-4)


def test_fourier_features_tell_neighbouring_levels_apart() -> None:
    """At 256 levels neighbours differ by 2/256; with octaves 6 and 7 their features differ by more than 1."""
    z = (2 * torch.arange(256.0) + 1).view(256, 1, 1, 1) / 256 - 1
    plain, rich = fourier(z, ()), fourier(z, (6, 7))
    assert plain.shape[1] == 1
    assert rich.shape[1] == 5
    assert (plain[1:] - plain[:-1]).flatten(1).norm(dim=1).max() < 0.01
    assert (rich[1:] - rich[:-1]).flatten(1).norm(dim=1).min() > 1


def test_noise_levels_are_told_apart() -> None:
    """γ a tenth of a nat apart embed apart, all the way from −14 to 14."""
    gamma = torch.arange(-14, 14, 0.1, dtype=torch.float64).unsqueeze(1)
    conditioning = Conditioning(16, 0)
    level = gamma.float() * conditioning.frequencies
    features = torch.cat((level.sin(), level.cos()), 1)
    distance = torch.cdist(features, features) + 10 * torch.eye(len(gamma))
    assert distance.min() > 0.5
