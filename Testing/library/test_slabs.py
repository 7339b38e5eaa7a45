"""What is computed slab by slab is the whole-volume computation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MRI2PETLib.models import slabs
from MRI2PETLib.models.separable import DepthwiseSeparableConv3d


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def volume(*shape: int) -> Tensor:
    """Channels-last, with a mean that is not 0 and differs between channels."""
    x = torch.randn(*shape) + torch.arange(shape[1]).view(-1, 1, 1, 1)
    return x.contiguous(memory_format=torch.channels_last_3d)


def layers(inside: int, outside: int) -> tuple[nn.GroupNorm, DepthwiseSeparableConv3d]:
    norm = nn.GroupNorm(4, inside)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, DepthwiseSeparableConv3d(inside, outside)


def whole(parts: list[Tensor], norm: nn.GroupNorm, convolution: DepthwiseSeparableConv3d) -> Tensor:
    """In float64, contiguous, with everything concatenated."""
    x = torch.cat(parts, dim=1).double().contiguous()
    depthwise, pointwise = convolution.double().depthwise_separable_conv
    x = F.silu(norm.double()(x))
    x = F.conv3d(x, depthwise.weight, depthwise.bias, padding=1, groups=x.shape[1])
    result = F.conv3d(x, pointwise.weight, pointwise.bias)
    convolution.float(), norm.float()
    return result


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(("batch", "depth", "count"), [(1, 11, 1), (2, 6, 2), (1, 1, 1), (1, 2, 2)])
def test_equal_to_the_whole(
    monkeypatch: pytest.MonkeyPatch, slices: int, batch: int, depth: int, count: int
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(slabs, "_AT_ONCE", 5 * 7 * slices)
    norm, convolution = layers(8 * count, 12)
    parts = [volume(batch, 8, depth, 5, 7) for _ in range(count)]
    with torch.inference_mode():
        expected = whole(parts, norm, convolution)
        copies = [p.clone() for p in parts]
        result = slabs.convolve_in_slabs(parts, norm, convolution)
    torch.testing.assert_close(result.double(), expected, atol=2e-5, rtol=0)
    assert result.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(a, b) for a, b in zip(parts, copies))


@pytest.mark.parametrize("slices", [2, 3, 100])
def test_in_place(monkeypatch: pytest.MonkeyPatch, slices: int) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(slabs, "_AT_ONCE", 5 * 7 * slices)
    norm, convolution = layers(8, 8)
    x = volume(2, 8, 10, 5, 7)
    with torch.inference_mode():
        expected = slabs.convolve_in_slabs([x], norm, convolution)
        result = slabs.convolve_in_slabs([x], norm, convolution, in_place=True)
    assert torch.equal(result, expected)
    assert result.data_ptr() == x.data_ptr()


def test_bf16_keeps_its_precision() -> None:
    """The sums over a volume are not those of bf16, which stops counting at 256."""
    torch.manual_seed(0)
    norm, convolution = layers(8, 8)
    x = volume(1, 8, 16, 16, 16)
    with torch.inference_mode():
        expected = slabs.convolve_in_slabs([x], norm, convolution)
        result = slabs.convolve_in_slabs([x.bfloat16()], norm.bfloat16(), convolution.bfloat16())
    torch.testing.assert_close(result.float(), expected, atol=0.06, rtol=0.05)


def test_training_does_without() -> None:
    x = torch.zeros(1)
    assert not slabs.use_slabs(x)
    with torch.no_grad():
        assert slabs.use_slabs(x)
        with torch.autocast("cpu", torch.bfloat16):  # a validation in half precision
            assert not slabs.use_slabs(x)
