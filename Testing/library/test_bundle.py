"""A bundle round-trips, and a hostile one is refused with a reason and runs nothing."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from bundles import tiny_bundle, tiny_metadata
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import BundleError, InputError
from MRI2PETLib.models import store, unet
from MRI2PETLib.models.bundle import CARD, METADATA, WEIGHTS, read_bundle, save_bundle
from test_outputs import left_by_dead_process


@pytest.fixture
def user_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mes modèles"
    monkeypatch.setenv("MRI2PET_MODELS", str(folder))
    return folder


def edit(folder: Path, **changes: object) -> None:
    path = folder / METADATA
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class Bomb:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_round_trip(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    torch.manual_seed(0)
    expected = unet.build(bundle.metadata["network"]).state_dict()
    for name, tensor in read_bundle(tmp_path / "tiny").network().state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert bundle.is_demonstration and bundle.tracer == "PBR28" and bundle.card() == "# tiny\n"


def test_saving_replaces_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    tiny_bundle(tmp_path / "tiny", version="2")
    assert read_bundle(tmp_path / "tiny").metadata["version"] == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_a_failed_save_keeps_the_old_bundle(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    with pytest.raises(BundleError):
        save_bundle(tmp_path / "tiny", unet.build({}), tiny_metadata(), "")
    assert read_bundle(tmp_path / "tiny").network() is not None
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"description": "$__import__('os').system('touch owned')"}, "expression"),
        ({"network": {"n_channels": 8, "_target_": "os.system"}}, "_target_"),
        ({"source": {"nested": [{"$import os": 1}]}}, "expression"),
        ({"family": "os"}, "Unknown model family"),
        ({"network": {"n_channels": 7}}, "n_channels"),
        ({"format": "other"}, "format"),
        ({"id": "../evil"}, "not a valid model id"),
        ({"model_space": {"size": [48, 48, 48]}}, "model_space"),
        ({"target": "PET"}, "target"),
        ({"weights_sha256": "0" * 64}, "checksum"),
    ],
)
def test_hostile_metadata_is_refused(tmp_path: Path, changes: dict, reason: str) -> None:
    tiny_bundle(tmp_path / "tiny")
    edit(tmp_path / "tiny", **changes)
    with pytest.raises(BundleError, match=reason):
        read_bundle(tmp_path / "tiny").network()


def test_altered_missing_and_pickled_weights_are_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    weights = bundle.folder / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match="checksum"):
        bundle.network()
    weights.unlink()
    trap = tmp_path / "owned"
    (weights.parent / "model.pt").write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(BundleError, match="not read"):
        bundle.network()
    weights.write_bytes(pickle.dumps(Bomb(trap)))
    edit(bundle.folder, weights_sha256=__import__("hashlib").sha256(weights.read_bytes()).hexdigest())
    with pytest.raises(BundleError, match="safetensors"):
        read_bundle(bundle.folder).network()
    assert not trap.exists()


def test_a_bundle_without_a_card_has_an_empty_one(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    assert bundle.card() == "# tiny\n"
    (bundle.folder / CARD).unlink()
    assert bundle.card() == ""


def test_weights_of_no_size_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    size = (bundle.folder / WEIGHTS).stat().st_size
    monkeypatch.setattr("MRI2PETLib.models.bundle._LARGEST_WEIGHTS", size)
    bundle.networks()
    monkeypatch.setattr("MRI2PETLib.models.bundle._LARGEST_WEIGHTS", size - 1)
    with pytest.raises(BundleError, match="too large to load"):
        bundle.networks()


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    import hashlib

    import safetensors.torch

    bundle = tiny_bundle(tmp_path / "tiny")
    state = {name: tensor.contiguous() for name, tensor in bundle.network().state_dict().items()}
    del state["image_proj.bias"]
    content = safetensors.torch.save(state)
    (bundle.folder / WEIGHTS).write_bytes(content)
    edit(bundle.folder, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(BundleError, match="image_proj.bias"):
        read_bundle(bundle.folder).network()


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000, "\x00"])
def test_metadata_that_is_not_a_json_object_is_refused(tmp_path: Path, text: str) -> None:
    tiny_bundle(tmp_path / "tiny")
    (tmp_path / "tiny" / METADATA).write_text(text)
    with pytest.raises(BundleError):
        read_bundle(tmp_path / "tiny")


def test_import_export_remove(tmp_path: Path, user_models: Path) -> None:
    tiny_bundle(tmp_path / "source" / "tiny")
    imported = store.import_bundle(tmp_path / "source" / "tiny")
    assert imported.folder == user_models / "tiny"
    assert store.find_bundle("tiny").sha256 == imported.sha256
    archive = store.export_bundle("tiny", tmp_path)
    assert store.export_bundle("tiny", tmp_path) == archive  # of ours
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tiny.zip").write_text("my notes")
    with pytest.raises(InputError, match="was not made by this program"):
        store.export_bundle("tiny", tmp_path / "mine")
    with pytest.raises(BundleError, match="already there"):
        store.import_bundle(archive)
    assert store.import_bundle(archive, replace=True).sha256 == imported.sha256
    (user_models / "tiny" / METADATA).unlink()
    with pytest.raises(BundleError, match="is not a model: it is not replaced"):
        store.import_bundle(archive, replace=True)
    shutil.rmtree(user_models / "tiny")
    store.import_bundle(archive)
    store.remove_bundle("tiny")
    with pytest.raises(BundleError, match="There is no model 'tiny'"):
        store.find_bundle("tiny")
    assert list(user_models.iterdir()) == []


def test_every_action_on_models_ends_with_its_result(
    tmp_path: Path, user_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(tiny_bundle(tmp_path / "tiny").folder)
    archive = str(tmp_path / "tiny.zip")
    for words, key, value in (
        (("import", source), "folder", str(user_models / "tiny")),
        (("export", "tiny", "-o", archive), "archive", archive),
        (("remove", "tiny"), "model", "tiny"),
    ):
        assert main(["models", *words, "--progress", "json"]) == 0
        event = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert event["event"] == "result" and event[key] == value, words


def test_a_removal_that_is_killed_leaves_no_half_model(
    tmp_path: Path, user_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(tmp_path / "tiny")
    store.import_bundle(tmp_path / "tiny")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before the first file goes
    store.remove_bundle("tiny")
    bundles, problems = store.list_bundles()
    assert not problems and "tiny" not in {bundle.id for bundle in bundles}


def test_what_a_killed_export_or_removal_left_goes(tmp_path: Path, user_models: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    store.import_bundle(tmp_path / "tiny")
    for folder in (tmp_path / "archives", user_models):
        folder.mkdir(exist_ok=True)
        (folder / left_by_dead_process()).write_text("half")
    store.export_bundle("tiny", tmp_path / "archives")
    store.remove_bundle("tiny")
    assert [p.name for p in (tmp_path / "archives").iterdir()] == ["tiny.zip"]
    assert list(user_models.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../evil/models/model.safetensors", "/etc/evil", "C:/evil", "a\\..\\..\\b"]
)
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path, user_models: Path, name: str) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in (METADATA, WEIGHTS):
            opened.write(bundle.folder / path, f"tiny/{path}")
        opened.writestr(name, "x")
    with pytest.raises(BundleError, match="unsafe path"):
        store.import_bundle(archive)
    assert list(user_models.iterdir()) == []


def test_import_takes_only_the_files_of_a_bundle(tmp_path: Path, user_models: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    (bundle.folder / "configs" / "inference.json").write_text('{"x": "$__import__(\'os\')"}')
    (bundle.folder / "models" / "model.pt").write_bytes(b"pickle")
    folder = store.import_bundle(bundle.folder).folder
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert names == ["configs/metadata.json", "docs/README.md", "models/model.safetensors"]


def test_shipped_models_load_and_are_small() -> None:
    bundles, problems = store.list_bundles()
    shipped = [b for b in bundles if b.folder.parent == store.bundled_folder()]
    assert problems == []
    assert [b.id for b in shipped] == ["pet-to-mr-amyloid-demo", "tspo-demo"]
    for bundle in shipped:
        bundle.networks()
        assert sum(p.stat().st_size for p in bundle.folder.rglob("*") if p.is_file()) < 6_000_000
        assert bundle.is_demonstration and "DEMONSTRATION" in bundle.card()[:200]
        assert bundle.demonstration_warning.startswith(f"{bundle.id} is a DEMONSTRATION model: ")


def test_shipped_model_beats_its_baselines_on_held_out_people() -> None:
    """As measured when it was built (real anatomies, simulated PET)."""
    table = store.find_bundle("tspo-demo").metadata["baselines"]["table"]
    network, oracle = table.pop("network"), table.pop("anatomy oracle")
    assert {"constant", "population mean, unregistered", "cubic of T1 at the PET's resolution"} <= set(table)
    for row in table.values():
        assert oracle["scale_free_mse"] <= network["scale_free_mse"] < row["scale_free_mse"]
        assert network["r"] > row["r"]


def test_pet_to_mr_model_beats_the_pet_template() -> None:
    """As measured on people that were simulated for it."""
    measured = store.find_bundle("pet-to-mr-amyloid-demo").metadata["baselines"]
    error = {row["method"]: row["mae"] for row in measured["agreement"] if row["role"] == "composite"}
    assert error["synthetic MR"] < error["PET template"]
    truth = measured["mae_to_truth"]
    assert truth["real MR"] < truth["synthetic MR"] < truth["PET template"]
