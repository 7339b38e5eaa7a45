"""Bundles from strangers: as a folder and as an archive, metadata, weights and archive damaged."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from damage import Rng, cut, damaged, damaged_json, flip, pick

MODELS = ("unet", "ensemble", "pix2pix", "diffusion")


def write(folder: Path) -> None:
    """A model of each family and an ensemble, with random weights."""
    import torch

    from bundles import tiny_metadata
    from MRI2PETLib.models import get_family, unet
    from MRI2PETLib.models.bundle import save_bundle

    small = {"pix2pix": {"channels": 8, "levels": 2}, "diffusion": {"channels": [8, 16], "steps": 3}}
    torch.manual_seed(0)
    for name in MODELS:
        metadata = tiny_metadata(id=name)
        if name == "ensemble":
            networks = {member: unet.build(metadata["network"]) for member in ("a", "b")}
            save_bundle(folder / name, networks, metadata, "# two\n")
            continue
        metadata |= {"family": name, "network": small.get(name, metadata["network"])}
        metadata["baselines"] = {"cubic_of_t1": {"coefficients": [0.1, 0.2, 0.3, 0.4], "fwhm_mm": 6.0}}
        metadata["uncertainty"] = {
            "what": "SD",
            "parcellation": "paper21",
            "unit": "SUVR",
            "sd": {"elsewhere": 0.1},
        }
        save_bundle(folder / name, get_family(name).build(metadata["network"]), metadata, f"# {name}\n")


def spoil(rng: Rng, sound: Path, work: Path) -> Path:
    """A folder or an archive; damaged weights keep a fitting checksum half of the time."""
    name = pick(rng, MODELS)
    files = {p.relative_to(sound / name).as_posix(): p.read_bytes() for p in (sound / name).rglob("*.*")}
    which = pick(rng, [*sorted(files), *["configs/metadata.json"] * 6])
    if which.endswith(".safetensors"):
        before, files[which] = files[which], _weights(rng, files[which])
        if rng.random() < 0.5:
            old, new = (hashlib.sha256(content).hexdigest() for content in (before, files[which]))
            files["configs/metadata.json"] = files["configs/metadata.json"].replace(
                old.encode(), new.encode()
            )
    else:
        files[which] = damaged(rng, files[which], which)
    if rng.random() < 0.75:
        for file, content in files.items():
            path = work / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return work / name
    archive = work / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for file, content in files.items():
            opened.writestr(f"{name}/{file}", content)
    if rng.random() < 0.7:
        archive.write_bytes(_archive(rng, archive.read_bytes()))
    return archive


def _weights(rng: Rng, content: bytes) -> bytes:
    """The header of safetensors is JSON behind its length."""
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3:
        return pick(rng, (cut, flip))(rng, content)
    header = damaged_json(rng, content[8 : 8 + size])
    length = len(header) if rng.random() < 0.9 else int(rng.integers(0, 2**62))
    return length.to_bytes(8, "little") + header + content[8 + size :]


def _archive(rng: Rng, content: bytes) -> bytes:
    """Bits anywhere, in the directory at the end most of all."""
    changed = bytearray(content if rng.random() < 0.8 else cut(rng, content))
    start = max(0, len(changed) - 600) if rng.random() < 0.6 else 0
    for position in rng.integers(start, max(start + 1, len(changed)), int(rng.integers(1, 6))):
        if position < len(changed):
            changed[position] = int(rng.integers(256))
    return bytes(changed)


def use(path: Path) -> None:
    """Import it, look at it, and export it."""
    from MRI2PETLib.cli import main
    from MRI2PETLib.core.names import is_label, is_safe_name
    from MRI2PETLib.evaluation.baselines import cubic_of_bundle
    from MRI2PETLib.evaluation.direction import Direction
    from MRI2PETLib.models import store

    outside = path.parent / "outside"
    outside.write_text("as before")
    bundle = store.import_bundle(path, replace=True)
    assert is_safe_name(bundle.id) and (not bundle.tracer or is_label(bundle.tracer))
    assert bundle.folder.parent == store.user_folder() and outside.read_text() == "as before"
    assert json.dumps(bundle.metadata, allow_nan=False)
    cubic_of_bundle(bundle)
    assert bundle.error_sd is None or bundle.error_sd.sd
    Direction.of_bundle(bundle)
    bundle.space.to_dict()
    try:
        for command in (
            ["info", bundle.id],
            ["list"],
            ["export", bundle.id, "-o", str(path.parent / "out.zip")],
        ):
            assert main(["models", *command]) == 0, command
    finally:
        store.remove_bundle(bundle.id)
