"""Compare synthetic with real PET: one case, a cross-validation run, or a list of pairs.

The output folder gets the tables (JSON, CSV), the maps of a single case with the aligned real PET
(real.nii.gz) and the labels of the regions (regions/), a picture and a report (report.html) that opens from
disk in any browser. The network always stands beside its baselines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings

if TYPE_CHECKING:
    from MRI2PETLib.evaluation.cohort_cases import CohortCase
    from MRI2PETLib.templates.regions import Parcellation

HELP = "synthetic against real PET: one case or a cohort, with baselines and a report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    one = parser.add_argument_group("one case")
    CasePaths.add_to(one, required=False)
    many = parser.add_argument_group("a cohort")
    many.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="DIR",
        help="folder of a cross-validation run (predictions.csv)",
    )
    many.add_argument(
        "--pairs", type=Path, metavar="CSV", help="table of pairs with the columns of predictions.csv"
    )
    many.add_argument(
        "--against",
        type=Path,
        metavar="DIR|CSV",
        help="another run or table of pairs of the same people in the same folds: differences person by "
        "person, with intervals and tests",
    )
    EvaluationSettings.add_to(parser.add_argument_group("both"))


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.core.files import output_folder
    from MRI2PETLib.reports.evaluation import read_atlases

    single = args.synthetic is not None or args.pet is not None
    if single + (args.run_folder is not None) + (args.pairs is not None) != 1:
        raise InputError(
            "Say what to evaluate.",
            "Give --synthetic S --pet R (one case), or --run DIR, or --pairs CSV: one of the three.",
        )
    if single and (args.synthetic is None or args.pet is None):
        raise InputError("One of --synthetic and --pet is missing.", "Give both.")
    settings = EvaluationSettings.of(args)
    if single and (settings.covariates or settings.equivalence_margin is not None):
        raise InputError(
            "--covariates and --equivalence-margin are about many people.", "Leave them out for one case."
        )
    for name in ("fid", "against", "mni"):
        if single and getattr(args, name) not in (None, False):
            raise InputError(f"--{name} is about a set of people.", "Leave it out, or give a cohort.")
    atlases = read_atlases(settings, reporter.warning)
    output_folder(args.output)
    return (_one if single else _cohort)(args, settings, atlases, reporter)


def _one(
    args: argparse.Namespace, settings: EvaluationSettings, atlases: list[Parcellation], reporter: Reporter
) -> int:
    from MRI2PETLib.reports.evaluation import evaluate_pair

    result = evaluate_pair(CasePaths.of(args), settings, atlases, args.output, reporter)
    reporter.progress(1, 1, "done")
    reporter.close()
    reporter.say(f"Report: {result['files']['report']}")
    reporter.result(result)
    return 0


def _cohort(
    args: argparse.Namespace, settings: EvaluationSettings, atlases: list[Parcellation], reporter: Reporter
) -> int:
    from MRI2PETLib.core.case_loop import exit_code
    from MRI2PETLib.evaluation.against import Against
    from MRI2PETLib.reports.evaluation import evaluate_table

    table, cases = _cases(args.pairs if args.run_folder is None else args.run_folder, reporter)
    against = None
    if args.against is not None:
        other, others = _cases(args.against, reporter)
        against = Against(others, _names(table, other))
    title = f"Cohort {table.parent.resolve().name}"
    cohort = evaluate_table(table, title, cases, settings, atlases, args.output, reporter, against)
    reporter.close()
    for line in cohort.pop("lines"):
        reporter.say(line)
    reporter.say(f"Report: {cohort['files']['report']}")
    reporter.result(cohort)
    return exit_code(list(cohort["failed"].values()), cohort["scans"] + len(cohort["failed"]))


def _cases(path: Path, reporter: Reporter) -> tuple[Path, list[CohortCase]]:
    """The table of a run or of pairs, and its cases."""
    from MRI2PETLib.evaluation.cohort_cases import PREDICTIONS, read_pairs, read_run_scans

    if path.is_dir():
        return path / PREDICTIONS, read_run_scans(path, reporter)
    return path, read_pairs(path, reporter)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What tells two tables apart: their folders, else their files, else their whole paths."""
    one, two = first.resolve(), second.resolve()
    names = [(one.parent.name, two.parent.name), (one.stem, two.stem), (str(one), str(two))]
    return next((pair for pair in names if pair[0] != pair[1]), names[-1])
