"""An ensemble is one bundle with several networks: their mean and SD, checked file by file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bundles import tiny_metadata
from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.images.grid import RAS_AXES, Grid
from MRI2PETLib.models import store, unet
from MRI2PETLib.models.bundle import METADATA, Bundle, read_bundle, save_bundle
from MRI2PETLib.models.model_space import Encoded
from MRI2PETLib.synthesis.pipeline import predict_encoded


def ensemble(folder: Path, count: int = 3) -> Bundle:
    metadata = tiny_metadata(id="tiny-ensemble")
    networks = {}
    for number in range(count):
        torch.manual_seed(number)
        networks[f"fold_{number}"] = unet.build(metadata["network"])
    return save_bundle(folder, networks, metadata, "# tiny ensemble\n")


def encoded(bundle: Bundle) -> Encoded:
    size = bundle.space.size
    grid = Grid(size, bundle.space.spacings_mm, (0.0, 0.0, 0.0), RAS_AXES)
    source = np.random.default_rng(0).random(size[::-1]).astype(np.float32)
    return Encoded(bundle.space, grid, source, np.ones_like(source), ())


def test_mean_and_sd_of_the_members(tmp_path: Path) -> None:
    bundle = ensemble(tmp_path / "e")
    one = encoded(bundle)
    result = predict_encoded(bundle, bundle.networks(), one, device="cpu")
    with torch.inference_mode():
        each = [n(torch.from_numpy(one.source)[None, None])[0, 0].numpy() for n in bundle.networks()]
    np.testing.assert_allclose(result.mean, np.mean(each, axis=0), atol=1e-6)
    assert result.sd is not None
    np.testing.assert_allclose(result.sd, np.std(each, axis=0, ddof=1), atol=1e-6)


def test_an_ensemble_travels_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRI2PET_MODELS", str(tmp_path / "models"))
    bundle = ensemble(tmp_path / "e")
    imported = store.import_bundle(bundle.folder)
    assert imported.sha256 == bundle.sha256 and len(imported.networks()) == 3
    archive = store.export_bundle("tiny-ensemble", tmp_path / "out")
    store.remove_bundle("tiny-ensemble")
    assert len(store.import_bundle(archive).networks()) == 3
    with pytest.raises(BundleError, match="ensemble of 3 networks"):
        bundle.network()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda members: members[0].update(name="../evil"), "no valid 'members'"),
        (lambda members: members[0].update(name="fold_1"), "no valid 'members'"),
        (lambda members: members.clear(), "no valid 'members'"),
        (lambda members: members.pop(), "does not follow"),
        (lambda members: members[0].update(sha256="0" * 64), "does not follow"),
    ],
)
def test_altered_members_are_refused(tmp_path: Path, change, reason: str) -> None:  # noqa: ANN001
    folder = ensemble(tmp_path / "e").folder
    content = json.loads((folder / METADATA).read_text())
    change(content["members"])
    (folder / METADATA).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=reason):
        read_bundle(folder)


def test_altered_or_missing_weights_of_one_member(tmp_path: Path) -> None:
    bundle = ensemble(tmp_path / "e")
    path = bundle.folder / "models" / "fold_1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="fold_1.safetensors.* checksum"):
        bundle.networks()
    path.unlink()
    with pytest.raises(BundleError, match="has no models/fold_1.safetensors"):
        bundle.networks()
