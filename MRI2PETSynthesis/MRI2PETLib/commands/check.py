"""Check the inputs before anything is computed: image, contrast, field of view, brain, PET, unit, overlap.

One line a check: ok, warn, refuse or not checked, with the reason and the remedy. Exit code 0 unless a check
refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.synthesis.settings import CaseInputs

HELP = "can these images be used? a list of named checks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("t1", type=Path, metavar="T1", help="image or DICOM folder")
    CaseInputs.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.synthesis.checks import refusal, worst_level
    from MRI2PETLib.synthesis.input_checks import full_checks

    checks = full_checks(args.t1, CaseInputs.of(args), progress=reporter.progress)
    reporter.close()
    for check in checks:
        reporter.say(f"{check.level:<12} {check.name}: {check.message} {check.hint}".rstrip(" :"))
    reporter.result({"level": worst_level(checks), "checks": [check.to_dict() for check in checks]})
    error = refusal(checks)
    if error is not None:
        raise error
    return 0
