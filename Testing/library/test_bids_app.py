"""The BIDS App: which cases a process works on, and processes side by side."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import pytest

from bundles import tiny_bundle
from MRI2PETLib.cli import build_parser, main
from MRI2PETLib.commands import bids
from MRI2PETLib.commands.bids import ANALYSES
from MRI2PETLib.core.errors import EXIT_PARTIAL, Cancelled, InputError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import write_image
from MRI2PETLib.jobs import side_by_side
from MRI2PETLib.jobs.side_by_side import number_of_workers, run_side_by_side
from MRI2PETLib.simulation.subject import simulate_subject
from MRI2PETLib.synthesis.batch import SYNTHESIS
from MRI2PETLib.synthesis.bids_selection import (
    BidsPets,
    BidsSelection,
    add_pets,
    block_of,
    has_pet,
    pet_of_session,
    select_cases,
    sessions_without_t1,
)
from MRI2PETLib.synthesis.settings import SynthesisSettings


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    for name in (
        "sub-01/ses-a/anat/sub-01_ses-a_T1w",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w",
        "sub-02/anat/sub-02_T1w",
        "sub-03/ses-a/anat/sub-03_ses-a_T1w",
    ):
        (root / name).parent.mkdir(parents=True)
        (root / f"{name}.nii.gz").touch()
    return root


def names(dataset: Path, *options: str) -> list[str]:
    parser = argparse.ArgumentParser()
    BidsSelection.add_to(parser)
    return [case.name for case in select_cases(dataset, BidsSelection.of(parser.parse_args(options)))]


def test_people_sessions_and_parts(dataset: Path) -> None:
    everybody = ["sub-01_ses-a", "sub-01_ses-b", "sub-02", "sub-03_ses-a"]
    assert names(dataset) == everybody
    assert names(dataset, "--participant-label", "sub-03", "01") == [everybody[n] for n in (0, 1, 3)]
    assert names(dataset, "--participant-label", "02", "--participant-label", "03") == everybody[2:]
    assert names(dataset, "--session-label", "a") == [everybody[0], everybody[3]]
    assert names(dataset, "--participant-label", "01", "--session-label", "ses-b") == everybody[1:2]
    assert sum((names(dataset, "--part", f"{n}/3") for n in (1, 2, 3)), []) == everybody


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--participant-label", "01", "09"], "has no sub-09.*participant-label"),
        (["--participant-label", "../x"], "is no label of BIDS"),
        (["--session-label", "c"], "is of ses-c"),
        (["--part", "0/3"], "from 1 to N"),
        (["--part", "4/3"], "from 1 to N"),
        (["--part", "half"], "from 1 to N"),
    ],
)
def test_what_is_not_there(dataset: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        names(dataset, *options)
    assert re.search(message, f"{caught.value.message} {caught.value.hint}")


def test_people_who_were_named_and_have_no_t1_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "raw/sub-09/pet").mkdir(parents=True)
    (tmp_path / "raw/sub-09/pet/sub-09_pet.nii.gz").touch()
    with pytest.raises(InputError, match=r"sub-09 of .*raw: no T1"):
        select_cases(tmp_path / "raw", BidsSelection(participant_label=("09",)))
    (tmp_path / "raw/sub-01/anat").mkdir(parents=True)
    (tmp_path / "raw/sub-01/anat/sub-01_T1w.nii.gz").touch()
    warnings: list[str] = []
    selection = BidsSelection(participant_label=("09", "01"))
    cases = select_cases(tmp_path / "raw", selection, warn=warnings.append)
    assert [case.name for case in cases] == ["sub-01"]
    assert warnings == ["No T1 (anat/*_T1w), left out: sub-09."]


def test_the_pet_of_a_session_is_that_of_the_model_s_tracer(tmp_path: Path) -> None:
    for name in (
        "sub-1/ses-a/anat/sub-1_ses-a_T1w",
        "sub-1/ses-a/pet/sub-1_ses-a_trc-FDG_pet",
        "sub-1/ses-a/pet/sub-1_ses-a_trc-pbr28_run-1_pet",
        "sub-1/ses-a/pet/sub-1_ses-a_trc-pbr28_run-2_pet",
        "sub-2/anat/sub-2_T1w",
        "sub-2/pet/sub-2_pet",
        "sub-3/anat/sub-3_T1w",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.nii.gz").touch()
    cases, listener = select_cases(tmp_path, BidsSelection()), Listener()
    assert add_pets(cases, BidsPets(), "PBR28", listener.warning) == cases
    pets = BidsPets(with_pet=True, pet_unit="SUV", register="header")
    with_pets = add_pets(cases, pets, "PBR28", listener.warning)
    paths = [case.inputs.pet and case.inputs.pet.name for case in with_pets]
    assert paths == ["sub-1_ses-a_trc-pbr28_run-1_pet.nii.gz", "sub-2_pet.nii.gz", None]
    assert (with_pets[0].inputs.pet_unit, with_pets[0].inputs.register) == ("SUV", "header")
    assert listener.warnings == [f"sub-1_ses-a has 2 PETs: {paths[0]} is used."]
    add_pets(cases[2:], pets, "PBR28", listener.warning)
    assert "nothing is compared" in listener.warnings[-1]
    parts = [select_cases(tmp_path, BidsSelection(part=f"{n}/2"), has_pet) for n in (1, 2)]
    assert [[case.name for case in part] for part in parts] == [["sub-1_ses-a"], ["sub-2"]]
    first = tmp_path / "sub-1/ses-a/pet/sub-1_ses-a_trc-FDG_pet.nii.gz"
    assert pet_of_session(cases[0], "", listener.warning) == first
    write_json(sidecar_path(first), {"Synthetic": True})  # of an output in the dataset itself
    assert pet_of_session(cases[0], "FDG", listener.warning) == with_pets[0].inputs.pet


def test_sessions_with_a_pet_and_no_t1(tmp_path: Path) -> None:
    for name in (
        "1/ses-a/anat/x_T1w",
        "1/ses-a/pet/x_pet",
        "1/ses-b/pet/x_pet",
        "2/pet/x_pet",
        "3/anat/x_T1w",
    ):
        (tmp_path / f"sub-{name}").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"sub-{name}.nii.gz").touch()
    assert sessions_without_t1(tmp_path, BidsSelection()) == ["sub-1/ses-b", "sub-2"]
    assert sessions_without_t1(tmp_path, BidsSelection(participant_label=("2",))) == ["sub-2"]
    assert sessions_without_t1(tmp_path, BidsSelection(session_label=("ses-b",))) == ["sub-1/ses-b"]


def test_blocks_are_all_cases_once_and_of_equal_size() -> None:
    for count in (1, 2, 7, 60, 61):
        for number in (*range(1, count + 1), count + 3):
            blocks = [block_of(list(range(count)), f"{n + 1}/{number}") for n in range(number)]
            assert sum(blocks, []) == list(range(count))
            assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize("analysis", ["synthesize", "suvr"])
def test_an_empty_block_is_no_failure_and_writes_nothing(
    analysis: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, output = tmp_path / "raw", tmp_path / "out"
    for kind, name in (("anat", "sub-01_T1w"), ("pet", "sub-01_pet")):
        (raw / "sub-01" / kind).mkdir(parents=True)
        (raw / "sub-01" / kind / f"{name}.nii.gz").touch()
    more = {
        "synthesize": [f"--model={tiny_bundle(tmp_path / 'model').folder}"],
        "suvr": ["--atlas=cortical-spheres", "--reference=*cerebellum*"],
    }
    line = ["bids", str(raw), str(output), "participant", f"--analysis={analysis}", *more[analysis]]
    assert main([*line, "--part=2/2", "--nprocs=2", "--progress=none"]) == 0
    streams = capsys.readouterr()
    assert streams.out == "Nothing to do in block 2/2: there are fewer cases than blocks.\n"
    assert not streams.err
    assert not output.exists()


def test_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"1")
    with pytest.raises(InputError, match="holds no sub-"):
        select_cases(tmp_path, BidsSelection())


def test_every_option_of_synthesize_is_one_of_bids_and_reaches_the_processes() -> None:
    settings = SynthesisSettings(model="m", samples=3, seed=5, device="cpu", precision="bf16", dicom=True)
    selection = BidsSelection(participant_label=("01", "02"), part="1/2", work=Path("w"), mem_gb=3.5)
    pets = BidsPets(with_pet=True, window=(60.0, 90.0), register="rigid")
    plain = build_parser().parse_args(["bids", "in", "out", "participant"])
    line = ["bids", "in", "out", "participant", *selection.arguments()]
    line += ANALYSES.arguments(plain, [settings, pets])
    parsed = build_parser().parse_args(line)
    assert BidsSelection.of(parsed) == selection
    assert ANALYSES.of(parsed) == [settings, pets]


def test_as_many_processes_as_cases_and_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    assert number_of_workers(4, 9, 1.6, 8.0, listener.warning) == 4
    assert number_of_workers(4, 3, 1.6, 8.0, listener.warning) == 3
    assert not listener.warnings
    assert number_of_workers(4, 9, 1.6, 4.0, listener.warning) == 2
    assert number_of_workers(4, 9, 1.6, 0.2, listener.warning) == 1
    assert listener.warnings[0].startswith("2 of 4 processes run")
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 5.6e9)
    assert number_of_workers(8, 9, 1.6, None, listener.warning) == 3


SAY = """
import json, os, sys, time
def say(event, **content): print(json.dumps({"event": event, **content}), flush=True)
say("warning", message="about all")
say("warning", message=os.environ["OMP_NUM_THREADS"] + " threads")
say("progress", done=1, total=2, stage="work")
if sys.argv[1] == "die": os.kill(os.getpid(), 9)
if sys.argv[1] == "wait": time.sleep(600)
"""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of ``mri2pet`` a script, whose argument says what it does."""
    monkeypatch.setattr(
        side_by_side, "mri2pet_command", lambda arguments, python: [sys.executable, "-c", SAY, *arguments]
    )


def test_each_message_once_and_threads_are_divided(
    scripted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "cores", lambda: 7)
    listener = Listener()
    run_side_by_side(["end"], 3, tmp_path, listener)
    assert sorted(listener.warnings) == ["2 threads", "about all"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_process_that_dies_is_told_of(scripted: None, tmp_path: Path) -> None:
    listener = Listener()
    run_side_by_side(["die"], 2, tmp_path, listener)
    assert any("SIGKILL" in warning and "go to the others" in warning for warning in listener.warnings)


def test_cancelling_leaves_no_process(
    scripted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[side_by_side.Job] = []
    job = side_by_side.Job
    monkeypatch.setattr(side_by_side, "Job", lambda *a, **k: jobs.append(job(*a, **k)) or jobs[-1])

    class Impatient(Reporter):
        def progress(self, done: float, total: float, stage: str) -> None:
            if stage == "work":
                raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        run_side_by_side(["wait"], 2, tmp_path, Impatient())
    assert [job.state for job in jobs] == ["cancelled"] * 2


@pytest.mark.slow
def test_processes_side_by_side_make_what_one_makes(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "model")
    for number in range(3):
        person = simulate_subject(number, spacing_mm=6.0)
        folder = tmp_path / f"raw/sub-{number}/anat"
        folder.mkdir(parents=True)
        write_image(person.t1, folder / f"sub-{number}_T1w.nii.gz")
    (tmp_path / "raw/sub-2/anat/sub-2_run-2_T1w.nii.gz").write_bytes(b"broken")
    more = [f"--model={bundle.folder}", "--device=cpu", "--progress=none"]
    for output, nprocs in (("serial", "1"), ("many", "2")):
        line = ["bids", str(tmp_path / "raw"), str(tmp_path / output), "participant", *more]
        assert main([*line, f"--nprocs={nprocs}"]) == EXIT_PARTIAL
    for path in (tmp_path / "serial").rglob("*.nii.gz"):
        assert (tmp_path / "many" / path.relative_to(tmp_path / "serial")).read_bytes() == path.read_bytes()
    rows = SYNTHESIS.read(tmp_path / "many")
    assert [row.status for row in rows] == ["done", "done", "done", "failed"]
    assert not list((tmp_path / "many").rglob(".*claim"))


def test_a_run_of_which_some_failed_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        SYNTHESIS.status(tmp_path, {"case": "sub-1", "status": "done"}),
        SYNTHESIS.status(tmp_path, {"case": "sub-2", "status": "failed", "message": "No brain."}),
    ]
    monkeypatch.setattr(bids, "_synthesis", lambda *args: bids._Work(2, 1.0, [], lambda since: rows))
    line = ["bids", str(tmp_path), str(tmp_path / "out"), "participant", "--progress=json"]
    assert main(line) == EXIT_PARTIAL
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "result"
    assert [case["status"] for case in event["cases"]] == ["done", "failed"]
