"""--window and --realign-frames reach every place where the frames of a real PET are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import SimpleITK as sitk

from evaluation_cases import like, real_suvr, write_subject
from MRI2PETLib.cli import build_parser
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.models.store import find_bundle
from MRI2PETLib.reports.synthesis import CaseReport
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.suvr.case import measure_suvr
from MRI2PETLib.suvr.files import suvr_request
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings
from MRI2PETLib.suvr.setup import read_setup
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.settings import CaseInputs
from MRI2PETLib.templates import CORTICAL_SPHERES

pytestmark = pytest.mark.usefixtures("quick_registration")

LEVELS = (2.0, 1.0, 3.0)  # of the frames 50-60, 60-75 and 75-90 min
OPTIONS = ["--window", "50", "60", "--realign-frames", "--pet-unit", "kBq/mL"]


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return simulate_subject(12, spacing_mm=4.0)


@pytest.fixture(scope="module")
def files(subject: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A person's images, and a dynamic PET on the grid of the T1: one pattern at three levels."""
    folder = tmp_path_factory.mktemp("case")
    result = write_subject(folder, subject)
    still = like(real_suvr(subject), subject.t1)
    sitk.WriteImage(sitk.JoinSeries([still * level for level in LEVELS]), str(folder / "dynamic.nii.gz"))
    times = {"FrameTimesStart": [3000, 3600, 4500], "FrameDuration": [600, 900, 900]}
    write_json(folder / "dynamic.json", {"Units": "SUVR", "TracerName": "[11C]PBR28", **times})
    return {**result, "dynamic": folder / "dynamic.nii.gz"}


def test_every_command_takes_the_same_options() -> None:
    for arguments, kind in (
        (["synthesize", "T1.nii", "-o", "out"], CaseInputs),
        (["check", "T1.nii"], CaseInputs),
        (["evaluate", "-o", "out"], EvaluationSettings),
        (["suvr", "PET.nii", "-o", "out", "--atlas", "a", "--reference", "r"], SuvrPaths),
    ):
        parsed = build_parser().parse_args([*arguments, *OPTIONS])
        own = SuvrPaths.of(parsed, pet=parsed.pet) if kind is SuvrPaths else kind.of(parsed)
        settings = cast(Any, own)
        assert (settings.window, settings.realign_frames, settings.pet_unit) == ((50, 60), True, "kBq/mL")
        assert settings.arguments()[-5:-3] == OPTIONS[:2] or "--window" in settings.arguments()
    parsed = build_parser().parse_args(["train", "data", "-o", "run", *OPTIONS[:4]])
    assert (parsed.window, parsed.realign_frames) == ([50, 60], True)


@pytest.mark.parametrize(
    ("window", "level"), [(None, 2.0), ((50, 60), 2.0), ((60, 75), 1.0), ((75, 90), 3.0)]
)
def test_evaluation(
    subject: SimulatedSubject, files: dict[str, Path], window: tuple[float, float] | None, level: float
) -> None:
    """The window of the tracer is 60 to 90 min: the mean of the levels 1 and 3."""
    paths = CasePaths(files["synthetic"], files["dynamic"], files["T1"])
    case = load_case(paths, EvaluationSettings(window=window))
    inside = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    assert sitk.GetArrayFromImage(case.real)[inside].mean() == pytest.approx(level, rel=1e-4)
    about = case.provenance["real"]
    assert about["window_min"] == list(window or (60, 90))
    codes = [f.code for f in case.verdict.findings if f.code == "window-default"]
    assert codes == (["window-default"] if window is None else [])
    assert ("Ferrante" if window is None else "stated") in about["window_from"]


def test_synthesis(files: dict[str, Path]) -> None:
    for window, realign in (((75.0, 90.0), False), ((50.0, 75.0), True)):
        inputs = CaseInputs(pet=files["dynamic"], window=window, realign_frames=realign)
        case = Case("one", files["T1"], inputs=inputs)
        report = CaseReport(find_bundle("tspo-demo"), Reporter())
        report.read(case)
        about = report._pets[case].metadata
        assert about["window_min"] == list(window) and ("realignment" in about) == realign
    with pytest.raises(InputError, match="only 10.0 of the 20 min from 40 to 60 min"):
        CaseReport(find_bundle("tspo-demo"), Reporter()).read(
            Case("one", files["T1"], inputs=CaseInputs(pet=files["dynamic"], window=(40.0, 60.0)))
        )


def test_suvr(files: dict[str, Path]) -> None:
    setup, _ = read_setup(SuvrSettings(CORTICAL_SPHERES, "*cerebellum*"))
    with pytest.raises(InputError, match="only 10.0 of the 20 min from 40 to 60 min"):
        measure_suvr(SuvrPaths(files["dynamic"], window=(40.0, 60.0)), setup)
    plain, other, realigned = (
        suvr_request(SuvrPaths(files["dynamic"], **about), setup).checksum
        for about in cast(list[dict[str, Any]], [{}, {"window": (50, 60)}, {"realign_frames": True}])
    )
    assert plain != other and plain != realigned  # none of them is kept for the other


def test_quantities_of_a_kinetic_model_are_no_uptake(files: dict[str, Path]) -> None:
    """VT over a mean is no SUVR: refused wherever a ratio is formed, compared where both are VT."""
    setup, _ = read_setup(SuvrSettings(CORTICAL_SPHERES, "*cerebellum*"))
    with pytest.raises(InputError, match="The PET is in VT, a quantity of a kinetic model"):
        measure_suvr(SuvrPaths(files["real"], pet_unit="VT"), setup)
    inputs = CaseInputs(pet=files["real"], pet_unit="BPND")
    with pytest.raises(InputError, match="The PET is in BPND"):
        CaseReport(find_bundle("tspo-demo"), Reporter()).read(Case("one", files["T1"], inputs=inputs))
    paths = CasePaths(files["synthetic"], files["real"], files["T1"])
    with pytest.raises(InputError, match="The PET is in VT"):
        load_case(paths, EvaluationSettings(pet_unit="VT", to_synthetic_unit=True))
    with pytest.raises(InputError, match="in SUVR, the real one in VT: they cannot be compared"):
        load_case(paths, EvaluationSettings(pet_unit="VT"))
    assert load_case(paths, EvaluationSettings(pet_unit="VT", synthetic_unit="VT")).unit == "VT"


def test_frames_of_one_pattern_do_not_move(files: dict[str, Path]) -> None:
    from MRI2PETLib.preprocessing.pet import read_pet

    pet = read_pet(files["dynamic"], window_min=(50, 90), realign_frames=True)
    still = read_pet(files["dynamic"], window_min=(50, 90))
    assert pet.metadata["realignment"]["mean_displacement_mm"] < 0.05
    apart = np.abs(sitk.GetArrayFromImage(pet.image) - sitk.GetArrayFromImage(still.image))
    assert apart.max() < 0.1
