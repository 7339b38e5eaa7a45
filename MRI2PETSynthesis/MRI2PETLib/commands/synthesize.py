"""Synthesise a PET for each T1 and write it on the grid of that T1, with mask, sidecar and picture.

Input is a NIfTI, NRRD or MHA file, a DICOM folder, a BIDS dataset or a folder of images or subjects. With
several inputs a failed one does not stop the rest; the same command again does only what is missing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.models.store import DEFAULT_MODEL

HELP = "T1 -> synthetic PET (one, many, a BIDS dataset)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "t1", nargs="+", type=Path, metavar="T1", help="image, DICOM folder, BIDS root, folder"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="ID|DIR", help="model (default: %(default)s)"
    )
    parser.add_argument("--mask", type=Path, help="brain mask of the T1, instead of finding the brain")
    parser.add_argument(
        "--brain-extractor", default="template", help="template (default), or hd-bet, synthstrip if installed"
    )
    parser.add_argument(
        "--pet", type=Path, metavar="REAL", help="real PET of the same person, to compare with"
    )
    parser.add_argument(
        "--pet-unit",
        choices=("SUV", "SUVR", "Bq/mL", "normalised"),
        help="unit of --pet, when its files do not say",
    )
    parser.add_argument(
        "--series", metavar="UID", help="SeriesInstanceUID, when a DICOM folder holds several T1s"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="fp32",
        help="arithmetic of the network (default: %(default)s); auto tries both and takes the faster one",
    )
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N", help="samples of a stochastic model; their mean and SD"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=0,
        metavar="N",
        help="sampling steps of a diffusion model (default: its own)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of a stochastic model")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.models.store import find_bundle
    from MRI2PETLib.synthesis.batch import AfterCase, exit_code, run_batch
    from MRI2PETLib.synthesis.cases import find_cases
    from MRI2PETLib.synthesis.comparison import add_comparison, add_picture

    bundle = find_bundle(args.model)
    if bundle.is_demonstration:
        reporter.warning(f"{bundle.id} is a DEMONSTRATION model: {bundle.metadata['description']}")
    cases = find_cases(args.t1)
    own = {"mask": args.mask, "pet": args.pet, "series_uid": args.series}
    given = [name for name, value in own.items() if value is not None]
    if given and len(cases) > 1:
        raise InputError(
            f"--{given[0].removesuffix('_uid')} belongs to one T1, and there are {len(cases)}.",
            "Run them one by one.",
        )
    cases = [replace(case, **own) for case in cases]
    if args.samples < 1:
        raise InputError(f"--samples {args.samples} makes no image.", "Use 1 or more.")
    if args.steps < 0:
        raise InputError(f"--steps {args.steps} cannot be used.", "Use 1 or more, or 0 for the model's own.")
    after: AfterCase = add_picture(bundle)
    if args.pet is not None:
        after = add_comparison(bundle, args.pet, args.pet_unit, reporter)
    rows = run_batch(
        cases,
        bundle,
        args.output,
        reporter=reporter,
        after_case=after,
        brain_extractor=args.brain_extractor,
        device=args.device,
        precision=args.precision,
        samples=args.samples,
        steps=args.steps,
        seed=args.seed,
    )
    reporter.close()
    for row in rows:
        reporter.say(f"{row.case}: {row.status}" + (f" -> {row.pet}" if row.pet else f" ({row.message})"))
    code = exit_code(rows)
    if code == 0:
        reporter.result({"output": args.output, "cases": [vars(row) for row in rows]})
    return code
