"""Synthesise a PET for each T1 and write it on the grid of that T1, with mask, sidecar and picture.

Input is a NIfTI, NRRD or MHA file, a DICOM folder, a BIDS dataset or a folder of images or subjects. With
several inputs a failed one does not stop the rest; the same command again does only what is missing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from MRI2PETLib.core.prefetch import imported_objects_stay
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.settings import flag
from MRI2PETLib.core.threads import keep_memory
from MRI2PETLib.synthesis.settings import CaseInputs, SynthesisSettings

HELP = "T1 -> synthetic PET (one, many, a BIDS dataset)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "t1", nargs="+", type=Path, metavar="T1", help="image, DICOM folder, BIDS root, folder"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    CaseInputs.add_to(parser)
    SynthesisSettings.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    with imported_objects_stay():
        from MRI2PETLib.core.case_loop import exit_code
        from MRI2PETLib.core.errors import InputError
        from MRI2PETLib.models.store import find_bundle
        from MRI2PETLib.reports.synthesis import CaseReport
        from MRI2PETLib.synthesis.batch import run_batch
        from MRI2PETLib.synthesis.cases import find_cases

    keep_memory()
    settings, inputs = SynthesisSettings.of(args), CaseInputs.of(args)
    bundle = find_bundle(settings.model)
    if bundle.is_demonstration:
        reporter.warning(bundle.demonstration_warning)
    cases = find_cases(args.t1, bundle.space.source_modality, reporter.warning)
    options = [flag(name) for name, value in vars(inputs).items() if value != getattr(CaseInputs, name)]
    if options and len(cases) > 1:
        message = f"{options[0]} belongs to one T1, and there are {len(cases)}."
        raise InputError(message, "Run them one by one.")
    cases = [replace(case, inputs=inputs) for case in cases]
    report = CaseReport(bundle, reporter)
    rows = run_batch(cases, bundle, args.output, settings, reporter=reporter, addition=report)
    reporter.close()
    for row in rows:
        reporter.say(f"{row.case}: {row.status}" + (f" -> {row.pet}" if row.pet else f" ({row.message})"))
    code = exit_code([f"{r.message} {r.hint}".strip() for r in rows if r.status == "failed"], len(rows))
    reporter.result({"output": args.output, "cases": [row.to_dict() for row in rows]})
    return code
