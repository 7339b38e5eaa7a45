"""The simulated person of the Sample Data module: made on this computer, as a T1 and a PET node. No Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from MRI2PETLib import __version__
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.io import read_image
from MRI2PETLib.scene.display import set_pet_window
from MRI2PETLib.scene.images import add_volume
from MRI2PETLib.scene.nodes import PREFIX, all_or_nothing, set_unit
from MRI2PETLib.scene.origin import add_to_sidecar, remember_values

PHANTOM = "MRI2PETPhantom"
_NOTE = "SIMULATED: nobody was scanned. For learning and testing the software, not evidence of biology."
# The person of `mri2pet demo`, whose PET has a lesion that the T1 does not show.
_SEED = "2025"


def phantom_files(cache: Path | str) -> tuple[Path, Path]:
    """T1 and PET of the phantom in a cache folder; they may not be there yet."""
    person = _folder(cache) / "subject_001"
    return person / "T1.nii.gz", person / "PET.nii.gz"


def phantom_arguments(cache: Path | str) -> list[str]:
    """Arguments of ``mri2pet`` that make the phantom there: a head with 1 mm voxels, no network needed."""
    arguments = ["simulate", "-n", "1", "--head", "--spacing-mm", "1", "--lesion-share", "1"]
    return [*arguments, "--seed", _SEED, "-o", str(_folder(cache))]


def _folder(cache: Path | str) -> Path:
    return Path(cache) / f"{PHANTOM}-{__version__}"  # another version may simulate another person


def add_phantom(scene: slicer.vtkMRMLScene, t1: Path | str, pet: Path | str) -> tuple[Any, Any]:
    """Load both as volumes that say *simulated*, in a study of their own, the PET in SUV.

    :return: the nodes of the T1 and the PET.
    :raises InputError: if a file cannot be read.
    """
    images = read_image(t1, kind="t1").image, read_image(pet, kind="pet").image
    with all_or_nothing(scene):
        nodes = (
            add_volume(scene, images[0], f"{PHANTOM} T1 (simulated)"),
            add_volume(scene, images[1], f"{PHANTOM} PET (simulated, SUV)"),
        )
        for node in nodes:
            node.SetDescription(_NOTE)
            node.SetAttribute(PREFIX + "Simulated", "true")
        add_to_sidecar(nodes[1], {"TracerName": read_sidecar(Path(pet))["TracerName"]})
        set_unit(nodes[1], "SUV")
        nodes[1].SetAttribute(PREFIX + "Unit", "SUV")
        remember_values(nodes[1])
        values = sitk.GetArrayViewFromImage(images[1])
        top = float(np.percentile(values[values > 0], 99.5))
        set_pet_window(scene, [nodes[1].GetID()], top, transparent_below=0.05 * top)
        _add_study(scene, nodes)
    return nodes


def _add_study(scene: slicer.vtkMRMLScene, nodes: tuple[Any, Any]) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"{PHANTOM} (simulated)")
    study = hierarchy.CreateStudyItem(subject, "Simulated T1 and TSPO PET")
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, study)
        else:
            hierarchy.CreateItem(study, node)
