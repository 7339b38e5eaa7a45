"""Bundles from strangers: names that leave their folder, links, bombs, empty weights, and sudden ends."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from bundles import tiny_bundle
from MRI2PETLib.core import files
from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.models import store
from MRI2PETLib.models.bundle import CARD, METADATA, WEIGHTS, read_bundle
from test_bundle import edit


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("MRI2PET_MODELS", str(folder))
    return folder


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    "tracer", ["/../../x", "..", "a b", "<script>", None, ["PBR28"], "PBR28\n", "x" * 33, 7, {"a": 1}]
)
def test_what_becomes_a_name_is_letters_and_digits(tmp_path: Path, side: str, tracer: object) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    edit(bundle.folder, **{side: {**bundle.metadata[side], "tracer": tracer}})
    with pytest.raises(BundleError, match="tracer"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(
    "model_id",
    ["-rf", "--help", ".hidden", "a/b", "a\\b", "x" * 65, "é", "a\n", "", "CON", "nul.txt", "com1", "a."],
)
def test_an_id_is_neither_an_option_nor_a_path(tmp_path: Path, model_id: str) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    edit(bundle.folder, id=model_id)
    with pytest.raises(BundleError, match="id"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("name", [METADATA, WEIGHTS, CARD, "LICENSE"])
def test_a_link_is_not_followed(tmp_path: Path, models: Path, name: str) -> None:
    """Otherwise a private file would be imported, and exported to others."""
    folder = tiny_bundle(tmp_path / "tiny").folder
    private = tmp_path / "private"
    private.write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"secret")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(private)
    for use in (store.import_bundle, read_bundle):
        with pytest.raises(BundleError, match="link"):
            use(folder)
    assert not any(models.glob("*")) if models.exists() else True


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    os.rename(folder / "docs", tmp_path / "docs")
    (folder / "docs").symlink_to(tmp_path / "docs")
    with pytest.raises(BundleError, match="link"):
        read_bundle(folder)


def packed(tmp_path: Path, **others: bytes) -> Path:
    folder = tiny_bundle(tmp_path / "tiny").folder
    archive = tmp_path / "tiny.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in (METADATA, WEIGHTS, CARD):
            opened.writestr(f"tiny/{name}", others.get(name, (folder / name).read_bytes()))
    return archive


def test_a_bomb_is_not_unpacked(tmp_path: Path, models: Path) -> None:
    archive = packed(tmp_path, **{CARD: bytes(60_000_000)})
    assert archive.stat().st_size < 3_000_000
    with pytest.raises(BundleError, match="unpack to 60 MB"):
        store.import_bundle(archive)
    assert list(models.iterdir()) == []


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    link = zipfile.ZipInfo("tiny/LICENSE")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/hostname")
    with pytest.raises(BundleError, match="link"):
        store.import_bundle(archive)


def test_a_damaged_or_encrypted_archive_is_named(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    content = bytearray(archive.read_bytes())
    where = content.find(b"models/model.safetensors") + 5000
    content[where] ^= 1  # one bit of the packed weights: the checksum of the archive notices
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="cannot be unpacked"):
        store.import_bundle(archive)
    archive = packed(tmp_path)
    content = bytearray(archive.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(start, at + 1)) >= 0:
            content[at + flags] |= 1  # "encrypted"
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="encrypted"):
        store.import_bundle(archive)


@pytest.mark.parametrize("way", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_packed_in_another_way_is_refused(tmp_path: Path, way: int) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w", way) as opened:
        opened.write(folder / METADATA, METADATA)
    with pytest.raises(BundleError, match="Pack it again"):
        store.import_bundle(tmp_path / "tiny.zip")


@pytest.mark.parametrize("place", [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"])
def test_a_directory_that_leads_nowhere_is_named(tmp_path: Path, place: bytes) -> None:
    archive = packed(tmp_path)
    content = bytearray(archive.read_bytes())
    at = content.find(b"PK\x01\x02") + 42  # where the first member begins
    content[at : at + 4] = place
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="cannot be unpacked"):
        store.import_bundle(archive)


def rewrite_weights(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    content = safetensors.torch.save({name: change(tensor) for name, tensor in state.items()})
    (folder / WEIGHTS).write_bytes(content)

    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (torch.zeros_like, "all zero"),
        (lambda t: t.round().to(torch.int32), "fit its network"),
        (lambda t: torch.full_like(t, float("nan")), "not all finite"),
        (lambda t: torch.full_like(t, float("inf")), "not all finite"),
        (lambda t: t[None].contiguous(), "fit its network"),
    ],
)
def test_weights_of_nothing_are_refused(tmp_path: Path, change: object, reason: str) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    rewrite_weights(folder, change)
    with pytest.raises(BundleError, match=reason):
        read_bundle(folder).networks()


@pytest.mark.parametrize(
    "size", [[512, 512, 512], [512, 256, 256], [96, 96], 96, None, ["a", 1, 2], [96.0] * 3]
)
def test_a_grid_that_no_machine_can_compute_is_refused(tmp_path: Path, size: object) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    edit(bundle.folder, model_space={**bundle.metadata["model_space"], "size": size})
    with pytest.raises(BundleError):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("width", [-1, 1e9, "6", True, [6], None])
def test_a_cubic_is_smoothed_by_a_width(tmp_path: Path, width: object) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    edit(folder, baselines={"cubic_of_t1": {"coefficients": [0, 1, 2, 3], "fwhm_mm": width}})
    with pytest.raises(BundleError, match="the cubic is smoothed by"):
        read_bundle(folder)


def test_ids_that_differ_in_case_only_are_one(tmp_path: Path) -> None:
    """On Windows and macOS the second would replace the first."""
    store.import_bundle(tiny_bundle(tmp_path / "tiny").folder)
    with pytest.raises(BundleError, match="A model 'tiny' is already there"):
        store.import_bundle(tiny_bundle(tmp_path / "other", id="Tiny").folder, replace=True)
    with pytest.raises(BundleError, match="belongs to a model of the extension"):
        store.import_bundle(tiny_bundle(tmp_path / "shipped", id="TSPO-demo").folder)


@pytest.mark.parametrize("value", [[0.1] * 10, [1, 2, 3], [0, 1, "2", 3], [True, 1, 1, 1], "abc", 4])
def test_a_cubic_has_four_coefficients(tmp_path: Path, value: object) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    edit(folder, baselines={"cubic_of_t1": {"coefficients": value}})
    with pytest.raises(BundleError, match="4 finite coefficients"):
        read_bundle(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', '{"a": Infinity}', "\xff", "", "nul"])
def test_metadata_that_no_reader_can_read_is_named(tmp_path: Path, text: str) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    (folder / METADATA).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match="not valid JSON"):
        read_bundle(folder)


def test_an_imported_model_has_the_rights_of_any_folder(tmp_path: Path, models: Path) -> None:
    bundle = store.import_bundle(tiny_bundle(tmp_path / "tiny").folder)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert stat.S_IMODE(bundle.folder.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_model_survives_the_end_of_its_replacement(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed between the two renames: the next look puts the old model back."""
    source = tiny_bundle(tmp_path / "tiny").folder
    bundle = store.import_bundle(source)
    code = (
        "import os, sys\n"
        "from MRI2PETLib.core import files\n"
        "real, calls = os.replace, []\n"
        "def dying(a, b):\n"
        "    calls.append(b)\n"
        "    if str(b).endswith(sys.argv[2]): os._exit(9)\n"
        "    real(a, b)\n"
        "os.replace = dying\n"
        "from MRI2PETLib.models import store\n"
        "store.import_bundle(sys.argv[1], replace=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source), f"{os.sep}{bundle.id}"])
    assert done.returncode == 9 and not (models / bundle.id).exists()
    assert store.find_bundle(bundle.id).sha256 == bundle.sha256


def test_a_failed_replacement_keeps_the_old_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        files.replace_folder(tmp_path / "missing", tmp_path / "old")
    assert [p.name for p in tmp_path.iterdir() if p.name != "models"] == ["old"]


def test_a_temporary_name_cannot_be_guessed(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with files.atomic_path(tmp_path / "table.csv") as temporary:
            temporary.write_text("x")
            names.add(temporary.name)
    assert len(names) == 3 and all(name.endswith(".csv") for name in names)


def test_no_home_folder_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from MRI2PETLib.core.errors import OutputError

    monkeypatch.delenv("MRI2PET_MODELS")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(OutputError, match="home folder") as refusal:
        store.user_folder()
    assert store.find_bundle("tspo-demo").id in [bundle.id for bundle in store.list_bundles()[0]]
    monkeypatch.setattr(Path, "home", lambda: Path(""))  # HOME is empty
    with pytest.raises(OutputError, match="home folder"):
        store.import_bundle(tiny_bundle(tmp_path / "tiny").folder)
    assert "MRI2PET_MODELS" in refusal.value.hint
    assert json.dumps(refusal.value.message)


class _Touches:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


def test_a_configuration_for_monai_is_never_read(tmp_path: Path, models: Path) -> None:
    """Exported for MONAI, with configurations, pickles and modules that run code: nothing of it runs."""
    mark = tmp_path / "mark"
    code = f"$__import__('pathlib').Path({str(mark)!r}).write_text('ran')"
    tiny_bundle(tmp_path / "tiny")
    archive = store.export_bundle(tmp_path / "tiny", tmp_path, "monai")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "out")
    folder = tmp_path / "out" / "tiny"
    config = {
        "imports": [code, "$import os"],
        "network_def": {"_target_": "os.system", "command": f"touch {mark}"},
    }
    for name in ("configs/inference.json", "configs/train.yaml", "configs/logging.conf"):
        (folder / name).write_text(json.dumps({**config, "initialize": [code], "run": [code]}))
    pickled = pickle.dumps(_Touches(str(mark)))
    for name in ("models/model.pt", "models/model.ts", "models/model.onnx", "configs/metadata.pkl"):
        (folder / name).write_bytes(pickled)
    (folder / "configs" / "inference.py").write_text(f"open({str(mark)!r}, 'w').write('ran')")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").write_text(f"open({str(mark)!r}, 'w').write('ran')")
    assert len(read_bundle(folder).networks()) == 1
    bundle = store.import_bundle(folder)
    store.find_bundle(bundle.id).networks()
    store.export_bundle(bundle.id, tmp_path / "again.zip")
    names = {p.relative_to(bundle.folder).as_posix() for p in bundle.folder.rglob("*") if p.is_file()}
    assert names == {METADATA, WEIGHTS, CARD}
    assert not mark.exists()
