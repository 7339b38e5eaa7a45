"""Facts about the TSPO U-Net. Counts and names: dissection of the published code (docs of the model)."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.models import family_names, get_family
from MRI2PETLib.models.separable import DepthwiseSeparableConv3d, depthwise_conv3d, pointwise_conv3d
from MRI2PETLib.models.shallow import protect_shallow_convolutions
from MRI2PETLib.models.slabs import convolve_in_slabs
from MRI2PETLib.models.unet import TSPOUNet, build, loss
from published_unet import published_forward


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def network(attention: str, seed: int = 0) -> TSPOUNet:
    """A network whose weights are far from their initial zeros and ones, so that nothing cancels by
    chance.
    """
    torch.manual_seed(seed)
    built = build({"attention": attention}).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return built


def published_names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published state dict, spelled out from the description of the architecture."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    def separable(name: str, inside: int, outside: int) -> None:
        layer(f"{name}.depthwise_separable_conv.0", inside, 1, 3, 3, 3)
        layer(f"{name}.depthwise_separable_conv.1", outside, inside, 1, 1, 1)

    def block(name: str, inside: int, dense: bool = False) -> None:
        layer(f"{name}.norm1", inside)
        layer(f"{name}.norm2", 32)
        for convolution, channels in (("conv1", inside), ("conv2", 32)):
            if dense:
                layer(f"{name}.{convolution}", 32, channels, 3, 3, 3)
            else:
                separable(f"{name}.{convolution}", channels, 32)
        if inside != 32:
            layer(f"{name}.shortcut", 32, inside, 1, 1, 1)

    def attention(name: str) -> None:
        layer(f"{name}.norm", 32)
        for part in ("q", "k", "v", "output", "attn.out_proj"):
            layer(f"{name}.{part}", 32, 32)
        shapes[f"{name}.attn.in_proj_weight"], shapes[f"{name}.attn.in_proj_bias"] = (96, 32), (96,)

    layer("image_proj", 32, 1, 3, 3, 3)
    for index in (0, 2, 4, 6):
        block(f"down.{index}.res", 32)
    for index in (1, 3, 5):
        layer(f"down.{index}.conv", 32, 32, 3, 3, 3)
    block("middle.res1", 32, dense=True)
    block("middle.res2", 32, dense=True)
    for index in (0, 1, 3, 4, 6, 7, 9, 10):
        block(f"up.{index}.res", 64)
    for index in (2, 5, 8):
        layer(f"up.{index}.conv", 32, 32, 4, 4, 4)
    for name in ("down.6.attn", "middle.attn", "up.0.attn", "up.1.attn"):
        attention(name)
    layer("norm", 32)
    separable("final", 32, 1)
    return shapes


def test_published_counts() -> None:
    built = build({})
    assert len(built.state_dict()) == 252
    assert sum(p.numel() for p in built.parameters()) == 507_553


def test_490401_parameters_are_live_in_reference_mode() -> None:
    """490,401, which the paper prints, is what is not dead for one volume: q and k of four attention blocks
    are.
    """
    built = network("reference")
    built(torch.rand(1, 1, 16, 16, 16)).sum().backward()
    live = 0
    for name, parameter in built.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            continue
        live += int(gradient[64:].numel() if "in_proj" in name else gradient.numel())
    assert live == 490_401


def test_state_dict_with_the_published_names_loads_strictly() -> None:
    state = {name: torch.zeros(shape) for name, shape in published_names().items()}
    build({}).load_state_dict(state, strict=True)


def test_fast_path_equals_the_published_formulation() -> None:
    """Tolerance 5e-5: channels-last group normalisation sums in another order."""
    built = network("reference")
    x = torch.rand(1, 1, 32, 40, 24)
    with torch.inference_mode():
        difference = (built(x) - published_forward(built, x)).abs().max()
    assert difference < 5e-5


def test_gradients_equal_those_of_the_published_formulation() -> None:
    """The sums in place of the fast formulation must not disturb the backward pass."""
    built = network("reference")
    x = torch.rand(1, 1, 16, 24, 16)
    gradients = []
    for forward in (built, lambda y: published_forward(built, y)):
        built.zero_grad()
        (forward(x) * x).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in built.named_parameters() if p.grad is not None})
    # The plain attention copies its weights and projects inside, so those have no gradient to compare.
    for name, gradient in gradients[1].items():
        scale = gradient.abs().max().clamp(min=1e-3)
        ours = gradients[0].get(name, torch.zeros_like(gradient))
        assert torch.allclose(ours / scale, gradient / scale, atol=2e-4), name
    assert len(gradients[1]) > 200


def test_depthwise_gradients_equal_those_of_the_library() -> None:
    """Against autograd in double precision, on two volumes with unequal axes and none of them even."""
    torch.manual_seed(0)
    x, weight, bias = torch.rand(2, 8, 5, 7, 9), torch.rand(8, 1, 3, 3, 3), torch.rand(8)
    arguments = [t.requires_grad_() for t in (x, weight, bias)]
    exact = [t.detach().double().requires_grad_() for t in arguments]
    ours, theirs = depthwise_conv3d(*arguments), F.conv3d(*exact, padding=1, groups=8)
    assert torch.allclose(ours.double(), theirs, atol=1e-5)
    (ours * torch.sin(ours)).sum().backward()
    (theirs * torch.sin(theirs)).sum().backward()
    for own, expected in zip(arguments, exact):
        assert torch.allclose(own.grad.double(), expected.grad, rtol=1e-4, atol=1e-4)


def fill_free_memory_with_nan() -> None:
    """What is allocated next, without being set, holds NaN."""
    sizes = (4096, 8192, 16384, 30_000, 65_536, 27 * 32 * 32, 27 * 32 * 64, 300_000)
    blocks = [torch.full((n,), float("nan")) for n in sizes]
    del blocks


@pytest.mark.parametrize(("depth", "kernel"), [(2, 3), (1, 5), (3, 4)])
def test_shallow_convolutions_have_right_weight_gradients_in_bf16(depth: int, kernel: int) -> None:
    """50 seeds, against float64; unprotected, most are NaN or off by orders of magnitude on a CPU with
    AVX-512.
    """
    for seed in range(50):
        torch.manual_seed(seed)
        convolution = torch.nn.Conv3d(16, 16, kernel, padding=kernel // 2 if kernel % 2 else 1)
        protect_shallow_convolutions(convolution)
        x = torch.randn(1, 16, depth, 4, 4).contiguous(memory_format=torch.channels_last_3d)
        fill_free_memory_with_nan()
        with torch.autocast("cpu", torch.bfloat16):
            out = convolution(x)
        weights = torch.randn_like(out, dtype=torch.float32)
        fill_free_memory_with_nan()
        (out.float() * weights).sum().backward()
        exact = copy.deepcopy(convolution).double()
        exact.zero_grad()
        (F.conv3d(x.double(), exact.weight, exact.bias, padding=exact.padding) * weights).sum().backward()
        gradient, expected = convolution.weight.grad, exact.weight.grad
        assert gradient is not None and expected is not None
        assert float((gradient.double() - expected).abs().max() / expected.abs().max()) < 0.01


def test_protection_leaves_names_copies_and_deep_volumes_alone() -> None:
    built = network("spatial")
    names, x = list(built.state_dict()), torch.rand(1, 1, 32, 32, 32)
    before = built(x)
    protect_shallow_convolutions(built)
    copied = copy.deepcopy(built)
    assert list(built.state_dict()) == names and torch.equal(built(x), before)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(built(x), before) and not torch.equal(copied(x), before)


def test_gradients_under_autocast_are_close() -> None:
    """Of 50 random networks: of dense and of depthwise convolutions, two voxels deep at the bottom."""
    for seed in range(50):
        torch.manual_seed(seed)
        built, x = build({"n_channels": 8}), torch.rand(1, 1, 16, 16, 16)
        protect_shallow_convolutions(built)
        gradients = []
        for half in (False, True):
            built.zero_grad()
            fill_free_memory_with_nan()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = built(x)
            fill_free_memory_with_nan()
            (out.float() * x).mean().backward()
            gradients.append([p.grad for p in built.parameters() if p.grad is not None])
        assert all(gradient.isfinite().all() for gradient in gradients[1]), seed
        exact, coarse = (torch.cat([g.ravel() for g in of_all]) for of_all in gradients)
        assert torch.cosine_similarity(exact, coarse, dim=0) > 0.99, seed


def test_training_keeps_few_volumes() -> None:
    """In volumes of 32 channels at full resolution, without the inputs of what is computed again: 12 were
    measured, and 56 for the published formulation.
    """
    built, x = network("spatial"), torch.rand(1, 1, 16, 16, 16)
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        built(x)
    assert sum(sizes.values()) < 20 * 32 * x.numel() * 4


def test_published_code_mixes_the_volumes_of_a_batch_and_ours_does_not() -> None:
    a, b = torch.rand(2, 1, 1, 16, 16, 16)
    for mode in ("spatial", "reference"):
        built = network(mode)
        with torch.inference_mode():
            assert torch.allclose(built(torch.cat((a, b)))[:1], built(a), atol=2e-6)
    with torch.inference_mode():
        mixed = published_forward(built, torch.cat((a, b)))[:1]
    assert (mixed - built(a)).abs().max() > 1e-5


def test_spatial_attention_sees_all_voxels_and_reference_only_its_own() -> None:
    x = torch.rand(1, 32, 4, 4, 4)
    moved = x.clone()
    moved[..., 3, 3, 3] += 1
    for mode, changes in (("spatial", True), ("reference", False)):
        block = network(mode).middle.attn
        with torch.inference_mode():
            elsewhere = (block(moved) - block(x))[..., 0, 0, 0].abs().max()
        assert bool(elsewhere > 1e-7) is changes


def test_reference_attention_is_an_affine_map_of_each_voxel() -> None:
    """x + W_o W_out (W_v' (W_v x + b_v) + b_v') + ..., folded by hand."""
    block = network("reference").middle.attn
    inner, bias = block.attn.in_proj_weight[64:], block.attn.in_proj_bias[64:]
    outer = block.output.weight @ block.attn.out_proj.weight
    weight = torch.eye(32) + outer @ inner @ block.v.weight
    offset = (
        outer @ (inner @ block.v.bias + bias)
        + block.output.weight @ block.attn.out_proj.bias
        + block.output.bias
    )
    x = torch.randn(1, 32, 3, 4, 5)
    with torch.inference_mode():
        folded = torch.einsum("oc,bckji->bokji", weight, x) + offset[:, None, None, None]
        assert torch.allclose(block(x), folded, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 24, 17), (16, 16, 16), (9, 30, 8)])
def test_any_size_is_padded_and_cut_back(shape: tuple[int, int, int]) -> None:
    built = network("spatial")
    with torch.inference_mode():
        out = built(torch.rand(1, 1, *shape))
    assert out.shape[2:] == shape
    assert 0 <= out.min() and out.max() <= 1


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_no_layout_changes_a_prediction(separable: bool, batch: int) -> None:
    """Weights and input of any layout; dense blocks, too: with and without gradients the same result."""
    torch.manual_seed(0)
    built = TSPOUNet(n_channels=16, n_levels=3, depthwise_separable=separable)
    x = torch.rand(batch, 1, 16, 24, 8)
    expected = built(x).detach()  # with gradients nothing is done in place
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        built = built.to(memory_format=layout)
        with torch.no_grad():
            for variant in (x, x.transpose(2, 4).contiguous().transpose(2, 4)):
                assert (built(variant) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_sum_of_parts_reaches_its_total(layout: torch.memory_format) -> None:
    """In any layout of the total, of two volumes: the second half of the channels is added to the first."""
    convolution, x = torch.nn.Conv3d(16, 8, 1), torch.rand(2, 16, 3, 4, 5)
    with torch.no_grad():
        first = pointwise_conv3d(x[:, :8], convolution, slice(0, 8), None).contiguous(memory_format=layout)
        both = pointwise_conv3d(x[:, 8:], convolution, slice(8, 16), first)
        assert torch.allclose(both, convolution(x), atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("in_place", [False, True])
def test_slabs_take_any_layout(layout: torch.memory_format, in_place: bool) -> None:
    torch.manual_seed(0)
    norm, convolution = torch.nn.GroupNorm(4, 16), DepthwiseSeparableConv3d(16, 16)
    x = torch.randn(2, 16, 5, 6, 7)
    with torch.no_grad():
        expected = convolution([F.silu(norm(x))])
        variant = x.clone().contiguous(memory_format=layout)
        assert torch.allclose(
            convolve_in_slabs([variant], norm, convolution, in_place=in_place), expected, atol=1e-5
        )


def test_bf16_is_close() -> None:
    built = network("spatial")
    x = torch.rand(1, 1, 24, 24, 24)
    with torch.inference_mode():
        exact = built(x)
        rough = built.bfloat16()(x.bfloat16()).float()
    assert (exact - rough).abs().max() < 2e-2
    assert len(rough.unique()) > 600  # the sigmoid in bf16 has 128 values between .5 and 1


def test_other_widths_and_depths() -> None:
    small = build({"n_channels": 16, "n_levels": 3, "n_blocks": 2, "depthwise_separable": False})
    assert small(torch.rand(1, 1, 8, 8, 8)).shape == (1, 1, 8, 8, 8)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_channels": 30},
        {"n_levels": "4"},
        {"attention": "batch"},
        {"sigmoid": 1},
        {"_target_": "os.system"},
    ],
)
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(BundleError):
        build(arguments)


def test_registry_is_closed() -> None:
    assert "unet" in family_names()
    with pytest.raises(BundleError, match="os.path"):
        get_family("os.path")


def test_loss_by_hand() -> None:
    """Prediction .5 and target 1 in half of the voxels: 0.5 (.25 + ln 2), or half of it over the whole
    volume.
    """

    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, 0.5)

    x = torch.zeros(1, 1, 2, 2, 2)
    mask = torch.zeros_like(x)
    mask[..., 0] = 1
    expected = 0.5 * (0.25 + torch.log(torch.tensor(2.0)))
    brain = loss(Half(), x, torch.ones_like(x), mask, {"loss_region": "brain"})
    volume = loss(Half(), x, torch.ones_like(x), mask, {"loss_region": "volume"})
    assert torch.isclose(brain, expected)
    assert torch.isclose(volume, expected / 2)
