"""A BIDS App: synthesise a PET for each T1 of a BIDS dataset, on a laptop or as an array of a cluster's jobs.

`participant` works on the people, sessions or part that are named, as `synthesize` does; any number of
processes and computers may share the output folder. `group` makes the table and the page of all cases."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.synthesis.bids_selection import BidsPets, BidsSelection
from MRI2PETLib.synthesis.settings import SynthesisSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from MRI2PETLib.synthesis.batch import Status
    from MRI2PETLib.synthesis.cases import Case

HELP = "a BIDS App: a dataset, a part of it on one node of a cluster, and a page of all cases"
_LEVELS = ("participant", "group")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bids_dir", type=Path, metavar="BIDS", help="root of the dataset of T1s")
    parser.add_argument("output_dir", type=Path, metavar="OUT", help="where results go: a BIDS derivative")
    parser.add_argument("level", choices=_LEVELS, help="work on people, or gather what was done")
    BidsSelection.add_to(parser)
    SynthesisSettings.add_to(parser)
    BidsPets.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    return (_participant if args.level == "participant" else _group)(args, reporter)


def _participant(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.case_loop import exit_code
    from MRI2PETLib.jobs.side_by_side import number_of_workers
    from MRI2PETLib.models.store import find_bundle
    from MRI2PETLib.synthesis.bids_selection import add_pets, select_cases, use_work_folder

    settings, selection, pets = SynthesisSettings.of(args), BidsSelection.of(args), BidsPets.of(args)
    since = time.time()
    bundle = find_bundle(settings.model)
    cases = add_pets(select_cases(args.bids_dir, selection), pets, bundle.tracer, reporter.warning)
    use_work_folder(selection.work)
    workers = number_of_workers(selection.nprocs, len(cases), selection.mem_gb, reporter.warning)
    if workers > 1:
        _side_by_side(args, selection, settings, workers, reporter)
    elif bundle.is_demonstration:
        reporter.warning(f"{bundle.id} is a DEMONSTRATION model: {bundle.metadata['description']}")
    rows = _work(cases, args, settings, selection, reporter, since)
    reporter.close()
    for row in rows:
        reporter.say(f"{row.case}: {row.status}" + (f" -> {row.pet}" if row.pet else f" ({row.message})"))
    code = exit_code([f"{r.message} {r.hint}".strip() for r in rows if r.status == "failed"], len(rows))
    if code == 0:
        reporter.result({"output": args.output_dir, "cases": [vars(row) for row in rows]})
    return code


def _work(
    cases: Sequence[Case],
    args: argparse.Namespace,
    settings: SynthesisSettings,
    selection: BidsSelection,
    reporter: Reporter,
    since: float,
) -> list[Status]:
    """All cases in this process; what others have done meanwhile is kept."""
    from MRI2PETLib.models.store import find_bundle
    from MRI2PETLib.reports.synthesis import CaseReport
    from MRI2PETLib.synthesis.batch import run_batch

    bundle = find_bundle(settings.model)
    report = CaseReport(bundle, reporter)
    return run_batch(
        cases,
        bundle,
        args.output_dir,
        settings,
        reporter=reporter,
        addition=report,
        table=not selection.part,
        since=since,
    )


def _side_by_side(
    args: argparse.Namespace,
    selection: BidsSelection,
    settings: SynthesisSettings,
    workers: int,
    reporter: Reporter,
) -> None:
    """The same command in several processes: each takes the next case that nobody has claimed."""
    from dataclasses import replace

    from MRI2PETLib.jobs.side_by_side import run_side_by_side

    alone = replace(selection, nprocs=1)
    command = [
        *("bids", str(args.bids_dir), str(args.output_dir), "participant"),
        *alone.arguments(),
        *settings.arguments(),
        *BidsPets.of(args).arguments(),
    ]
    run_side_by_side(command, workers, args.output_dir, reporter, temporary=selection.work)


def _group(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.reports.group_page import write_group
    from MRI2PETLib.synthesis.bids_selection import select_cases

    cases = select_cases(args.bids_dir, BidsSelection.of(args))
    files = write_group(args.output_dir, cases, reporter)
    reporter.close()
    for path in files.values():
        reporter.say(str(path))
    reporter.result({"files": files})
    return 0
