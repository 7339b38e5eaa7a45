"""The GAN: patches of 70 voxels, no batch effects, gradients where they belong, L1 alone is a regression."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bundles import tiny_metadata
from MRI2PETLib.core.errors import BundleError, Cancelled
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.models import get_family, pix2pix
from MRI2PETLib.models.bundle import read_bundle, save_bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.models.objective import NETWORK_STATE, OBJECTIVE_STATE

TINY = {"channels": 8, "levels": 2}
FLAT = {**TINY, "dims": 2, "upsampling": "transposed"}
CRITIC = {"critic_channels": 8, "critic_layers": 1}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def predict(network: torch.nn.Module, source: torch.Tensor) -> torch.Tensor:
    mean, sd = pix2pix.predict(network, source, samples=3, steps=0, seed=0, progress=no_progress)
    assert sd is None
    return mean


def batch(n: int = 2, size: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    source = torch.rand(n, 1, size, size, size)
    mask = torch.zeros_like(source)
    mask[:, :, 2:-2, 2:-2, 2:-2] = 1
    return source * mask, (1 - source) * mask, mask


@pytest.mark.parametrize(("layers", "width"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_of_the_critic_is_as_wide_as_it_says(layers: int, width: int) -> None:
    """The voxels that one logit depends on; with 3 layers that is the published 70 x 70."""
    torch.manual_seed(0)
    # Instance norm couples all voxels through its mean: left out here, the patch is that of the convolutions.
    layers_of_critic = [m for m in pix2pix.Critic(2, 4, layers) if "Norm" not in type(m).__name__]
    image = torch.rand(1, 2, 128, 128, requires_grad=True)
    logits = torch.nn.Sequential(*layers_of_critic)(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert image.grad is not None
    touched = image.grad.abs().sum(dim=(0, 1)).nonzero()
    assert (touched.max(dim=0).values - touched.min(dim=0).values + 1).tolist() == [width, width]


def test_the_published_critic_gives_30_x_30_logits_of_a_slice() -> None:
    with torch.inference_mode():
        assert pix2pix.Critic(2, 4, 3)(torch.zeros(1, 2, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("arguments", [TINY, FLAT])
@pytest.mark.parametrize("training", [True, False])
def test_a_result_depends_on_nothing_else_in_the_batch(arguments: dict, training: bool) -> None:
    network = pix2pix.build(arguments).train(training)
    source, *_ = batch(3)
    together = predict(network, source)
    alone = torch.cat([predict(network, one[None]) for one in source])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert not list(network.buffers())  # no running statistics


def test_a_flat_network_treats_every_axial_slice_on_its_own() -> None:
    network = pix2pix.build(FLAT).eval()
    source, *_ = batch(1)
    order = torch.randperm(source.shape[2])
    torch.testing.assert_close(
        predict(network, source[:, :, order]), predict(network, source)[:, :, order], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("arguments", [TINY, FLAT])
def test_any_size_keeps_its_shape_and_stays_within_0_and_1(arguments: dict) -> None:
    source = torch.rand(1, 1, 15, 18, 21)
    result = predict(pix2pix.build(arguments).eval(), source)
    assert result.shape == source.shape
    assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_lambda_adv_0_is_the_regression_step_bit_for_bit() -> None:
    source, target, mask = batch()
    networks = []
    for plain in (True, False):
        torch.manual_seed(1)
        network = pix2pix.build(TINY)
        objective = pix2pix.objective({"lambda_adv": 0, "lambda_l1": 1, **CRITIC})
        assert not list(objective.parameters())  # no critic, so no second optimiser
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(3):
            optimiser.zero_grad()
            if plain:
                loss = (2 * (network(source) - target).abs() * mask).sum() / mask.sum()
            else:
                ((part, loss),) = objective.losses(network, source, target, mask)
                assert part == NETWORK_STATE
            loss.backward()
            optimiser.step()
        networks.append(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(networks[0].values(), networks[1].values()))


@pytest.mark.parametrize("adversarial", pix2pix.ADVERSARIAL)
@pytest.mark.parametrize("dims", [2, 3])
def test_each_loss_trains_what_it_says_and_nothing_else(adversarial: str, dims: int) -> None:
    torch.manual_seed(0)
    network = pix2pix.build({**TINY, "dims": dims})
    objective = pix2pix.objective({"dims": dims, "adversarial": adversarial, "slices": 3, **CRITIC})
    moved_parts = []
    for part, loss in objective.losses(network, *batch()):
        network.zero_grad()
        objective.zero_grad()
        loss.backward()
        trained = {NETWORK_STATE: network, OBJECTIVE_STATE: objective}
        for name, module in trained.items():
            gradients = [p.grad for p in module.parameters()]
            assert all((g is not None) == (name == part) for g in gradients), (part, name)
        moved_parts.append(part)
    assert moved_parts == [OBJECTIVE_STATE, NETWORK_STATE]


def test_a_step_looks_at_some_slices_with_brain() -> None:
    mask = torch.zeros(1, 1, 20, 4, 4)
    mask[:, :, 5:15] = 1
    slices = pix2pix._some_slices(mask, 4).tolist()
    assert len(set(slices)) == 4 and set(slices) <= set(range(5, 15))
    assert sorted(pix2pix._some_slices(mask, 99).tolist()) == list(range(5, 15))


def test_cancelling_stops_between_slices() -> None:
    calls = []

    def progress(done: float, total: float, stage: str) -> None:
        calls.append(done)
        raise Cancelled("Cancelled.")

    network = pix2pix.build(FLAT).eval()
    with pytest.raises(Cancelled):
        pix2pix.predict(network, torch.rand(1, 1, 80, 8, 8), samples=1, steps=0, seed=0, progress=progress)
    assert calls == [32]


def test_arguments_are_checked_one_by_one() -> None:
    for arguments, message in (({"width": 3}, "no argument 'width'"), ({"dims": 4}, "dims cannot be 4")):
        with pytest.raises(BundleError, match=message):
            pix2pix.build(arguments)
    with pytest.raises(BundleError, match="lambda_adv cannot be -1"):
        pix2pix.objective({"lambda_adv": -1})
    with pytest.raises(BundleError, match="no part"):
        pix2pix.objective({"lambda_adv": 0, "lambda_l1": 0})
    with pytest.raises(BundleError, match="loss is for 2-D"):
        next(pix2pix.objective({"dims": 2, **CRITIC}).losses(pix2pix.build(TINY), *batch()))


def test_a_bundle_brings_the_network_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = pix2pix.build(FLAT).eval()
    space = ModelSpace(size=(32, 32, 32), spacing_mm=6.0, source="suvr-half", target="mask-p1-p99")
    metadata = tiny_metadata(
        family="pix2pix",
        network=FLAT,
        model_space=space.to_dict(),
        source={"modality": "PET"},
        target={"modality": "MR"},
    )
    save_bundle(tmp_path / "gan", network, metadata, "# gan\n")
    bundle = read_bundle(tmp_path / "gan")
    source, *_ = batch(1)
    again = get_family(bundle.family)
    mean, _ = again.predict(bundle.network(), source, samples=1, steps=0, seed=0, progress=no_progress)
    assert torch.equal(mean, predict(network, source))
