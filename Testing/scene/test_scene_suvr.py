"""SUVR on scene nodes with real child processes: tables, plots, synthetic MRI, cancel, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811

from bootstrap import Application, bootstrap  # noqa: E402
from MRI2PETLib.evaluation.reference_region import stated_reference  # noqa: E402
from MRI2PETLib.images.io import same_grid  # noqa: E402
from MRI2PETLib.jobs.run_state import RunState  # noqa: E402
from MRI2PETLib.models import get_family  # noqa: E402
from MRI2PETLib.models.bundle import save_bundle  # noqa: E402
from MRI2PETLib.models.model_space import ModelSpace  # noqa: E402
from MRI2PETLib.scene.comparison import LABELS  # noqa: E402
from MRI2PETLib.scene.files import write_pet  # noqa: E402
from MRI2PETLib.scene.images import add_volume, image_of  # noqa: E402
from MRI2PETLib.scene.suvr import (  # noqa: E402
    SuvrRequest,
    SuvrRun,
    hide_suvr,
    highest_suvr,
    plots_of,
    show_suvr,
    suvr_nodes,
)
from MRI2PETLib.scene.tables import node_text  # noqa: E402
from MRI2PETLib.simulation import simulate_subject  # noqa: E402
from MRI2PETLib.suvr.regional import plan_regions, pull_atlas, regional_suvr  # noqa: E402
from MRI2PETLib.suvr.settings import SuvrSettings  # noqa: E402
from MRI2PETLib.templates.icbm152 import load_template  # noqa: E402
from MRI2PETLib.templates.regions import cortical_spheres  # noqa: E402

# Of grey matter, white matter and CSF: as of an amyloid tracer without binding, with the contrast of a T1.
CEREBELLUM = SuvrSettings("cortical-spheres", "*cerebellum*", device="cpu")
ACTIVITY = (1.0, 1.6, 0.2)


def blurred(activity: np.ndarray, like: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(activity.astype(np.float32))
    image.CopyInformation(like)
    return sitk.SmoothingRecursiveGaussian(image, [2.5] * 3)


@pytest.fixture(scope="module")
def person() -> tuple[Any, sitk.Image]:
    """A simulated person and an amyloid-like PET of it, on the grid of the T1."""
    subject = simulate_subject(4, spacing_mm=2.5)
    tissue = sitk.GetArrayViewFromImage(subject.tissue)
    activity = np.select([tissue == n for n in (1, 2, 3)], ACTIVITY, 0.0)
    return subject, blurred(activity, subject.t1)


@pytest.fixture(scope="module")
def template() -> sitk.Image:
    """The same tracer in MNI space."""
    maps = [sitk.GetArrayViewFromImage(getattr(load_template(), name)) for name in ("gm", "wm", "csf")]
    return blurred(sum(a * m for a, m in zip(ACTIVITY, maps)), load_template().t1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PET -> MR by hand: what is above the mean shines. That is where this PET has white matter."""
    space = ModelSpace((48, 48, 48), 4.0, source="suvr-half", target="mask-p1-p99")
    arguments = {"dims": 3, "channels": 4, "levels": 2}
    network = get_family("pix2pix").build(arguments)
    import torch

    with torch.no_grad():
        network.final.weight.zero_()
        network.final.weight[0, -1, 1, 1, 1] = 4.0  # the source, where it joins again
        network.final.bias.fill_(-0.7)
    metadata = {
        "id": "by-hand",
        "name": "by hand",
        "version": "0",
        "description": "for tests",
        "family": "pix2pix",
        "network": arguments,
        "model_space": space.to_dict(),
        "source": {"modality": "PET"},
        "target": {"modality": "MR", "contrast": "T1w"},
        "intended_use": "demonstration",
        "training_data": "none",
        "license": "Apache-2.0",
    }
    return str(
        save_bundle(tmp_path_factory.mktemp("model") / "by-hand", network, metadata, "# by hand").folder
    )


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path)


@pytest.fixture
def pet(application: Application, person: tuple[Any, sitk.Image]) -> Any:
    return add_volume(application.scene, person[1], "anna PET")


def node_names(scene: Any) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def columns(node: Any) -> dict[str, list[str]]:
    lines = [line.split("\t") for line in node_text(node, "\t").splitlines()]
    return {title: [line[n] for line in lines[1:]] for n, title in enumerate(lines[0])}


def test_the_colours_of_suvr_reach_to_the_highest_regions_of_a_brain() -> None:
    """20,000 voxels of air, a brain of 100 and a thalamus of 2 times its reference in 10."""
    assert highest_suvr(np.repeat([0.0, 1.0, 2.0], [20000, 100, 10])) == 2
    assert highest_suvr(np.zeros(8)) == 0


@pytest.mark.slow
def test_all_methods(
    application: Application,
    pet: Any,
    person: tuple[Any, sitk.Image],
    template: sitk.Image,
    model: str,
    tmp_path: Path,
) -> None:
    scene, subject = application.scene, person[0]
    t1 = add_volume(scene, subject.t1, "anna")
    mask = add_volume(scene, subject.brain_mask, "brain", labels=True)
    mean = add_volume(scene, template, "template")
    request = SuvrRequest(
        pet.GetID(),
        replace(CEREBELLUM, model=model),
        t1=t1.GetID(),
        mask=mask.GetID(),
        template=mean.GetID(),
    )
    states: list[RunState] = []
    finished = SuvrRun(scene, request, folder=tmp_path, on_state=states.append).start().wait()
    assert finished.error is None and finished.nodes is not None
    assert {s.phase for s in states} >= {"preparing", "running", "importing", "idle"}
    assert list(tmp_path.glob("mri2pet-*")) == []
    nodes = finished.nodes
    assert suvr_nodes(scene, nodes.regions) == nodes and None not in vars(nodes).values()
    assert suvr_nodes(scene, pet.GetID()) is None

    regions, methods = (columns(scene.GetNodeByID(i)) for i in (nodes.regions, nodes.methods))
    assert regions["region"][0] == "composite" and regions["region"][1].endswith("(reference)")
    assert methods["method"] == ["real MR", "synthetic MR", "PET template"]
    composites = [float(value) for value in methods["composite SUVR"]]
    by_region = [float(regions[f"SUVR, {method}"][0]) for method in methods["method"]]
    assert composites == pytest.approx(by_region, abs=6e-4)  # each table has digits of its own
    plan = plan_regions(cortical_spheres(), "*cerebellum*")
    back = subject.template_to_native.GetInverse()
    rows = regional_suvr(
        person[1], pull_atlas(plan, person[1], back), plan, subject.template_to_native, method="truth"
    )
    # How close each method comes is measured elsewhere; small spheres in voxels of 2.5 mm move much.
    assert composites == pytest.approx([rows[0].suvr] * 3, rel=0.2)
    gold = np.array([float(v) for v in regions["SUVR, real MR"]])
    for number, method in enumerate(methods["method"][1:], start=1):
        own = np.array([float(v) for v in regions[f"SUVR, {method}"]])
        difference = [float(v) for v in regions[f"{method} \N{MINUS SIGN} real MR"]]
        assert difference == pytest.approx(own - gold, abs=1.5e-3)  # each rounded
        others = [n for n, name in enumerate(regions["region"]) if n > 1 and "cerebellum" not in name.lower()]
        assert float(methods["MAE"][number]) == pytest.approx(np.abs(own - gold)[others].mean(), abs=1.5e-3)
        assert methods["regions"][number] == str(len(others))
    chart = scene.GetNodeByID(nodes.chart_pet_template)
    assert chart.GetYAxisTitle() == "PET template \N{MINUS SIGN} real MR (SUVR)"

    mr, suvr = scene.GetNodeByID(nodes.mr), scene.GetNodeByID(nodes.suvr)
    assert mr.GetAttribute("MRI2PET.Synthetic") == "true" and mr.GetAttribute("MRI2PET.ModelId") == "by-hand"
    assert (mr.GetName(), suvr.GetName()) == ("synthetic MR of anna PET", "PET (SUVR) of anna PET")
    assert "computed from the PET" in mr.GetDescription() and "DEMONSTRATION" in mr.GetDescription()
    assert json.loads(mr.GetAttribute("MRI2PET.Provenance"))["model"]["id"] == "by-hand"
    for node in (mr, suvr):
        assert same_grid(image_of(node), image_of(pet), 1e-3)
    reference = slicer.util.arrayFromVolume(scene.GetNodeByID(nodes.regions).GetNodeReference(LABELS))
    inside = np.isin(reference, plan.reference)
    assert slicer.util.arrayFromVolume(suvr)[inside].mean() == pytest.approx(1, abs=1e-3)
    assert suvr.GetVoxelValueQuantity().GetCodeMeaning().startswith("Ratio to the mean in")
    write_pet(suvr, tmp_path / "suvr.nrrd", None)
    assert "cerebellum" in stated_reference(tmp_path / "suvr.nrrd").lower()
    assert scene.GetNodeByID(nodes.regions).GetNumberOfNodeReferences(LABELS) == 3
    assert scene.GetNodeByID(nodes.report).GetText().lstrip().lower().startswith("<!doctype html")

    show_suvr(scene, nodes)
    composite = application.slices["Red"].GetSliceCompositeNode()
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (nodes.mr, nodes.suvr)
    assert composite.GetLabelVolumeID() and application.slices["Red"].GetSliceNode().GetUseLabelOutline()
    hide_suvr(scene, nodes, pet.GetID())
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (pet.GetID(), None)
    assert composite.GetLabelVolumeID() is None
    assert not application.slices["Red"].GetSliceNode().GetUseLabelOutline()
    assert plots_of(nodes)["PET template"] == nodes.chart_pet_template
    assert plots_of(replace(nodes, chart_synthetic_mr=None, chart_pet_template=None)) == {}


@pytest.mark.slow
def test_a_reference_region_outside_the_field_of_view(
    application: Application, person: tuple[Any, sitk.Image], template: sitk.Image, tmp_path: Path
) -> None:
    """Refused in words, and nothing is added."""
    scene = application.scene
    size = list(person[1].GetSize())
    low = size[2] // 3
    upper = sitk.RegionOfInterest(person[1], [*size[:2], size[2] - low], [0, 0, low])
    pet, mean = add_volume(scene, upper, "upper"), add_volume(scene, template, "template")
    before = node_names(scene)
    request = SuvrRequest(pet.GetID(), CEREBELLUM, template=mean.GetID())
    finished = SuvrRun(scene, request, folder=tmp_path).start().wait()
    assert finished.state == "failed" and "inside the field of view" in str(finished.error)
    assert node_names(scene) == before


def test_cancel_leaves_the_scene_as_it_was(application: Application, pet: Any, tmp_path: Path) -> None:
    scene, before = application.scene, node_names(application.scene)

    def on_state(state: RunState) -> None:
        if state.phase == "running" and state.fraction:
            run.cancel()

    run = SuvrRun(scene, SuvrRequest(pet.GetID()), folder=tmp_path, on_state=on_state)
    finished = run.start().wait()
    assert finished.state == "cancelled" and finished.nodes is None
    assert node_names(scene) == before and list(tmp_path.glob("mri2pet-*")) == []


def test_bad_inputs_end_the_run_with_their_reason(
    application: Application, pet: Any, person: tuple[Any, sitk.Image], tmp_path: Path
) -> None:
    scene = application.scene
    atlas = add_volume(scene, load_template().mask, "one region", labels=True)
    synthetic = add_volume(scene, person[1], "synthetic")
    synthetic.SetAttribute("MRI2PET.Synthetic", "true")
    before = node_names(scene)
    cases = {
        "has no region 'pons'": SuvrRequest(pet.GetID(), replace(CEREBELLUM, reference="pons")),
        "no region besides the reference": SuvrRequest(
            pet.GetID(), replace(CEREBELLUM, reference="*"), atlas=atlas.GetID()
        ),
        "an MRI from a PET is needed": SuvrRequest(pet.GetID(), replace(CEREBELLUM, model="tspo-demo")),
        "no longer in the scene": SuvrRequest(pet.GetID(), t1="vtkMRMLScalarVolumeNode99"),
        "is a synthetic PET": SuvrRequest(synthetic.GetID()),
        "its zero is lost": SuvrRequest(pet.GetID(), pet_unit="normalised"),
    }
    for message, bad in cases.items():
        finished = SuvrRun(scene, bad, folder=tmp_path).start().wait()
        assert finished.state == "failed" and message in str(finished.error), message
    assert node_names(scene) == before and list(tmp_path.glob("mri2pet-*")) == []
