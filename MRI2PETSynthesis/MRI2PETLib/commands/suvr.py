"""Measure SUVR by atlas region, with an MRI of the person or without one.

The PET is spatially normalised to MNI space by the person's T1 (--t1), by an MRI that a model synthesises
from the PET (--model), always by a PET template, and by a segmentation of the PET (--pet-segmentation); the
atlas is pulled back to the PET. With a T1 its result is the standard that the others are compared with. A
table of PETs (--cases) gives the agreement over people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings

if TYPE_CHECKING:
    from MRI2PETLib.suvr.case import SuvrSetup

HELP = "SUVR by region: by the MRI, by a synthetic MRI, or by the PET alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pet", nargs="?", type=Path, metavar="PET", help="image or DICOM folder")
    parser.add_argument(
        "--cases", type=Path, metavar="CSV", help="table: case, pet[, subject, t1, mask, group]"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    SuvrPaths.add_to(parser)
    SuvrSettings.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.suvr.setup import read_setup

    if (args.pet is None) == (args.cases is None):
        raise InputError("Say what to measure.", "Give one PET, or --cases with a table of PETs.")
    if args.cases is not None and (args.t1 is not None or args.mask is not None):
        raise InputError("--t1 and --mask belong to one PET.", "Put them into the columns of the table.")
    if args.mask is not None and args.t1 is None:
        raise InputError("--mask is the brain mask of the T1.", "Give the T1 too (--t1).")
    setup, findings = read_setup(SuvrSettings.of(args))
    for finding in findings:
        reporter.warning(finding.message)
    return _one(args, setup, reporter) if args.cases is None else _cohort(args, setup, reporter)


def _one(args: argparse.Namespace, setup: SuvrSetup, reporter: Reporter) -> int:
    from MRI2PETLib.core.files import output_folder
    from MRI2PETLib.reports.suvr_files import write_suvr
    from MRI2PETLib.suvr.run import measure_case, title_of

    paths, output = SuvrPaths.of(args, pet=args.pet), output_folder(args.output)
    result = measure_case(title_of(args.pet), paths, setup, output, write_suvr, reporter, reporter.progress)
    reporter.progress(1, 1, "done")
    reporter.close()
    content = result.content
    for method, value in content["Composite"].items():
        text = "not available" if value is None else f"{value:.3f}"
        reporter.say(f"{method}: composite SUVR {text}")
    reporter.say(f"Report: {result.files['report']}")
    summary = {name.lower(): content[name] for name in ("Method", "Composite", "Failed")}
    reporter.result({"files": result.files, **summary, "pet_coverage": content["PetCoverage"]})
    return 0


def _cohort(args: argparse.Namespace, setup: SuvrSetup, reporter: Reporter) -> int:
    from MRI2PETLib.core.case_loop import exit_code
    from MRI2PETLib.core.requests import Request
    from MRI2PETLib.reports.case_report import REPORT_FILE
    from MRI2PETLib.reports.page import how_many
    from MRI2PETLib.reports.suvr_files import write_suvr
    from MRI2PETLib.reports.suvr_report import write_suvr_cohort
    from MRI2PETLib.suvr import files
    from MRI2PETLib.suvr.regional import COMPOSITE
    from MRI2PETLib.suvr.run import measure_cohort, read_cases

    cases = read_cases(args.cases, reporter, SuvrPaths.of(args, pet=args.cases))
    files.cohort_in(args.output).check_owner(Request(files.owner_of_cohort(args.cases)))
    measured, failed = measure_cohort(cases, setup, args.output, write_suvr, reporter)
    agreement = write_suvr_cohort(args.output, args.cases, setup, measured, failed, reporter)
    reporter.progress(1, 1, "done")
    reporter.close()
    composite = [row for row in agreement if row.role == COMPOSITE]
    for row in composite:
        reporter.say(
            f"{row.method}: composite MAE {row.mae:.3f}, bias {row.bias:+.3f} against the real MR, "
            f"{how_many(row.n_people, 'person')}"
        )
    reporter.say(f"Report: {args.output / REPORT_FILE}")
    code = exit_code(list(failed.values()), len(cases))
    reporter.result(
        {
            "report": args.output / REPORT_FILE,
            "people": len({case.subject for case, _ in measured}),
            "scans": len(measured),
            "smallest_pet_coverage": min(
                share for _, result in measured for share in result.content["PetCoverage"].values()
            ),
            "failed": failed,
            "agreement": [row._asdict() for row in composite],
        }
    )
    return code
