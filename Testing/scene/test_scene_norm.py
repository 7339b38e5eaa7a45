"""Comparison with a norm on scene nodes: what is asked of the child, and what its files become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")


from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.cli import build_parser  # noqa: E402
from MRI2PETLib.core.errors import InputError  # noqa: E402
from MRI2PETLib.images.grid import RAS_AXES, Grid  # noqa: E402
from MRI2PETLib.normative.score import ClusterScore, RegionScore  # noqa: E402
from MRI2PETLib.normative.settings import NormSettings, ScoreSettings  # noqa: E402
from MRI2PETLib.scene.display import NO_VALUE  # noqa: E402
from MRI2PETLib.scene.files import write_pet  # noqa: E402
from MRI2PETLib.scene.images import add_volume, image_of  # noqa: E402
from MRI2PETLib.scene.inputs import checks_of_nodes, may_be_t1  # noqa: E402
from MRI2PETLib.scene.norm import (  # noqa: E402
    NormBuild,
    NormBuildRequest,
    NormRequest,
    NormRun,
    RunGroups,
    add_norm_result,
    covariates_of,
    groups_of_run,
    jump_to_peak,
    missing_for_build,
    missing_for_norm,
    norm_nodes,
    norm_of_run,
    norm_result,
    norm_summary,
    show_norm_result,
)
from MRI2PETLib.scene.tables import table_cells  # noqa: E402

GRID = Grid((24, 28, 20), (6.0, 6.0, 6.0), (66.0, 80.0, -50.0), RAS_AXES)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bootstrap(tmp_path_factory.mktemp("slicer")).scene


@pytest.fixture
def nodes(scene: Any) -> tuple[Any, Any]:
    values = np.random.default_rng(0).random(GRID.shape).astype(np.float32)
    return add_volume(scene, GRID.image(values), "T1"), add_volume(scene, GRID.image(values + 1), "PET")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What a comparison writes: z is -5 in one voxel."""
    z = np.zeros(GRID.shape, np.float32)
    z[3, 4, 5] = -5.0
    paths = {"score": tmp_path / "score.json", "report": tmp_path / "report.html"}
    for name in ("z", "z_unconditional"):
        paths[name] = tmp_path / f"{name}.nii.gz"
        sitk.WriteImage(GRID.image(z / (1 if name == "z" else 2)), str(paths[name]))
    row = RegionScore("paper21", "left putamen", "SUVR", 20, 1.0, 1.2, 1.2, 0.04, *(None,) * 7)
    rows = [row._replace(region="brainstem", z=1.0), row._replace(z=-5.0, z_unconditional=-2.5), row]
    cluster = ClusterScore("residual", "lower", 0.2, 1, -5.0, -36.0, -56.0, -32.0, "left putamen", 0.05, 0.3)
    content = {
        "description": "How rare.",
        "unit": "SUVR",
        "demonstration": True,
        "simulated": False,
        "peak_lps_mm": [36.0, 56.0, -32.0],
        "regions": [r._asdict() for r in rows],
        "clusters": [cluster._asdict()],
    }
    paths["score"].write_text(json.dumps(content))
    paths["report"].write_text("<html>report</html>")
    return paths


def test_what_a_child_is_asked(scene: Any, nodes: tuple[Any, Any], tmp_path: Path) -> None:
    """The command line of a run is one that the program knows."""
    t1, pet = nodes
    settings = ScoreSettings(covariate=covariates_of("age=67, sex=F"))
    request = NormRequest(t1.GetID(), pet.GetID(), tmp_path / "norm", settings, pet_unit="SUV")
    run = NormRun(scene, request)
    run._folder = tmp_path
    (step,) = run._write(tmp_path)
    args = build_parser().parse_args([*step.arguments, "--progress", "json"])
    assert (args.action, args.pet, args.covariate) == ("score", tmp_path / "PET.nrrd", ["age=67", "sex=F"])
    assert (args.norm, args.progress) == (tmp_path / "norm", "json")
    assert json.loads((tmp_path / "PET.json").read_text())["Units"] == "SUV"
    for text in ("age = 67,5; status=mild AD", "age=67,5 status=mild AD, "):
        assert [entry.replace(" = ", "=") for entry in covariates_of(text)] == ["age=67,5", "status=mild AD"]
    assert covariates_of(" ") == ()
    build = NormBuild(scene, NormBuildRequest(tmp_path, NormSettings(group="HC")))
    args = build_parser().parse_args(build._write(tmp_path)[0].arguments)
    assert (args.action, args.run_folder, args.group, args.output) == (
        "build",
        tmp_path,
        "HC",
        tmp_path / "norm",
    )


def test_a_comparison_becomes_nodes(scene: Any, nodes: tuple[Any, Any], files: dict[str, Path]) -> None:
    t1, pet = nodes
    own = add_norm_result(scene, files, t1, pet)
    z = scene.GetNodeByID(own.z)
    assert z.GetName().startswith("z of PET") and z.GetAttribute("MRI2PET.Demonstration") == "true"
    assert z.GetDisplayNode().GetWindowLevelMin() == -5.0 == -z.GetDisplayNode().GetWindowLevelMax()
    assert np.unique(sitk.GetArrayFromImage(image_of(z))).tolist() == [NO_VALUE, -5.0]
    titles, rows = table_cells(scene.GetNodeByID(own.regions))
    assert titles[:3] == ["region", "z", "percentile"] and rows[0][1] == "-5.00"
    assert rows[0][-1] == "21 coordinate regions"
    assert [row[0] for row in rows] == [
        "left putamen",
        "brainstem",
    ]  # the farthest first, without those that lack z
    assert norm_summary(scene, own) == "Farthest region: left putamen, z -5.0, unconditional z -2.5."
    titles, rows = table_cells(scene.GetNodeByID(own.clusters))
    cluster = dict(zip(titles, rows[0]))
    assert (cluster["map"], cluster["regions"]) == ("z by the T1", "left putamen")
    assert scene.GetNodeByID(own.report).GetText() == "<html>report</html>"
    assert own == norm_nodes(scene, own.z) and norm_nodes(scene, t1.GetID()) is None
    assert norm_result(scene, t1, pet) == own and norm_result(scene, t1, None) is None
    assert norm_result(scene, pet, pet) is None  # by another T1
    for role in ("z", "z_unconditional"):  # measured, but no image to begin with
        map_of_z = scene.GetNodeByID(getattr(own, role))
        assert may_be_t1(t1) and not may_be_t1(map_of_z)
        for first, second, what in ((map_of_z, pet, "T1"), (t1, map_of_z, "PET")):
            lights = {check.name: check for check in checks_of_nodes(first, second)}
            assert lights["origin"].level == "refuse"
            assert lights["origin"].message.startswith(f"The {what} is a map of results, ")
        with pytest.raises(InputError, match="map of results"):
            write_pet(map_of_z, files["z"].with_name("PET.nrrd"), "SUV")
    again = add_norm_result(scene, files, t1, pet, "/norms/pbr28, age=67")
    assert norm_summary(scene, again).endswith("unconditional z -2.5. By /norms/pbr28, age=67.")
    assert norm_result(scene, t1, pet) == again  # the last one
    show_norm_result(scene, own)
    show_norm_result(scene, own, conditional=False)
    assert jump_to_peak(scene, own) == (-36.0, -56.0, -32.0)


def test_colours_are_symmetric_and_opaque_at_zero(
    scene: Any, nodes: tuple[Any, Any], files: dict[str, Path]
) -> None:
    own = add_norm_result(scene, files, *nodes)
    display = scene.GetNodeByID(own.z).GetDisplayNode()
    colors, first, last = display.GetColorNode(), [0.0] * 4, [0.0] * 4
    colors.GetColor(0, first)
    colors.GetColor(colors.GetNumberOfColors() - 1, last)
    assert first[2] > 0.5 > first[0] and last[0] > 0.5 > last[2]
    colors.GetColor(colors.GetNumberOfColors() // 2, first)
    assert first[3] == 1 and min(first[:3]) > 0.95
    assert (
        display.GetColorNodeID() == scene.GetNodeByID(own.z_unconditional).GetDisplayNode().GetColorNodeID()
    )


def test_files_of_something_else_leave_the_scene_as_it_was(
    scene: Any, nodes: tuple[Any, Any], files: dict[str, Path]
) -> None:
    files["score"].write_text("{}")
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="not the files of a comparison"):
        add_norm_result(scene, files, *nodes)
    assert scene.GetNumberOfNodes() == before


def test_what_is_missing_is_said(scene: Any, nodes: tuple[Any, Any], tmp_path: Path) -> None:
    t1, pet = nodes
    assert "folder of a norm" in missing_for_norm(None, t1, pet)
    assert "holds no norm" in missing_for_norm(tmp_path, t1, pet)
    (tmp_path / "norm.json").write_text("{}")
    assert "Choose a T1" in missing_for_norm(tmp_path, t1, None)
    assert "same volume" in missing_for_norm(tmp_path, t1, t1)
    assert missing_for_norm(tmp_path, t1, pet) == ""
    assert "finished" in missing_for_build(tmp_path) and norm_of_run(tmp_path) is None
    (tmp_path / "predictions.csv").write_text("case\n")
    (tmp_path / "norm").mkdir()
    (tmp_path / "norm" / "norm.json").write_text("{}")
    assert missing_for_build(tmp_path) == "" and norm_of_run(tmp_path) == tmp_path / "norm"


def test_of_whom_a_norm_of_a_run_can_be(tmp_path: Path) -> None:
    """People, not scans; a group is one in any case."""
    assert groups_of_run(None) == groups_of_run(tmp_path) == RunGroups({})
    table = tmp_path / "predictions.csv"
    table.write_text("case,subject,group\na1,a,hc\na2,a,HC\nb,b,HC\nc,c,AD\n")
    groups = groups_of_run(tmp_path)
    assert sorted(groups.people.values()) == [1, 2] and groups.controls.lower() == "hc"
    assert groups.too_few(groups.controls) == "There are 2 controls; a norm needs 10 or more. Add controls."
    assert groups.too_few(None).startswith("There are 3 controls")
    assert RunGroups({"HC": 10}, "HC", 10).too_few("HC") == RunGroups({}, "", 10).too_few(None) == ""
    table.write_text("case,subject,group\na,a,\n")
    assert groups_of_run(tmp_path) == RunGroups({}, "", 1)
    table.write_text("case,subject,group\na,a,MCI\nb,b,AD\n")
    assert groups_of_run(tmp_path) == RunGroups({"AD": 1, "MCI": 1}, None, 2)
    table.write_text("nothing")
    assert groups_of_run(tmp_path) == RunGroups({})
