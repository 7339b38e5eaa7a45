"""What is known of a volume stays with it when Slicer edits, saves and loads it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")
import slicer.util  # noqa: E402, F811
import vtk  # noqa: E402

from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.core.errors import InputError  # noqa: E402
from MRI2PETLib.core.files import read_object, write_json  # noqa: E402
from MRI2PETLib.images.io import write_image  # noqa: E402
from MRI2PETLib.scene.files import choose_unit, chosen_unit, unit_of, write_pet  # noqa: E402
from MRI2PETLib.scene.images import add_volume  # noqa: E402
from MRI2PETLib.scene.origin import (  # noqa: E402
    OriginWatch,
    is_simulated_node,
    is_synthetic_node,
    sidecar_for,
    sidecar_of,
)
from MRI2PETLib.scene.results import Synthetic, add_result  # noqa: E402

ABOUT = {"TracerName": "PBR28", "FrameTimesStart": [3600], "FrameDuration": [1800]}


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    application = bootstrap(tmp_path / "cache")
    watch = OriginWatch(application.scene)
    yield application.scene
    del watch


def image_on_disk(path: Path, about: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_image(sitk.GetImageFromArray(np.random.default_rng(0).random((8, 8, 8), np.float32)), path)
    write_json(path.with_name(path.name.replace(".nii.gz", ".json")), about)
    return path


def load(scene: Any, path: Path) -> Any:
    """As Slicer does: the storage node comes after the volume has entered the scene."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "pet")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    node.SetAndObserveStorageNodeID(storage.GetID())
    node.Modified()
    return node


def save(node: Any, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    return path


@pytest.mark.parametrize("origin", ["Synthetic", "Simulated"])
def test_a_volume_that_is_saved_elsewhere_keeps_its_origin(scene: Any, tmp_path: Path, origin: str) -> None:
    about = {**ABOUT, origin: True}
    node = load(scene, image_on_disk(tmp_path / "a" / "pet.nii.gz", {**about, "Units": "SUVR"}))
    assert unit_of(node) == "SUVR"
    path = save(node, tmp_path / "b" / "other.nrrd")
    again = load(scene, path)
    for volume in (node, again):
        assert (is_synthetic_node(volume), is_simulated_node(volume)) == (
            origin == "Synthetic",
            origin == "Simulated",
        )
        assert unit_of(volume) == "SUVR"
    assert read_object(tmp_path / "b" / "other.json") == {**about, "Units": "SUVR"}
    (tmp_path / "b" / "other.json").unlink()
    if origin == "Synthetic":
        with pytest.raises(InputError, match="synthetic"):
            write_pet(again, tmp_path / "PET.nrrd", "SUVR")
    else:
        write_pet(again, tmp_path / "PET.nrrd", None)
        assert read_object(tmp_path / "PET.json") == {"Modality": "PET", **about, "Units": "SUVR"}


def test_a_scene_keeps_the_origin_of_its_volumes_without_their_sidecars(scene: Any, tmp_path: Path) -> None:
    about = {**ABOUT, "Units": "SUV"}
    load(scene, image_on_disk(tmp_path / "a" / "pet.nii.gz", {**about, "Synthetic": True}))
    edited = load(scene, image_on_disk(tmp_path / "b" / "pet.nii.gz", about))
    edited.SetName("edited")
    slicer.util.arrayFromVolume(edited)[:] *= 2
    slicer.util.arrayFromVolumeModified(edited)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    node = scene.GetFirstNodeByName("pet")
    assert not Path(node.GetStorageNode().GetFileName()).exists()  # unpacked, read and deleted
    assert is_synthetic_node(node) and not is_simulated_node(node)
    edited = scene.GetFirstNodeByName("edited")
    assert sidecar_of(edited) == ABOUT
    assert (unit_of(node), unit_of(edited)) == ("SUV", None)  # that of edited values is not known


def test_edited_values_that_are_saved_over_their_file_have_no_unit(scene: Any, tmp_path: Path) -> None:
    path = image_on_disk(tmp_path / "a" / "pet.nii.gz", {**ABOUT, "Units": "SUVR"})
    node = load(scene, path)
    slicer.util.arrayFromVolume(node)[:] *= 2
    slicer.util.arrayFromVolumeModified(node)
    save(node, path)
    assert not node.GetModifiedSinceRead() and unit_of(node) is None
    assert read_object(tmp_path / "a" / "pet.json")["Units"] == "SUVR"  # the user's file is left alone


def test_a_unit_is_of_the_values_that_it_was_stated_for(scene: Any, tmp_path: Path) -> None:
    """Coded, by an attribute of ours, and chosen; also in a saved scene, and not asked again after a move."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((8, 8, 8), np.float32))
    mask = sitk.Cast(image >= 0, sitk.sitkUInt8)
    nodes = add_result(scene, Synthetic(image, mask, "SUVR", "Synthetic.", "PBR28", real=image * 2))
    names = [scene.GetNodeByID(nodes.real).GetName(), "other"]
    choose_unit(add_volume(scene, image, "other"), "SUV")

    def units() -> tuple[str | None, str | None, str | None]:
        real, other = map(scene.GetFirstNodeByName, names)
        return unit_of(real), sidecar_for(real).get("Units"), chosen_unit(other)

    units_before = ("SUVR", "SUVR", "SUV")
    assert units() == units_before
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 15.0)
    transform.SetMatrixTransformToParent(matrix)
    for name in names:
        scene.GetFirstNodeByName(name).SetAndObserveTransformNodeID(transform.GetID())
        scene.GetFirstNodeByName(name).HardenTransform()
    assert units() == units_before
    for factor, expected in ((2, (None, None, None)), (0.5, units_before)):
        for name in names:
            slicer.util.arrayFromVolume(scene.GetFirstNodeByName(name))[:] *= factor
            slicer.util.arrayFromVolumeModified(scene.GetFirstNodeByName(name))
        assert units() == expected
        assert scene.WriteToMRB(str(tmp_path / f"{factor}.mrb"), None)
    for factor, expected in ((2, (None, None, None)), (0.5, units_before)):
        scene.Clear(0)
        assert scene.ReadFromMRB(str(tmp_path / f"{factor}.mrb"), False)
        assert units() == expected


def test_a_sidecar_of_a_file_that_is_overwritten_by_another_image_goes(scene: Any, tmp_path: Path) -> None:
    """A synthetic PET in the place of a measured one, another synthetic one in its place, and the first."""
    synthetic = load(
        scene, image_on_disk(tmp_path / "a" / "s.nii.gz", {"TracerName": "a", "Synthetic": True})
    )
    other = load(scene, image_on_disk(tmp_path / "a" / "o.nii.gz", {"TracerName": "b", "Synthetic": True}))
    measured = load(scene, image_on_disk(tmp_path / "a" / "m.nii.gz", {"Units": "SUV"}))
    about = tmp_path / "b" / "pet.json"
    path = image_on_disk(tmp_path / "b" / "pet.nii.gz", {"Units": "SUV", "PatientWeight": 70})
    save(measured, path)
    assert read_object(about) == {"Units": "SUV", "PatientWeight": 70}  # nothing contradicts it
    save(synthetic, path)
    assert read_object(about) == {"TracerName": "a", "Synthetic": True}
    save(other, path)
    assert read_object(about) == {"TracerName": "b", "Synthetic": True}
    write_json(about, {**read_object(about), "Units": "SUVR"})
    save(other, path)
    assert read_object(about)["Units"] == "SUVR"  # the same image again
    save(measured, path)
    assert not read_object(about).get("Synthetic")
    write_json(about, {"Units": "Bq/mL"})
    save(measured, path)
    assert read_object(about) == {"Units": "SUV"} and unit_of(measured) == "SUV"


def test_a_result_that_is_saved_by_itself_says_what_it_is(scene: Any, tmp_path: Path) -> None:
    """Of a simulated person: image, SD and NormDiff are synthetic and simulated, also in another scene."""
    image = sitk.GetImageFromArray(np.ones((8, 8, 8), np.float32))
    mask = sitk.Cast(image, sitk.sitkUInt8)
    t1 = add_volume(scene, image, "anna")
    t1.SetAttribute("MRI2PET.Simulated", "true")
    provenance = {"model": {"id": "m"}, "version": "1"}
    result = Synthetic(
        image, mask, "SUVR", "Synthetic.", "PBR28", sd=image, real=image, provenance=provenance
    )
    nodes = add_result(scene, result, t1)
    for role in ("pet", "sd", "normdiff", "real"):
        node = scene.GetNodeByID(getattr(nodes, role))
        node.AddDefaultStorageNode()
        again = load(scene, save(node, tmp_path / "saved" / f"{role}.nii.gz"))
        assert is_synthetic_node(again) == (role != "real"), role
        assert is_simulated_node(again) == (role != "real"), role  # the real PET is not said to be simulated
        about = read_object(tmp_path / "saved" / f"{role}.json")
        assert about["Units"] == ("none" if role == "normdiff" else "SUVR")
        assert (about.get("Statistic") == "SD") == (role == "sd")
        assert (about.get("Provenance") == provenance) == (role != "real")
    assert unit_of(load(scene, tmp_path / "saved" / "pet.nii.gz")) == "SUVR"
