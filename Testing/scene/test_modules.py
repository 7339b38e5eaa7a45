"""The module files without Slicer's application: they import, cost nothing heavy, and their logic runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from bundles import tiny_bundle  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = sorted(p.stem for p in REPOSITORY.glob("MRI2PET*/MRI2PET*.py") if p.parent.name == p.stem)
HEAVY = ["torch", "monai", "nibabel", "lightning", "pandas", "matplotlib", "sklearn", "pydicom"]
START = f"""
import sys
sys.path[:0] = [{str(REPOSITORY / "Testing" / "scene")!r}, {str(REPOSITORY / "Testing" / "library")!r}]
from pathlib import Path
from bootstrap import bootstrap
from module_standins import install
application = bootstrap(Path(sys.argv[1]))
install(application.scene)
"""


def run(code: str, folder: Path, *arguments: str) -> str:
    """In a process of its own: the stand-ins must not leak into other tests."""
    done = subprocess.run(
        [sys.executable, "-c", START + code, str(folder), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_with_everything_heavy_blocked(module: str, tmp_path: Path) -> None:
    """Module, parameter node and logic; also what the window asks for before anything runs."""
    code = f"""
for name in {HEAVY}:
    sys.modules[name] = None  # importing it raises
import {module} as file
class Parent: pass
file.{module}(Parent())
logic = file.{module}Logic()
node = logic.getParameterNode()
print(logic.missing(node))
"""
    assert run(code, tmp_path).strip().endswith(".")


def test_the_logic_of_synthesis_runs_on_nodes(tmp_path: Path) -> None:
    """As in the Python console of Slicer: a T1 node in, IDs of nodes out; and with a callback."""
    model = tiny_bundle(tmp_path / "tiny").folder
    code = """
import slicer, MRI2PETSynthesis
from MRI2PETLib.scene.files import choose_unit
from MRI2PETLib.scene.images import add_volume
from MRI2PETLib.scene.inputs import checks_of_nodes
from MRI2PETLib.simulation import simulate_subject
person = simulate_subject(3, spacing_mm=3.0)
t1 = add_volume(slicer.mrmlScene, person.t1, "anna")
mask = add_volume(slicer.mrmlScene, person.brain_mask, "mask", labels=True)
logic = MRI2PETSynthesis.MRI2PETSynthesisLogic()
nodes = logic.synthesize(t1, maskNode=mask, model=sys.argv[2], device="cpu")
print(slicer.mrmlScene.GetNodeByID(nodes.pet).GetName())
node = logic.getParameterNode()
assert logic.missing(node) == "Choose a T1."
node.t1, node.model, node.mask = t1, sys.argv[2], mask
assert logic.missing(node) == "" and "no synthetic PET" in logic.missing(node, compareOnly=True)
node.pet = t1
assert "same volume" in logic.missing(node)
request = logic.request(node)
assert request.t1 == t1.GetID() and request.pet_unit is None and request.atlas_space == "native"
assert request.settings.model == sys.argv[2] and request.settings.precision == "fp32"
assert request.window is None and request.settings.steps == 0
node.task = "PET to MR and SUVR"
node.pet = None
logic.keepImages(node)
assert (node.suvrPet, node.suvrT1) == (None, None)  # the T1 may have been chosen for the user
node.pet = mask
logic.keepImages(node)
assert (node.suvrPet, node.suvrT1) == (mask, t1)
node.task, node.t1, node.pet = "T1 to PET", None, None
logic.keepImages(node)
assert (node.t1, node.pet) == (t1, mask)
node.t1, node.pet, node.result = mask, None, t1
logic.keepImages(node)
assert node.t1 is mask  # another person's result is shown
node.t1, node.result = t1, None
node.pet, node.window, node.steps = None, "50-", 12
assert "is not a window of frames" in logic.missing(node)
node.window = "90-60"
assert "has no length" in logic.missing(node)
node.window = "50-70"
request = logic.request(node)
assert logic.missing(node) == "" and request.window == (50, 70) and request.settings.steps == 12
assert logic.normRequest(node, Path("norm")).settings.window == (50, 70)
logic._startOrWait, wait = lambda request, onFinished: request, logic._startOrWait
score = logic.compareWithNorm(t1, t1, "norm", maskNode=mask, window=(50, 70), device=node.device)
assert score.settings == logic.normRequest(node, Path("norm")).settings
assert (score.t1, score.mask, score.norm) == (t1.GetID(), mask.GetID(), Path("norm"))
logic._startOrWait = wait
assert logic.inputs(node) == (t1, mask, None, None)
node.pet = add_volume(slicer.mrmlScene, person.pet, "pet")
assert logic.missing(node).startswith("Choose the unit of the PET")
lights = {check.name: check for check in checks_of_nodes(node.t1, node.pet)}
assert lights["PET unit"].level == "refuse" and "looks like" in lights["PET unit"].message
lights = {check.name: check for check in checks_of_nodes(t1, t1)}
assert lights["PET image"].level == "refuse" and "same volume" in lights["PET image"].message
choose_unit(node.pet, "unknown")
assert logic.missing(node) == "" and logic.request(node).pet_unit == "unknown"
first = node.pet  # what was said of it is not said of another one
node.pet = add_volume(slicer.mrmlScene, person.pet, "another")
assert logic.missing(node).startswith("Choose the unit of the PET") and logic.inputs(node)[3] is None
node.pet = node.suvrPet = first
assert logic.inputs(node)[3] == logic.suvrRequest(node).pet_unit == "unknown"
choose_unit(node.pet, None)
node.pet.SetAttribute("MRI2PET.Unit", "SUV")
assert logic.missing(node) == "" and logic.request(node).pet_unit is None
node.output = slicer.mrmlScene.GetNodeByID(nodes.pet)
assert logic.missing(node) == ""
node.t1 = add_volume(slicer.mrmlScene, person.t1, "bert")
assert "of another T1, anna" in logic.missing(node) and logic.otherT1(node.output, node.t1) == "anna"
try:
    logic.synthesize(t1, model="nowhere")
except Exception as error:
    print(error)
"""
    printed = run(code, tmp_path, str(model))
    assert "synthetic PBR28 PET (SUVR) of anna" in printed and "There is no model 'nowhere'" in printed


def test_mask_and_atlas_of_a_former_t1_are_not_those_of_the_next(tmp_path: Path) -> None:
    """They were another person's; an atlas in MNI space is everybody's, and a scene brings its own mask."""
    code = """
import slicer, MRI2PETSynthesis
from MRI2PETLib.scene.images import add_volume
from MRI2PETLib.simulation import simulate_subject
person = simulate_subject(3, spacing_mm=6.0)
anna, bert = (add_volume(slicer.mrmlScene, person.t1, name) for name in ("anna", "bert"))
mask = add_volume(slicer.mrmlScene, person.brain_mask, "mask", labels=True)
widget = MRI2PETSynthesis.MRI2PETSynthesisWidget()
widget.logic = MRI2PETSynthesis.MRI2PETSynthesisLogic()
node = widget.logic.getParameterNode()
for former, t1, in_mni, stays in (
    (None, anna, False, True),  # a mask that was chosen before any T1, or a scene that is opened
    (anna, anna, False, True),
    (anna, bert, False, False),
    (anna, bert, True, False),
    (anna, None, False, False),
):
    widget._t1Id = former and former.GetID()
    node.t1, node.mask, node.atlas, node.atlasInMni = t1, mask, mask, in_mni
    widget._followT1(node)
    assert (node.mask is mask, node.atlas is mask) == (stays, stays or in_mni), (former, t1)
    assert widget._t1Id == (t1 and t1.GetID())
widget._t1Id, node.t1, node.mask = anna.GetID(), bert, mask
slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
widget._followT1(node)
assert node.mask is mask and slicer.mrmlScene.IsImporting()
slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
"""
    run(code, tmp_path)


def test_the_logic_measures_suvr_on_nodes(tmp_path: Path) -> None:
    """What the window asks for, and a refusal that reaches the caller."""
    code = """
import slicer, MRI2PETSynthesis
from MRI2PETLib.scene.images import add_volume
from MRI2PETLib.simulation import simulate_subject
person = simulate_subject(3, spacing_mm=4.0)
logic = MRI2PETSynthesis.MRI2PETSynthesisLogic()
node = logic.getParameterNode()
assert logic.missingForSuvr(node) == "Choose a PET."
node.suvrPet = node.suvrT1 = add_volume(slicer.mrmlScene, person.pet, "anna PET")
assert "same volume" in logic.missingForSuvr(node)
node.suvrT1 = None
assert logic.missingForSuvr(node) == ""
request = logic.suvrRequest(node)
chosen = request.settings
assert chosen.reference == "*cerebellum*" and chosen.model is None and chosen.composite is None
node.suvrWindow = "sixty"
assert "is not a window of frames" in logic.missingForSuvr(node)
node.suvrWindow = "50 70"
assert logic.missingForSuvr(node) == "" and logic.suvrRequest(node).window == (50, 70)
node.suvrReference = " "
assert "reference region" in logic.missingForSuvr(node)
try:
    logic.measureSuvr(node.suvrPet, reference="pons", device="cpu")
except Exception as error:
    print(type(error).__name__, error)
"""
    printed = run(code, tmp_path)
    assert printed.startswith("InputError") and "has no region 'pons'" in printed
