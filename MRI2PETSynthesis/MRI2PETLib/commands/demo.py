"""Make a simulated person, synthesise a PET from the T1, compare it with the simulated PET, and write a
picture.

Everything is made on this machine: no download, no real person. The simulated PET has a focal lesion that
the T1 does not show, so the picture also shows what a synthetic PET cannot know."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core import options
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.progress import Reporter

HELP = "make a T1 + PET, synthesise, compare, write the picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="where results go"
    )
    parser.add_argument("--seed", type=int, default=2025, help="which simulated person")
    parser.add_argument("--device", default="auto", help=options.DEVICE)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.models.store import find_bundle
    from MRI2PETLib.reports.synthesis import CaseReport
    from MRI2PETLib.simulation.dataset import DatasetSettings, write_dataset
    from MRI2PETLib.synthesis.batch import run_batch
    from MRI2PETLib.synthesis.case_files import case_files
    from MRI2PETLib.synthesis.cases import Case
    from MRI2PETLib.synthesis.settings import CaseInputs, SynthesisSettings

    settings = SynthesisSettings(device=args.device)
    bundle = find_bundle(settings.model)
    reporter.warning(f"SIMULATED person, DEMONSTRATION model: {bundle.metadata['description']}")
    reporter.progress(0, 1, "simulating a person")
    folder = args.output / "simulated"
    write_dataset(folder, 1, DatasetSettings(args.seed, spacing_mm=1.0, head=True, lesion_share=1.0))
    t1_path, pet_path = folder / "subject_001" / "T1.nii.gz", folder / "subject_001" / "PET.nii.gz"
    lesion = read_object(folder / "subject_001" / "truth.json")["lesion"]
    case = Case("phantom", t1_path, inputs=CaseInputs(pet=pet_path))
    run_batch(
        [case],
        bundle,
        args.output,
        settings,
        reporter=reporter,
        addition=CaseReport(bundle, reporter, point_mm=tuple(lesion["centre_lps_mm"])),
    )
    files = case_files(case, bundle, args.output)
    reporter.close()
    reporter.say(
        f"T1, simulated    {t1_path}\nPET, synthetic   {files.pet}\nmetrics          {files.metrics}"
    )
    reporter.say(f"picture          {files.picture}")
    reporter.result({"output": args.output, "picture": files.picture, "metrics": files.metrics})
    return 0
