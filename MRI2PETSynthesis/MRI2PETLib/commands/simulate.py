"""Make a dataset of simulated people with known truth, or simulated PETs for the T1s of real people."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.simulation.settings import DatasetSettings

HELP = "make simulated T1 and TSPO PET pairs with known truth, or PETs for given T1s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of ``mri2pet simulate``."""
    people = parser.add_mutually_exclusive_group(required=True)
    people.add_argument("-n", "--number", type=int, help="how many subjects")
    people.add_argument(
        "--t1",
        type=Path,
        nargs="+",
        help="T1s of real people (files, DICOM folders, a BIDS root): simulate their PETs only",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the dataset"
    )
    DatasetSettings.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Write the dataset; what is there already is kept."""
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.simulation.dataset import write_dataset, write_pets

    settings = DatasetSettings.of(args)
    if args.t1 is None:
        made, earlier = write_dataset(args.output, args.number, settings, reporter.progress)
        what = "subjects"
    else:
        from MRI2PETLib.synthesis.cases import find_cases

        if settings != DatasetSettings(args.seed):
            raise InputError(
                "--spacing-mm, --head and --lesion-share are for simulated people.", "Leave them out."
            )
        t1s = {case.name: case.t1 for case in find_cases(args.t1, tell=reporter.warning)}
        made, earlier = write_pets(args.output, t1s, args.seed, reporter.progress, reporter.warning)
        what = "PETs"
    reporter.log(f"{made} simulated {what} written to {args.output}, {earlier} were there already.")
    reporter.result({"folder": args.output, "made": made, "kept": earlier, "simulated": True})
    return 0
