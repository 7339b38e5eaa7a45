"""JSON beside images: BIDS sidecars of PETs, ours of synthetic ones, records of results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from damage import Rng, damaged, pick

from pet_images import STATIC_PET

PET = {
    **STATIC_PET,
    "TracerName": "PBR28",
    "PatientWeight": 70,
    "PatientWeightUnits": "kg",
    "GeneratedBy": [{"Name": "other"}],
}
DYNAMIC = {**PET, "FrameTimesStart": [3600, 4200, 4800], "FrameDuration": [600, 600, 600]}
SYNTHETIC = {
    "Synthetic": True,
    "Modality": "PET",
    "TracerName": "PBR28",
    "Units": "SUVR",
    "Simulated": True,
    "IntendedUse": "demonstration",
    "Quality": {"level": "ok", "findings": [{"level": "ok", "code": "x", "message": "m", "hint": ""}]},
    "Source": {"path": "/x/T1.nii.gz", "sha256": "0" * 64},
    "Provenance": {
        "model": {"id": "m", "version": "1", "sha256": "0" * 64, "intended_use": "demonstration"},
        "preprocessing": {"template_to_t1_lps": np.eye(4).tolist()},
    },
}
FILES = ("static.json", "dynamic.json", "synthetic.json", "real.json", "case_status.json", "truth.json")


def write(folder: Path) -> None:
    """Images of 16 voxels along each axis with their sidecars, and the record of a result."""
    import SimpleITK as sitk

    k, j, i = np.meshgrid(*[np.linspace(-1, 1, 16)] * 3, indexing="ij")
    ball = np.where(i**2 + j**2 + k**2 < 0.7, 1 + 0.2 * i + 0.1 * j, 0.05).astype(np.float32)
    image = sitk.GetImageFromArray(ball)
    image.SetSpacing([10.0] * 3)
    image.SetOrigin([-75.0] * 3)
    mask = sitk.Cast(image > 0.5, sitk.sitkUInt8)
    for name, one in (("static", image * 5000), ("synthetic", image), ("real", image), ("mask", mask)):
        sitk.WriteImage(one, str(folder / f"{name}.nii"))
    sitk.WriteImage(sitk.JoinSeries([image * 5000] * 3), str(folder / "dynamic.nii"))
    contents = (PET, DYNAMIC, SYNTHETIC, {"Units": "SUVR"})
    for name, content in zip(FILES, contents):
        (folder / name).write_text(json.dumps(content))
    with _result(folder).make(_request(), {"files": {"pet": "out.txt"}}) as staging:
        (staging / "out.txt").write_text("result")
    (folder / "truth.json").write_text(json.dumps({"seed": 1, "lesion": {"region": "x"}, "spacing_mm": 2.0}))


def _result(folder: Path):  # type: ignore[no-untyped-def]
    from MRI2PETLib.core.requests import Result

    return Result(folder, "case_status.json", {"out.txt", "other.txt"})


def _request(checksum: str = "1"):  # type: ignore[no-untyped-def]
    from MRI2PETLib.core.requests import Request, Source

    return Request({"t1": Source("/x/T1.nii", checksum)}, {"pet": None}, {"model": "m"})


def spoil(rng: Rng, sound: Path, work: Path) -> Path:
    name = pick(rng, FILES)
    for file in sound.iterdir():
        if file.name.startswith((name.partition(".")[0], "real", "mask", "out", "static")):
            (work / file.name).write_bytes(file.read_bytes())
    (work / name).write_bytes(damaged(rng, (sound / name).read_bytes(), name))
    return work / name


def use(path: Path) -> None:
    {"case_status": _record, "synthetic": _compared, "real": _compared, "truth": _simulated}.get(
        path.stem, _pet
    )(path)


def _pet(path: Path) -> None:
    import SimpleITK as sitk

    from MRI2PETLib.core.files import write_json
    from MRI2PETLib.images.formats import is_output
    from MRI2PETLib.preprocessing.pet import read_pet

    is_output(path.with_suffix(".nii"))
    pet = read_pet(path.with_suffix(".nii"))
    assert np.isfinite(sitk.GetArrayViewFromImage(pet.image)).all()
    assert pet.unit in ("SUV", "Bq/mL") or pet.verdict.findings or path.stem == "real"
    write_json(path.with_name("again.json"), pet.metadata)


def _compared(path: Path) -> None:
    from MRI2PETLib.core.files import write_json
    from MRI2PETLib.evaluation.inputs import load_case
    from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
    from MRI2PETLib.images.formats import is_output
    from MRI2PETLib.models.store import bundle_of
    from MRI2PETLib.synthesis.case_files import is_simulated, is_synthetic

    synthetic = path.with_name("synthetic.nii")
    if not synthetic.exists():
        _pet(path)
        return
    for look in (is_output, is_simulated, is_synthetic):
        look(synthetic)
    paths = CasePaths(synthetic, path.with_name("real.nii"), None, path.with_name("mask.nii"))
    case = load_case(paths, EvaluationSettings(register="header"))
    bundle_of(case.model)
    write_json(path.with_name("again.json"), case.provenance)


def _record(path: Path) -> None:
    """A damaged record is never finished work, never leads outside, and is replaced by the next run."""
    result, request = _result(path.parent), _request()
    outside = path.parent.parent / "outside.txt"
    outside.write_text("as before")
    about = result.finished(request)
    assert about in (None, {"files": {"pet": "out.txt"}})
    result.check_owner(_request("2"))
    try:
        with result.make(request, {}) as staging:
            (staging / "out.txt").write_text("again")
        assert result.finished(request) == {} and result.finished(_request("2")) is None
        result.fail(_request("2"), {"message": "m"})
        assert not (path.parent / "out.txt").exists() and outside.read_text() == "as before"
    finally:
        outside.unlink()


def _simulated(path: Path) -> None:
    from MRI2PETLib.core.files import read_object

    read_object(path)
