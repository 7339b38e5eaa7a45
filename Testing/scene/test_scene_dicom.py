"""A synthetic PET of the scene as a DICOM series: in the study of its T1, where the T1 lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import vtk  # noqa: E402

import dicom_series as dcm  # noqa: E402
from bootstrap import Application, bootstrap  # noqa: E402
from MRI2PETLib.core.errors import InputError, OutputError  # noqa: E402
from MRI2PETLib.images.io import read_image, same_grid  # noqa: E402
from MRI2PETLib.scene.dicom import INSTANCES, export_series, is_from_dicom  # noqa: E402
from MRI2PETLib.scene.images import add_volume  # noqa: E402
from MRI2PETLib.scene.results import ResultNodes, Synthetic, add_result  # noqa: E402

MODEL = {"id": "tiny", "version": "1.2", "sha256": "ab" * 32}


class Person:
    """A T1 series on disk and, in a scene, the T1 with a synthetic PET; ``find`` stands for the database."""

    def __init__(self, folder: Path) -> None:
        tags = {**dcm.MPRAGE, "PatientID": "P7", "StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
        dcm.write_series(folder, dcm.volume(), **tags)
        headers = {file: pydicom.dcmread(file) for file in sorted(folder.iterdir())}
        self.files = {str(header.SOPInstanceUID): str(file) for file, header in headers.items()}
        self.scene = slicer.vtkMRMLScene()
        t1 = read_image(folder, kind="t1").image
        values = np.random.default_rng(0).gamma(2, 0.5, t1.GetSize()[::-1]).astype(np.float32)
        self.pet = sitk.GetImageFromArray(values)
        self.pet.CopyInformation(t1)
        mask = sitk.Cast(self.pet > 0, sitk.sitkUInt8)
        self.t1 = add_volume(self.scene, t1, "T1")
        self.t1.SetAttribute(INSTANCES, " ".join(self.files))
        note = "Synthetic PET: not a measurement."
        result = Synthetic(self.pet, mask, "SUVR", note, "PBR28", provenance={"model": MODEL})
        self.nodes: ResultNodes = add_result(self.scene, result, self.t1)

    def find(self, uid: str) -> str:
        return self.files.get(uid, "")


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path / "slicer")


@pytest.fixture
def person(application: Application, tmp_path: Path) -> Person:
    return Person(tmp_path / "t1")


def test_the_series_lies_in_the_study_and_where_the_pet_lies(person: Person, tmp_path: Path) -> None:
    assert is_from_dicom(person.scene, person.nodes)
    folder = export_series(person.scene, person.nodes, tmp_path / "out", person.find)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [folder.name]
    again = read_image(folder, kind="pet").image
    difference = np.abs(sitk.GetArrayFromImage(again) - sitk.GetArrayFromImage(person.pet))
    assert same_grid(again, person.pet)
    assert difference.max() < 1.7e-5 * sitk.GetArrayFromImage(person.pet).max()
    header = pydicom.dcmread(next(folder.iterdir()))
    assert (header.PatientID, header.StudyInstanceUID, header.FrameOfReferenceUID) == ("P7", "1.2.3", "1.2.4")
    assert len(header.SourceImageSequence) == len(person.files) and "tiny 1.2" in header.DerivationDescription
    assert "SYNTHETIC PET" in header.SeriesDescription and "not a measurement" in header.ImageComments


def test_there_already_is_refused(person: Person, tmp_path: Path) -> None:
    export_series(person.scene, person.nodes, tmp_path / "out", person.find)
    with pytest.raises(OutputError, match="is there already"):
        export_series(person.scene, person.nodes, tmp_path / "out", person.find)


def test_a_t1_that_was_moved_is_refused(person: Person, tmp_path: Path) -> None:
    """Under a transform, or hardened, it does not lie in the frame of reference of its images."""
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 2.3)
    transform = person.scene.AddNode(slicer.vtkMRMLLinearTransformNode())
    transform.SetMatrixTransformToParent(matrix)
    person.t1.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="it was moved"):
        export_series(person.scene, person.nodes, tmp_path / "out", person.find)
    assert not (tmp_path / "out").exists()


def test_whose_it_is_must_be_known(person: Person, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in the database any more"):
        export_series(person.scene, person.nodes, tmp_path / "out", lambda uid: "")
    person.t1.RemoveAttribute(INSTANCES)
    assert not is_from_dicom(person.scene, person.nodes)
    with pytest.raises(InputError, match="of which patient"):
        export_series(person.scene, person.nodes, tmp_path / "out", person.find)
    folder = export_series(person.scene, person.nodes, tmp_path / "out", person.find, tmp_path / "t1")
    header = pydicom.dcmread(next(folder.iterdir()))
    assert header.PatientID == "P7" and header.FrameOfReferenceUID != "1.2.4"
    assert "SourceImageSequence" not in header
