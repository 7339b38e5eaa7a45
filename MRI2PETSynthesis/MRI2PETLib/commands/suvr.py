"""Measure SUVR by atlas region, with an MRI of the person or without one.

The PET is laid on MNI space by the person's T1 (--t1), by an MRI that a model synthesises from the PET
(--model), and always by a PET template; the atlas is pulled back to the PET. With a T1 its result is the
standard that the others are compared with. A table of PETs (--cases) gives the agreement over people."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings

HELP = "SUVR by region: by the MRI, by a synthetic MRI, or by a PET template"


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
    from MRI2PETLib.suvr.run import read_cases, run_case, run_cohort
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
    if args.cases is not None:
        cases = read_cases(args.cases, reporter, pet_unit=args.pet_unit)
        found = run_cohort(cases, setup, args.output, reporter)
        reporter.close()
        for row in found["agreement"]:
            reporter.say(
                f"{row['method']}: composite MAE {row['mae']:.3f}, bias {row['bias']:+.3f} "
                f"against the real MR, {row['n_people']} people"
            )
    else:
        found = run_case(SuvrPaths.of(args, pet=args.pet), setup, args.output, reporter)
        reporter.close()
        for method, value in found["composite"].items():
            reporter.say(
                f"{method}: composite SUVR " + ("not available" if value is None else f"{value:.3f}")
            )
    reporter.say(f"Report: {found['report']}")
    code: int = found.pop("exit_code", 0)
    if not code:
        reporter.result(found)
    return code
