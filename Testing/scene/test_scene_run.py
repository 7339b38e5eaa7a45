"""Runs on scene nodes with real child processes: synthesis, comparison, cancel, closed scenes, bad inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811

from bootstrap import Application, bootstrap, pixels  # noqa: E402
from bundles import tiny_bundle  # noqa: E402
from MRI2PETLib.images.io import same_grid  # noqa: E402
from MRI2PETLib.jobs.run_state import RunState  # noqa: E402
from MRI2PETLib.scene.display import pet_window  # noqa: E402
from MRI2PETLib.scene.images import add_volume, image_of  # noqa: E402
from MRI2PETLib.scene.inputs import checks_of_nodes  # noqa: E402
from MRI2PETLib.scene.layout import show_result  # noqa: E402
from MRI2PETLib.scene.readout import compared_title  # noqa: E402
from MRI2PETLib.scene.results import result_nodes  # noqa: E402
from MRI2PETLib.scene.run import SceneRun, SynthesisRequest  # noqa: E402
from MRI2PETLib.scene.swipe import Swipe  # noqa: E402
from MRI2PETLib.scene.tables import node_text, region_point_ras, report_html  # noqa: E402
from MRI2PETLib.scene.verdict import verdict_in_words, verdict_of, verdict_on  # noqa: E402
from MRI2PETLib.simulation import simulate_subject  # noqa: E402
from MRI2PETLib.synthesis.run_checks import in_words  # noqa: E402
from MRI2PETLib.synthesis.settings import SynthesisSettings  # noqa: E402

TURNED = np.array([[-0.0, -0.9563, 0.2924], [-1.0, 0.0, 0.0], [0.0, 0.2924, 0.9563]])


@pytest.fixture(scope="module")
def person() -> Any:
    return simulate_subject(3, spacing_mm=3.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("model") / "tiny").folder)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path)


@pytest.fixture
def inputs(application: Application, person: Any) -> dict[str, Any]:
    """T1 on a grid that is turned, permuted and anisotropic; mask on it; PET on a grid of its own."""
    scene = application.scene
    middle = person.t1.TransformContinuousIndexToPhysicalPoint([n / 2 for n in person.t1.GetSize()])
    size, spacing = (66, 70, 60), (3.0, 3.0, 4.0)
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetSpacing(spacing)
    grid.SetDirection(TURNED.ravel().tolist())
    grid.SetOrigin((np.array(middle) - TURNED @ ((np.array(size) - 1) / 2 * spacing)).tolist())
    t1 = sitk.Resample(person.t1, grid, sitk.Transform())
    mask = sitk.Resample(person.brain_mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    return {
        "t1": add_volume(scene, t1, "anna"),
        "mask": add_volume(scene, mask, "brain", labels=True),
        "pet": add_volume(scene, person.pet, "anna PET"),
    }


def request(inputs: dict[str, Any], model: str, **more: Any) -> SynthesisRequest:
    settings = SynthesisSettings(model=model, device="cpu")
    return SynthesisRequest(inputs["t1"].GetID(), settings, **{"mask": inputs["mask"].GetID(), **more})


def node_names(scene: Any) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def temporary(folder: Path) -> list[Path]:
    return list(folder.glob("mri2pet-*"))


def test_synthesis_comparison_and_everything_that_follows(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path
) -> None:
    scene, states = application.scene, []
    run = SceneRun(
        scene,
        request(inputs, model, pet=inputs["pet"].GetID()),
        folder=tmp_path,
        on_state=states.append,
    )
    finished = run.start().wait()
    assert finished.error is None and finished.nodes is not None
    nodes = finished.nodes
    assert {s.phase for s in states} >= {"preparing", "running", "importing", "idle"}
    fractions = [s.fraction for s in states if s.phase == "running" and s.fraction is not None]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9
    assert temporary(tmp_path) == []
    pet, real = scene.GetNodeByID(nodes.pet), scene.GetNodeByID(nodes.real)
    for node_id in (nodes.pet, nodes.real, nodes.normdiff, nodes.mask):
        assert same_grid(image_of(scene.GetNodeByID(node_id)), image_of(inputs["t1"]), 1e-3)
    assert pet.GetName() == "synthetic PBR28 PET (SUVR) of anna"
    brain = slicer.util.arrayFromVolume(scene.GetNodeByID(nodes.mask)) > 0
    assert slicer.util.arrayFromVolume(real)[brain].mean() == pytest.approx(1, abs=0.02)  # SUVR
    assert pet_window(pet) == pet_window(real)
    assert compared_title(scene, nodes.pet) == f"{pet.GetName()}, against anna PET"
    assert {c.name: c.level for c in finished.checks}["brain"] in ("ok", "warn")
    assert result_nodes(scene, nodes.pet) == nodes
    assert verdict_of(scene, nodes.pet) == list(finished.checks)
    assert verdict_on(scene, nodes.pet, inputs["t1"], inputs["pet"]) == list(finished.checks)
    of_t1 = verdict_on(scene, nodes.pet, inputs["t1"], None)  # without the PET: nothing of unit and overlap
    assert {"brain", "T1 contrast"} <= {check.name for check in of_t1} < {c.name for c in finished.checks}
    assert verdict_on(scene, nodes.pet, inputs["pet"], inputs["pet"]) == []  # another T1
    words = in_words(finished.checks)
    assert verdict_in_words(scene, nodes.pet) == (f"{pet.GetName()}: {words}." if words else "")

    regions, metrics = scene.GetNodeByID(nodes.regions), scene.GetNodeByID(nodes.metrics)
    assert regions.GetNumberOfRows() > 20 and metrics.GetNumberOfRows() > 8
    titles = node_text(regions, "\t").splitlines()[0].split("\t")
    assert "NormDiff, median, network" in titles and any("warped average" in t for t in titles)
    point = region_point_ras(regions, 3)
    assert point is not None
    index = image_of(inputs["t1"]).TransformPhysicalPointToIndex((-point[0], -point[1], point[2]))
    assert brain[index[::-1]]
    assert region_point_ras(metrics, 0) is None
    assert report_html(scene, nodes).lstrip().lower().startswith("<!doctype html")

    show_result(scene, nodes, 0.4)
    composite = application.slices["Red"].GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == nodes.pet and composite.GetBackgroundVolumeID() == nodes.t1
    assert pixels(application, "Red").std() > 5

    swipe = Swipe(scene, pet)
    volume = scene.GetNodeByID(swipe.volumes[0])
    highest = max(slicer.util.arrayFromVolume(n).max() for n in (real, pet))
    assert volume.GetDisplayNode().GetUpperThreshold() == pytest.approx(highest)  # nothing is cut out
    for share in (1.0, 0.3, 0.8, 0.5):  # the person's right is at the end of j, see TURNED
        swipe.set_position(share)
        voxels = slicer.util.arrayFromVolume(volume)
        first = voxels.shape[1] - round(share * voxels.shape[1])
        for side, source in ((slice(first, None), real), (slice(first), pet)):
            assert np.array_equal(voxels[:, side], slicer.util.arrayFromVolume(source)[:, side])
    swipe.remove()

    show_result(scene, nodes, 0.4)
    before = node_names(scene)
    again = request(inputs, model, pet=inputs["pet"].GetID(), synthetic=nodes.pet)
    voxels = slicer.util.arrayFromVolume(inputs["t1"])
    voxels[:] = voxels * 1.5  # no longer what the PET was computed from
    second = SceneRun(scene, again, folder=tmp_path).start().wait()
    origins = [[c for c in run.checks if c.name == "origin"] for run in (finished, second)]
    assert origins[0] == [] and [c.level for c in origins[1]] == ["warn"]
    assert f"{pet.GetName()} was computed from another image than the T1 anna" in origins[1][0].message
    assert second.error is None and second.nodes is not None and second.nodes.pet == nodes.pet
    show_result(scene, second.nodes, 0.4)
    assert len(node_names(scene)) == len(before)  # the earlier comparison was replaced
    assert scene.GetNodeByID(nodes.real) is None and scene.GetNodeByID(nodes.report) is None

    path = tmp_path / "scene ä.mrb"
    assert scene.WriteToMRB(str(path))
    (tmp_path / "second").mkdir()
    second_application = bootstrap(tmp_path / "second")
    other = second_application.scene
    assert other.ReadFromMRB(str(path))
    back = result_nodes(other, other.GetFirstNodeByName(pet.GetName()).GetID())
    assert back is not None
    assert None not in [v for k, v in vars(back).items() if k not in ("sd", "error_sd", "unpredicted")]
    assert report_html(other, back) == report_html(scene, second.nodes)
    assert node_text(other.GetNodeByID(back.regions), ",") == node_text(
        scene.GetNodeByID(second.nodes.regions), ","
    )


@pytest.mark.parametrize("stage", ["starting", "running"])
def test_cancel_leaves_the_scene_as_it_was(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path, stage: str
) -> None:
    scene, before, states = application.scene, node_names(application.scene), []

    def on_state(state: RunState) -> None:
        states.append(state)
        if stage == "running" and state.phase == "running" and state.fraction:
            run.cancel()

    run = SceneRun(scene, request(inputs, model), folder=tmp_path, on_state=on_state)
    run.start()
    if stage == "starting":
        run.cancel()
    finished = run.wait()
    assert finished.state == "cancelled" and finished.nodes is None
    assert node_names(scene) == before and temporary(tmp_path) == []
    assert "cancelling" in [s.phase for s in states] and states[-1].message == "Cancelled."


def test_a_closed_scene_ends_the_run(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path
) -> None:
    run = SceneRun(application.scene, request(inputs, model), folder=tmp_path).start()
    application.scene.Clear(0)
    assert not run.is_active and run.finished is not None and run.finished.state == "cancelled"
    assert temporary(tmp_path) == []


def test_a_deleted_t1_does_not_lose_the_result(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path
) -> None:
    run = SceneRun(application.scene, request(inputs, model), folder=tmp_path).start()
    application.scene.RemoveNode(inputs["t1"])
    finished = run.wait()
    assert finished.nodes is not None and finished.nodes.t1 is None


def test_bad_inputs_end_the_run_with_their_reason(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path
) -> None:
    scene = application.scene
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    inputs["pet"].SetAttribute("MRI2PET.Synthetic", "true")
    cases = {
        "has no voxels": SynthesisRequest(empty.GetID(), SynthesisSettings(model=model)),
        "is a synthetic PET": request(inputs, model, pet=inputs["pet"].GetID()),
        "no longer in the scene": request(inputs, model, mask="vtkMRMLLabelMapVolumeNode99"),
        "There is no model": request(inputs, "nowhere"),
        "was not synthesised here": request(inputs, model, synthetic=empty.GetID()),
    }
    before = node_names(scene)
    for message, bad in cases.items():
        finished = SceneRun(scene, bad, folder=tmp_path).start().wait()
        assert finished.state == "failed" and message in str(finished.error), message
    assert node_names(scene) == before and temporary(tmp_path) == []


def test_the_synthesis_is_kept_when_only_the_comparison_fails(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path
) -> None:
    far = image_of(inputs["pet"])
    far.SetOrigin((5000.0, 0.0, 0.0))
    pet = add_volume(application.scene, sitk.Image(far) * 0 + 1, "constant")
    run = SceneRun(application.scene, request(inputs, model, pet=pet.GetID()), folder=tmp_path)
    finished = run.start().wait()
    assert finished.state == "failed" and finished.nodes is not None and finished.nodes.real is None
    assert run.state.message.startswith("The synthetic PET is there, but the comparison failed.")


def test_checks_of_nodes_and_of_a_child_agree_on_what_both_see(
    application: Application, inputs: dict[str, Any], model: str, tmp_path: Path
) -> None:
    scene = application.scene
    quick = {c.name: c for c in checks_of_nodes(inputs["t1"], inputs["pet"], "SUV")}
    assert quick["brain"].level == "not checked" and quick["overlap of T1 and PET"].level == "ok"
    check_request = request(inputs, model, pet=inputs["pet"].GetID(), pet_unit="SUV", check_only=True)
    finished = SceneRun(scene, check_request, folder=tmp_path).start().wait()
    full = {c.name: c for c in finished.checks}
    assert list(full) == list(quick) and full["brain"].level in ("ok", "warn")
    assert finished.nodes is None and temporary(tmp_path) == []
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert "has no voxels" in checks_of_nodes(empty)[0].message and checks_of_nodes(None) == []
    inputs["pet"].SetAttribute("MRI2PET.Synthetic", "true")
    levels = {c.name: c.level for c in checks_of_nodes(inputs["t1"], inputs["pet"])}
    assert levels["origin"] == "refuse"
