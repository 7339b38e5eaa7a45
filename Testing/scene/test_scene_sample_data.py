"""The phantom of the Sample Data module as nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811

from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.cli import build_parser, main  # noqa: E402
from MRI2PETLib.core.errors import InputError  # noqa: E402
from MRI2PETLib.images.io import read_image, same_grid  # noqa: E402
from MRI2PETLib.reports.colors import PET_IN_SLICER  # noqa: E402
from MRI2PETLib.scene.files import tracer_of_node, unit_of  # noqa: E402
from MRI2PETLib.scene.images import image_of  # noqa: E402
from MRI2PETLib.scene.origin import is_simulated_node  # noqa: E402
from MRI2PETLib.scene.sample_data import add_phantom, phantom_arguments, phantom_files  # noqa: E402


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What the command of the sample data writes, with coarse voxels."""
    cache = tmp_path_factory.mktemp("cache ü")
    arguments = phantom_arguments(cache)
    arguments[arguments.index("--spacing-mm") + 1] = "6"
    assert main([*arguments, "--progress", "none"]) == 0
    return phantom_files(cache)


def test_the_command_is_one_of_mri2pet(tmp_path: Path) -> None:
    options = build_parser().parse_args(phantom_arguments(tmp_path))
    assert options.command == "simulate" and options.head and options.spacing_mm == 1
    assert options.output in phantom_files(tmp_path)[0].parents


def test_t1_and_pet_say_that_they_are_simulated(files: tuple[Path, Path], tmp_path: Path) -> None:
    application = bootstrap(tmp_path)
    t1, pet = add_phantom(application.scene, *files)
    for node in (t1, pet):
        assert "simulated" in node.GetName() and node.GetDescription().startswith("SIMULATED")
        assert is_simulated_node(node)
    assert unit_of(pet) == "SUV" and unit_of(t1) is None
    assert tracer_of_node(pet) == "PBR28"
    assert pet.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    assert pet.GetVoxelValueQuantity().GetCodeValue() == "126400"
    written = read_image(files[0], kind="t1").image
    assert same_grid(image_of(t1), written)
    top = pet.GetDisplayNode().GetWindowLevelMax()
    values = slicer.util.arrayFromVolume(pet)
    assert pet.GetDisplayNode().GetColorNodeID() == PET_IN_SLICER
    assert np.mean(values > top) < 0.005  # the colours reach as far as nearly all of the uptake


def test_the_phantom_has_a_study_of_its_own(files: tuple[Path, Path], tmp_path: Path) -> None:
    application = bootstrap(tmp_path)
    t1, pet = add_phantom(application.scene, *files)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(application.scene)
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (t1, pet)}
    assert len(parents) == 1
    study = parents.pop()
    assert hierarchy.GetItemName(study) == "Simulated T1 and TSPO PET"
    assert "simulated" in hierarchy.GetItemName(hierarchy.GetItemParent(study))


def test_a_missing_file_leaves_the_scene_as_it_was(files: tuple[Path, Path], tmp_path: Path) -> None:
    application = bootstrap(tmp_path)
    before = application.scene.GetNumberOfNodes()
    with pytest.raises(InputError):
        add_phantom(application.scene, files[0], tmp_path / "none.nii.gz")
    assert application.scene.GetNumberOfNodes() == before
