"""The traffic light as it is read: signs beside the colours, and no line for each thing that is not known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")
import slicer.util  # noqa: E402, F811

from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.core.files import read_object, write_json  # noqa: E402
from MRI2PETLib.images.io import write_image  # noqa: E402
from MRI2PETLib.scene.files import choose_unit, chosen_unit, tracer_of_node, unit_of, write_pet  # noqa: E402
from MRI2PETLib.scene.images import add_volume  # noqa: E402
from MRI2PETLib.scene.inputs import (  # noqa: E402
    checks_of_nodes,
    content_events,
    content_state,
    lights_html,
)
from MRI2PETLib.scene.nodes import set_unit  # noqa: E402
from MRI2PETLib.scene.origin import is_synthetic_node, remember_values  # noqa: E402
from MRI2PETLib.synthesis.checks import Check  # noqa: E402


def test_every_level_has_its_own_sign_and_markup_in_a_message_is_shown_as_it_is() -> None:
    checks = [
        Check("T1 image", "ok", "2 x 2 voxels."),
        Check("PET unit", "warn", "a < b", "Say it."),
        Check("brain", "refuse", "None."),
    ]
    lines = lights_html(checks).split("<br>")
    signs = [line.split(">")[1].split("<")[0] for line in lines]  # the worst first
    assert signs == ["&#10007;", "&#9650;", "&#10003;"]
    assert "<b>PET unit</b>: a &lt; b Say it." in lines[1]
    brief = lights_html([*checks, Check("brain", "ok", "1500 mL.")], brief=True).split("<br>")
    assert brief[:2] == lines[:2] and brief[2].endswith("<b>T1 image, brain</b>") and len(brief) == 3


@pytest.mark.parametrize("on_dark, ground", [(False, "#FFFFFF"), (False, "#FFFFDC"), (True, "#323232")])
def test_lights_are_read_on_the_grounds_of_both_styles_of_slicer(on_dark: bool, ground: str) -> None:
    """WCAG 2.1 asks for a contrast of 4.5 (success criterion 1.4.3)."""
    html = lights_html([Check("brain", level, "") for level in ("ok", "warn", "refuse")], on_dark=on_dark)
    colors = re.findall("color:(#[0-9A-F]{6})", html)
    assert len(set(colors)) == 3
    assert min(contrast(color, ground) for color in colors) >= 4.5
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)


def contrast(color: str, other: str) -> float:
    """Ratio of the relative luminances of two sRGB colours, as WCAG 2.1 defines them."""

    def luminance(text: str) -> float:
        channels = np.array([int(text[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    dark, light = sorted((luminance(color), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_warning_is_short_beside_the_inputs_and_whole_in_the_tooltip() -> None:
    checks = [Check("brain", "warn", "0.66 times the size. 465 mL.", "A child?")]
    checks.append(Check("origin", "warn", "B."))
    checks.append(Check("PET image", "refuse", "It is empty. No voxel.", "Use another."))
    lines = lights_html(checks, brief=True).split("<br>")
    refused, *warned = (line.split("</b>: ")[1] for line in lines)
    assert (refused, warned) == ("It is empty. No voxel. Use another.", ["0.66 times the size. ...", "B."])
    assert "0.66 times the size. 465 mL. A child?" in lights_html(checks)


def test_what_was_not_checked_for_one_reason_shares_a_line() -> None:
    checks = [Check("skull", "not checked", "Later."), Check("brain", "not checked", "Later.")]
    checks.append(Check("PET unit", "not checked", "No PET."))
    lines = lights_html(checks).split("<br>")
    assert len(lines) == 2 and "skull, brain: Later." in lines[0] and "PET unit: No PET." in lines[1]


def test_the_unit_beside_a_file_is_read_while_the_volume_is_what_the_file_holds(tmp_path: Path) -> None:
    scene = bootstrap(tmp_path).scene
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((8, 8, 8), np.float32))
    path = write_image(image, tmp_path / "pet.nii.gz")
    write_json(tmp_path / "pet.json", {"Units": "kBq/mL", "Synthetic": True})
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "pet")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.ReadData(node)
    assert unit_of(node) == "kBq/mL" and is_synthetic_node(node)
    unit = {check.name: check for check in checks_of_nodes(node, node)}["PET unit"]
    assert "kBq/mL" in unit.message or "Bq/mL" in unit.message
    choose_unit(node, "SUV")  # both know of it: the light before a run, and the run
    assert (unit_of(node), chosen_unit(node)) == ("kBq/mL", "SUV")
    unit = {check.name: check for check in checks_of_nodes(node, node, "SUV")}["PET unit"]
    assert unit.level == "warn" and "The file says kBq/mL, you say SUV" in unit.message
    choose_unit(node, None)
    assert chosen_unit(node) is None
    slicer.util.arrayFromVolume(node)[:] *= 2
    slicer.util.arrayFromVolumeModified(node)
    assert unit_of(node) is None and is_synthetic_node(node)  # an edit does not make it a measured one
    (tmp_path / "pet.json").unlink()
    assert storage.ReadData(node) and unit_of(node) is None


def test_no_units_of_a_foreign_volume_is_not_a_pet_scaled_to_1(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((8, 8, 8), np.float32))
    node = add_volume(bootstrap(tmp_path).scene, image, "pet")
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning("1", "UCUM", "no units")
    node.SetVoxelValueUnits(entry)
    assert unit_of(node) is None
    node.SetAttribute("MRI2PET.Sidecar", '{"Units": "SUV"}')
    remember_values(node)
    assert unit_of(node) == "SUV"
    set_unit(node, "normalised")  # one of ours
    assert unit_of(node) == "normalised"


def test_what_a_file_says_of_its_pet_reaches_the_computation(tmp_path: Path) -> None:
    """Tracer, times and corrections, also after an edit; the unit only of unedited values."""
    scene = bootstrap(tmp_path).scene
    path = write_image(sitk.GetImageFromArray(np.ones((8, 8, 8), np.float32)), tmp_path / "fdg.nii.gz")
    about = {
        "TracerName": "FDG",
        "AttenuationCorrection": "none",
        "FrameTimesStart": [0],
        "FrameDuration": [300],
    }
    write_json(tmp_path / "fdg.json", {**about, "Units": "SUVR", "Simulated": True})
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "fdg")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.ReadData(node)
    levels, expected = {}, ("warn", "ok", "not checked")
    for model in ("PBR28", "[18F]FDG", ""):
        light = checks_of_nodes(node, node, None, model)[-1]
        levels[model] = (light.name, light.level)
    assert levels == {model: ("tracer", level) for model, level in zip(levels, expected, strict=True)}
    assert tracer_of_node(node) == "FDG"
    write_pet(node, tmp_path / "PET.nrrd", None)
    own = {"Modality": "PET", "Simulated": True}
    assert read_object(tmp_path / "PET.json") == {**about, **own, "Units": "SUVR"}
    assert write_pet(node, tmp_path / "PET.nrrd", "SUV") == "SUV"
    assert read_object(tmp_path / "PET.json")["Units"] == "SUVR"  # what reads it knows both
    assert write_pet(node, tmp_path / "PET.nrrd", "unknown") is None
    assert read_object(tmp_path / "PET.json")["Units"] == "unknown"
    slicer.util.arrayFromVolumeModified(node)
    write_pet(node, tmp_path / "PET.nrrd", None)
    assert read_object(tmp_path / "PET.json") == {**about, **own}
    write_pet(node, tmp_path / "PET.nrrd", "SUV")
    assert read_object(tmp_path / "PET.json") == {**about, **own, "Units": "SUV"}


def test_every_edit_of_an_input_is_noticed_and_a_new_name_is_not(tmp_path: Path) -> None:
    """Of a segmentation: drawn, another segment, one less; of a volume: voxels in place, and its origin."""
    scene, events = bootstrap(tmp_path).scene, []
    image = sitk.GetImageFromArray(np.eye(4, dtype=np.uint8)[None].repeat(4, axis=0))
    label = add_volume(scene, image, "label", labels=True)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.ImportLabelmapToSegmentationNode(label, segmentation)
    for event in content_events(segmentation):
        segmentation.AddObserver(event, lambda *_: events.append(True))
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    drawn = slicer.vtkOrientedImageData()
    drawn.SetDimensions(4, 4, 4)
    drawn.AllocateScalars(3, 1)  # unsigned char
    drawn.GetPointData().GetScalars().Fill(1)
    edits = (
        lambda: logic.SetBinaryLabelmapToSegment(drawn, segmentation, segment),
        lambda: logic.ImportLabelmapToSegmentationNode(label, segmentation),
        lambda: segmentation.GetSegmentation().RemoveSegment(segment),
    )
    for edit in edits:
        events.clear()
        edit()
        assert events
    events.clear()
    segmentation.SetName("mine")
    assert not events
    volume = add_volume(scene, image, "volume")
    assert set(content_events(volume)) >= {33, volume.ImageDataModifiedEvent, volume.TransformModifiedEvent}
    before = content_state(volume)
    volume.SetName("mine")
    volume.SetAttribute("mine", "yes")
    assert content_state(volume) == before
    slicer.util.arrayFromVolume(volume)[:] = 1
    slicer.util.arrayFromVolumeModified(volume)
    edited = content_state(volume)
    volume.SetOrigin(1, 2, 3)
    assert len({before, edited, content_state(volume)}) == 3
