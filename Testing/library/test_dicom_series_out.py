"""The synthetic PET as a DICOM series: standard, readable by others, in place, called synthetic."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

import dicom_series as dcm
from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.dicom_series_out import SYNTHETIC_PET, SeriesLabels, write_series
from MRI2PETLib.images.dicom_study import is_synthetic_file, origin_of_series, origin_of_study
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import read_image, same_grid, write_image
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.synthesis.input_checks import full_checks
from MRI2PETLib.synthesis.settings import CaseInputs

LABELS = SeriesLabels(
    "SUVR",
    "ratio to the mean in the brain mask",
    "PBR28",
    "Synthetic: no measurement.",
    "tiny",
    "1.2",
    "ab" * 32,
)
STUDY = {
    "StudyInstanceUID": generate_uid(entropy_srcs=["study"]),
    "FrameOfReferenceUID": generate_uid(entropy_srcs=["frame"]),
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Ännchen",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "StudyDate": "20200301",
    "StudyTime": "101500",
    "SeriesDate": "20200301",
    "SeriesTime": "102000",
    "StudyID": "7",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Nobody^N",
}
TURN = np.array(sitk.VersorTransform([0.3, 0.2, 0.9], 0.4).GetMatrix()).reshape(3, 3)
GRIDS = {
    "LPS, 1 x 1 x 3 mm": (np.eye(3), (1.0, 1.0, 3.0)),
    "LAS, left-handed": (np.diag([1.0, -1.0, 1.0]), (2.0, 2.0, 2.0)),
    "oblique": (TURN @ np.diag([-1.0, 1.0, 1.0]), (0.9, 1.1, 1.7)),
}


def pet(grid: str = "oblique", *, seed: int = 0) -> sitk.Image:
    direction, spacing = GRIDS[grid]
    size = (72, 70, 12)
    values = np.random.default_rng(seed).gamma(2.0, 0.7, size[::-1]).astype(np.float32)
    return Grid(size, spacing, (-31.25, 17.1, 4.7), tuple(direction.ravel().tolist())).image(values)


def t1_series(folder: Path, **tags: Any) -> list[Path]:
    dcm.write_series(folder, dcm.volume()[:5], **{**dcm.MPRAGE, **STUDY, **tags})
    return sorted(folder.iterdir())


def written(folder: Path, image: sitk.Image, files: list[Path]) -> list[pydicom.Dataset]:
    folder.mkdir()
    return [pydicom.dcmread(file) for file in write_series(image, folder, origin_of_series(files), LABELS)]


@pytest.mark.parametrize("grid", GRIDS)
def test_others_read_the_same_volume_at_the_same_place(tmp_path: Path, grid: str) -> None:
    """Ours, GDCM's, and by hand from the tags with pydicom: each voxel to 1e-4 of the largest."""
    image = pet(grid)
    slices = written(tmp_path / "pet", image, t1_series(tmp_path / "t1"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "pet")))
    largest = sitk.GetArrayFromImage(image).max()
    for other in (read_image(tmp_path / "pet", kind="pet").image, reader.Execute()):
        straight = other if same_grid(other, image, 1e-6) else sitk.Flip(other, [False, False, True])
        assert same_grid(straight, image, 1e-6)
        off = sitk.GetArrayFromImage(straight) - sitk.GetArrayFromImage(image)
        assert np.abs(off).max() < 1e-4 * largest
    for data in slices:
        across = np.reshape(data.ImageOrientationPatient, (2, 3)) * np.array(
            [[data.PixelSpacing[1]], [data.PixelSpacing[0]]]
        )
        place = np.array(data.ImagePositionPatient) + 4 * across[0] + 3 * across[1]
        value = data.pixel_array[3, 4] * float(data.RescaleSlope) + float(data.RescaleIntercept)
        index = image.TransformPhysicalPointToIndex(place.tolist())
        assert index[:2] == (4, 3) and value == pytest.approx(image[index], abs=1e-4 * float(largest))
    assert float(slices[0].RescaleIntercept) == 0 and len({str(one.RescaleSlope) for one in slices}) == 1
    heights = [float(one.SliceLocation) for one in slices]
    assert heights == sorted(heights) and [one.InstanceNumber for one in slices] == list(range(1, 13))


def test_the_standard_is_kept(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (Debian: dicom3tools)")
    written(tmp_path / "pet", pet(), t1_series(tmp_path / "t1"))
    (tmp_path / "own").mkdir()
    study = origin_of_study(tmp_path / "t1")
    own = write_series(pet(), tmp_path / "own", study, LABELS)
    for file in (tmp_path / "pet" / "IM0001.dcm", own[-1]):
        verdict = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True)
        lines = (verdict.stdout + verdict.stderr).splitlines()
        assert "PETImage" in lines and [line for line in lines if "Error" in line] == []


def test_patient_and_study_are_those_of_the_t1_and_every_label_says_synthetic(tmp_path: Path) -> None:
    files = t1_series(tmp_path / "t1")
    data = written(tmp_path / "pet", pet(), files)[0]
    for name in (*STUDY, "PatientID"):
        assert data[name].value == pydicom.dcmread(files[0])[name].value, name
    source = {str(pydicom.dcmread(file).SOPInstanceUID) for file in files}
    assert {str(one.ReferencedSOPInstanceUID) for one in data.SourceImageSequence} == source
    assert data.SeriesDescription == f"{SYNTHETIC_PET}, SUVR" and data.ProtocolName == SYNTHETIC_PET
    for text in (data.ImageComments, data.DerivationDescription):
        assert text.startswith(SYNTHETIC_PET)
    assert "tiny 1.2" in data.DerivationDescription and "ab" * 32 in data.DerivationDescription
    assert list(data.ImageType) == ["DERIVED", "PRIMARY", "SYNTHETIC"] and data.Modality == "PT"
    assert data.ManufacturerModelName == "tiny" and data.Units == "NONE"
    assert not data.AcquisitionDate and not data.RadiopharmaceuticalInformationSequence
    mapping = data.RealWorldValueMappingSequence[0]
    assert mapping.LUTLabel == "SUVR" and mapping.RealWorldValueSlope == float(data.RescaleSlope)


def test_a_synthetic_series_is_not_taken_for_a_measured_pet(tmp_path: Path) -> None:
    """By ``check`` and ``evaluate``; the T1 of the same study is measured."""
    files = t1_series(tmp_path / "t1")
    written(tmp_path / "pet", pet(), files)
    assert not is_synthetic_file(files[0])
    assert is_synthetic_file(next((tmp_path / "pet").glob("*")))
    image = write_image(pet(), tmp_path / "synthetic.nii.gz", {"Units": "SUVR", "Synthetic": True})
    for real in (tmp_path / "pet", image):
        with pytest.raises(InputError, match="is a synthetic PET"):
            load_case(CasePaths(image, real), EvaluationSettings(pet_unit="SUVR"))
    t1 = write_image(simulate_subject(3, spacing_mm=6.0).t1, tmp_path / "T1.nii.gz")
    checks = {check.name: check for check in full_checks(t1, CaseInputs(pet=tmp_path / "pet"))}
    assert checks["origin"].level == "refuse" and "The PET was made by a model" in checks["origin"].message


def test_uids_follow_from_what_is_written(tmp_path: Path) -> None:
    files = t1_series(tmp_path / "t1")
    names = ("a", "b", "c")
    series = [written(tmp_path / n, pet(seed=s), files) for n, s in zip(names, (0, 0, 1))]
    uids = [[str(one.SOPInstanceUID) for one in slices] for slices in series]
    assert uids[0] == uids[1] and len({*uids[0], *uids[2]}) == 24
    assert series[0][0].SeriesInstanceUID == series[1][0].SeriesInstanceUID != series[2][0].SeriesInstanceUID
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in uids[0])
    assert (tmp_path / "a" / "IM0001.dcm").read_bytes() == (tmp_path / "b" / "IM0001.dcm").read_bytes()


def test_nothing_but_zeros_has_a_slope(tmp_path: Path) -> None:
    data = written(tmp_path / "pet", pet() * 0, t1_series(tmp_path / "t1"))[0]
    assert data.RescaleSlope == 1 and not data.pixel_array.any()


def test_a_study_by_name_has_one_patient_and_another_place(tmp_path: Path) -> None:
    files = t1_series(tmp_path / "t1")
    origin = origin_of_study(tmp_path / "t1")
    (tmp_path / "pet").mkdir()
    data = pydicom.dcmread(write_series(pet(), tmp_path / "pet", origin, LABELS)[0])
    assert data.StudyInstanceUID == STUDY["StudyInstanceUID"] and data.PatientName == "Müller^Ännchen"
    assert data.FrameOfReferenceUID != STUDY["FrameOfReferenceUID"] and "SourceImageSequence" not in data
    t1_series(tmp_path / "t1" / "other", PatientID="somebody")
    with pytest.raises(InputError, match="2 patients or studies"):
        origin_of_study(tmp_path / "t1")
    assert origin_of_study(files[0]).header.PatientID == "anonymous"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("DICOM")
    for path, reason in ((tmp_path / "notes", "no DICOM file"), (tmp_path / "notes" / "a.txt", "as DICOM")):
        with pytest.raises(InputError, match=reason):
            origin_of_study(path)


def test_the_command_writes_keeps_and_restores_the_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_bundle(tmp_path / "tiny").folder
    person = simulate_subject(3, spacing_mm=4.0)
    values = np.rint(sitk.GetArrayFromImage(person.t1) * 1000 / sitk.GetArrayFromImage(person.t1).max())
    direction = np.reshape(person.t1.GetDirection(), (3, 3))
    orientation = [*direction[:, 0].tolist(), *direction[:, 1].tolist()]
    spacing = person.t1.GetSpacing()
    t1 = tmp_path / "anna"
    dcm.write_series(
        t1,
        values,
        orientation=orientation,
        origin=person.t1.GetOrigin(),
        spacing=spacing,
        step=direction[:, 2] * spacing[2],
        **{**dcm.MPRAGE, **STUDY},
    )
    nifti = write_image(person.t1, tmp_path / "anna_T1w.nii.gz")
    mask = write_image(person.brain_mask, tmp_path / "mask.nii.gz")
    out = tmp_path / "out"

    def run(source: Path, *options: str) -> int:
        always = [f"--model={model}", f"--mask={mask}", "--device=cpu", "-o", str(out)]
        return main(["synthesize", str(source), *always, *options])

    assert run(nifti, "--dicom") != 0
    assert "no DICOM series" in (message := capsys.readouterr().err) and "--dicom-study" in message
    assert run(t1, f"--dicom-study={t1}") != 0 and "Leave out --dicom-study" in capsys.readouterr().err
    assert run(t1, "--dicom") == 0
    (folder,) = out.glob("*_dicom")
    back = read_image(folder, kind="pet").image
    (pet_file,) = out.glob("anna*desc-synthetic_pet.nii.gz")
    synthetic = read_image(pet_file, kind="pet").image
    assert same_grid(back, read_image(t1, kind="t1").image) and same_grid(back, synthetic)
    values = sitk.GetArrayFromImage(synthetic)
    assert np.abs(sitk.GetArrayFromImage(back) - values).max() < 1e-4 * values.max()
    first = pydicom.dcmread(folder / "IM0001.dcm")
    assert "DEMONSTRATION MODEL" in first.ImageComments
    assert first.FrameOfReferenceUID == STUDY["FrameOfReferenceUID"]
    (record,) = out.glob("anna*_status.json")
    names = json.loads(record.read_text())["outputs"]
    assert {f"{folder.name}/{path.name}" for path in folder.iterdir()} <= names.keys()
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "IM0002.dcm").unlink()
    assert run(t1, "--dicom") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    capsys.readouterr()
    assert run(t1, "--dicom") == 0 and "kept" in capsys.readouterr().out
    assert run(t1) == 0 and not folder.exists()


@pytest.mark.parametrize("grid", GRIDS)
def test_gdcm_reads_the_same_image(grid: str, tmp_path: Path) -> None:
    """GDCM is what ITK and Slicer read DICOM with; it turns no left-handed series into another world."""
    image = pet(grid)
    written(tmp_path / "out", image, t1_series(tmp_path / "t1"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    theirs = sitk.Cast(reader.Execute(), sitk.sitkFloat32)
    back = sitk.Resample(theirs, image, sitk.Transform(), sitk.sitkNearestNeighbor, -1.0)
    difference = sitk.GetArrayFromImage(back) - sitk.GetArrayFromImage(image)
    largest = float(sitk.GetArrayFromImage(image).max())
    assert np.abs(difference).max() <= 1e-4 * largest
