"""T1 and PET lie together in Slicer, which reads NIfTI with ITK: also where sform and qform differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811
import vtk  # noqa: E402

from bootstrap import Application, bootstrap  # noqa: E402
from MRI2PETLib.images.io import read_image, write_image  # noqa: E402
from MRI2PETLib.scene.files import write_t1, write_volume  # noqa: E402
from MRI2PETLib.scene.images import add_volume  # noqa: E402
from nifti_headers import two_poses, write_nifti_header  # noqa: E402

SIZE = (40, 44, 38)
ARRAY = np.random.default_rng(1).uniform(0, 100, SIZE).astype(np.float32)
S, Q = two_poses()


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path)


def loaded(scene: Any, path: Path) -> Any:
    """A volume node as Slicer's own reader makes it."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def corners(node: Any) -> np.ndarray:
    """RAS of the corners, sorted: Slicer may turn the slices of a left-handed image round."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    indices = np.array(np.meshgrid(*[(0, n - 1) for n in SIZE])).reshape(3, -1)
    points = (slicer.util.arrayFromVTKMatrix(matrix) @ np.vstack((indices, np.ones(8))))[:3].T
    return np.array(sorted(np.round(points, 3).tolist()))


@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (1, 0), (0, 1), (2, 4), (0, 0)])
def test_a_t1_that_slicer_loaded_and_a_pet_of_the_command_line_lie_together(
    application: Application, tmp_path: Path, codes: tuple[int, int]
) -> None:
    path = write_nifti_header(tmp_path / "t1.nii.gz", ARRAY, sform=(S, codes[0]), qform=(Q, codes[1]))
    t1 = read_image(path, kind="t1")
    pet = write_image(t1.image * 2, tmp_path / "pet.nii.gz", forms=t1.forms)
    node, other = loaded(application.scene, path), loaded(application.scene, pet)
    np.testing.assert_array_equal(corners(node), corners(other))
    np.testing.assert_array_equal(2 * slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(other))


@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (0, 0)])
def test_nodes_come_back_from_their_files_where_they_were(
    application: Application, tmp_path: Path, codes: tuple[int, int]
) -> None:
    """A node is written, read by the child process, and what that writes becomes a node again."""
    path = write_nifti_header(tmp_path / "t1.nii.gz", ARRAY, sform=(S, codes[0]), qform=(Q, codes[1]))
    node = loaded(application.scene, path)
    write_t1(node, tmp_path / "T1.nrrd")
    t1 = read_image(tmp_path / "T1.nrrd", kind="t1")
    out = write_image(t1.image, tmp_path / "out.nii.gz", forms=t1.forms)
    result = add_volume(application.scene, read_image(out, kind="pet").image, "PET")
    np.testing.assert_allclose(corners(result), corners(node), atol=2e-3)
    write_volume(result, tmp_path / "again.nrrd")
    again = sitk.ReadImage(str(tmp_path / "again.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), slicer.util.arrayFromVolume(node))
