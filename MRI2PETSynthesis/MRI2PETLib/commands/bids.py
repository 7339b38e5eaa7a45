"""A BIDS App: synthesise a PET for each T1 of a BIDS dataset, or read out its real PETs, on a laptop or as an
array of a cluster's jobs.

`participant` works on the people, sessions or part that are named; any number of processes and computers may
share the output folder. `--analysis` says what is done: `synthesize`, or, for sessions with a PET, `suvr`,
`evaluate` or `score` (`normative score`), as those commands do it. `group` makes the tables and the page of
all cases."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from MRI2PETLib.core.alternatives import Alternatives
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.threads import keep_memory
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.normative.settings import ScoreSettings
from MRI2PETLib.suvr.settings import SuvrSettings
from MRI2PETLib.synthesis.bids_selection import BidsNorm, BidsPets, BidsReading, BidsSelection
from MRI2PETLib.synthesis.settings import SynthesisSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from MRI2PETLib.core.case_status import Status
    from MRI2PETLib.core.settings import Settings
    from MRI2PETLib.reports.bids_analysis_base import PetAnalysis

HELP = "a BIDS App: a dataset, a part of it on one node of a cluster, and a page of all cases"
_LEVELS = ("participant", "group")
SYNTHESIZE = "synthesize"
ANALYSES = Alternatives(
    "analysis",
    "what is done; suvr, evaluate and score (normative score) with the sessions that have a PET, evaluate "
    "with the PETs that synthesize has written there",
    {
        SYNTHESIZE: (SynthesisSettings, BidsPets),
        "suvr": (SuvrSettings, BidsReading),
        "evaluate": (EvaluationSettings,),
        "score": (BidsNorm, ScoreSettings),
    },
    # About a set of people: of evaluate --pairs with the table that the level group writes.
    left_out=frozenset({"covariates", "equivalence_margin", "mni", "mni_fwhm_mm", "fid"}),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bids_dir", type=Path, metavar="BIDS", help="root of the dataset of T1s")
    parser.add_argument("output_dir", type=Path, metavar="OUT", help="where results go: a BIDS derivative")
    parser.add_argument("level", choices=_LEVELS, help="work on people, or gather what was done")
    BidsSelection.add_to(parser)
    ANALYSES.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    return (_participant if args.level == "participant" else _group)(args, reporter)


@dataclass(frozen=True)
class _Work:
    """What a run has to do: how many cases, the memory of a process that does them, what was noticed, and how
    this process does those cases that nobody else does, since a time.
    """

    n_cases: int
    process_gb: float
    remarks: list[str]
    run: Callable[[float], list[Status]]


def _participant(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.case_loop import exit_code
    from MRI2PETLib.jobs.side_by_side import number_of_workers, run_side_by_side
    from MRI2PETLib.synthesis.bids_selection import use_work_folder

    keep_memory()
    settings, selection = ANALYSES.of(args), BidsSelection.of(args)
    since = time.time()
    is_synthesis = ANALYSES.work_of(args) == SYNTHESIZE
    work = (_synthesis if is_synthesis else _read_out)(args, settings, selection, reporter)
    if not work.n_cases:  # an array of more tasks than cases is no failure
        reporter.close()
        reporter.say(f"Nothing to do in block {selection.part}: there are fewer cases than blocks.")
        reporter.result({"output": args.output_dir, "cases": []})
        return 0
    use_work_folder(selection.work)
    workers = number_of_workers(
        selection.nprocs, work.n_cases, work.process_gb, selection.mem_gb, reporter.warning
    )
    if workers > 1:  # the same command: each process takes the next case that nobody has claimed
        command = [
            *("bids", str(args.bids_dir), str(args.output_dir), "participant"),
            *replace(selection, nprocs=1).arguments(),
            *ANALYSES.arguments(args, settings),
        ]
        run_side_by_side(command, workers, args.output_dir, reporter, temporary=selection.work)
    else:  # each of several tells it
        for remark in work.remarks:
            reporter.warning(remark)
    rows = work.run(since)
    reporter.close()
    for row in rows:
        where = row.pet if is_synthesis else row.files.get("report", "")
        reporter.say(f"{row.case}: {row.status}" + (f" -> {where}" if where else f" ({row.message})"))
    code = exit_code([f"{r.message} {r.hint}".strip() for r in rows if r.status == "failed"], len(rows))
    reporter.result({"output": args.output_dir, "cases": [row.to_dict() for row in rows]})
    return code


def _synthesis(
    args: argparse.Namespace, made: Sequence[Settings], selection: BidsSelection, reporter: Reporter
) -> _Work:
    from MRI2PETLib.models.store import find_bundle
    from MRI2PETLib.reports.synthesis import CaseReport
    from MRI2PETLib.synthesis.batch import PROCESS_GB, run_batch
    from MRI2PETLib.synthesis.bids_selection import add_pets, select_cases

    settings, pets = made
    assert isinstance(settings, SynthesisSettings) and isinstance(pets, BidsPets)
    bundle = find_bundle(settings.model)
    remarks: list[str] = []
    cases = select_cases(args.bids_dir, selection, warn=remarks.append)
    cases = add_pets(cases, pets, bundle.tracer, remarks.append)
    if bundle.is_demonstration:
        remarks.append(bundle.demonstration_warning)

    def run(since: float) -> list[Status]:
        return run_batch(
            cases,
            bundle,
            args.output_dir,
            settings,
            reporter=reporter,
            addition=CaseReport(bundle, reporter),
            table=not selection.part,
            since=since,
        )

    return _Work(len(cases), PROCESS_GB, remarks, run)


def _read_out(
    args: argparse.Namespace, made: Sequence[Settings], selection: BidsSelection, reporter: Reporter
) -> _Work:
    """An analysis of the real PETs."""
    from MRI2PETLib.reports.bids_analysis_base import run_analysis
    from MRI2PETLib.synthesis.bids_selection import block_of, has_pet, select_cases, sessions_without_t1

    remarks: list[str] = []
    analysis, tracer = _analysis(args, made, reporter, remarks.append)
    cases = select_cases(args.bids_dir, replace(selection, part=""), has_pet, remarks.append)
    if not cases:
        raise InputError(
            f"No session of {args.bids_dir} that was chosen has a T1 and a PET (pet/*_pet).",
            "Check --participant-label and --session-label.",
        )
    if without := sessions_without_t1(args.bids_dir, selection):
        remarks.append(f"{len(without)} sessions with a PET have no T1 and are left out, {without[0]} first.")
    pets = analysis.cases_of(block_of(cases, selection.part), tracer, remarks.append)
    run = partial(run_analysis, pets, analysis, table=not selection.part)
    return _Work(len(pets), analysis.process_gb, remarks, run)


def _analysis(
    args: argparse.Namespace, made: Sequence[Settings], reporter: Reporter, remark: Callable[[str], None]
) -> tuple[PetAnalysis, str]:
    """The analysis, and the tracer of the PETs that it is for; empty for any."""
    from MRI2PETLib.normative.norm_folder import read_norm
    from MRI2PETLib.reports import bids_analysis_kinds
    from MRI2PETLib.reports.evaluation import read_atlases
    from MRI2PETLib.suvr.setup import read_setup

    output, first = args.output_dir, made[0]
    if isinstance(first, SuvrSettings):
        setup, findings = read_setup(first)
        for finding in findings:
            remark(finding.message)
        reading = made[1]
        assert isinstance(reading, BidsReading)
        model = {} if setup.bundle is None else setup.bundle.metadata["source"]
        tracer = reading.tracer or str(model.get("tracer") or "")
        return bids_analysis_kinds.SuvrAnalysis(output, reporter, setup, reading), tracer
    if isinstance(first, EvaluationSettings):
        atlases = read_atlases(first, remark)
        return bids_analysis_kinds.EvaluationAnalysis(output, reporter, first, atlases), ""
    settings = made[1]
    assert isinstance(first, BidsNorm) and isinstance(settings, ScoreSettings)
    norm = read_norm(first.norm)
    for note in norm.about.notes:
        remark(note)
    synthetic = first.with_synthetic
    score = bids_analysis_kinds.ScoreAnalysis(output, reporter, norm, first.norm, settings, synthetic)
    return score, norm.about.tracer


def _group(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.reports.bids_groups import write_analysis_group
    from MRI2PETLib.reports.group_page import write_group
    from MRI2PETLib.synthesis.bids_selection import has_pet, select_cases

    analysis, selection = ANALYSES.work_of(args), BidsSelection.of(args)
    only_these = bool(selection.participant_label or selection.session_label or selection.part)
    if analysis == SYNTHESIZE:
        cases = select_cases(args.bids_dir, selection)
        files = write_group(args.output_dir, cases, reporter, only_these=only_these)
    else:
        cases = select_cases(args.bids_dir, selection, has_pet)
        files = write_analysis_group(args.output_dir, analysis, cases, reporter, only_these=only_these)
    reporter.close()
    for path in files.values():
        reporter.say(str(path))
    reporter.result({"files": files})
    return 0
