"""Make tissue maps for every T1 and split the people: 15 for the test, 4 for validation, the rest to train.

Get the T1s of OpenNeuro ds002748 (https://doi.org/10.18112/openneuro.ds002748.v1.0.5, CC0; 2 mm copies
suffice) and the MNI-space [11C]PBR28 maps of Lois et al. (https://doi.org/10.5281/zenodo.1174364, public
domain): sub-*_T1w*.nii.gz in one folder, sub-*_PBR_SUV_60-90.nl_MNI152_norm_sm6mm.nii.gz in another."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter

HELP = "tissue maps of the T1s, split of the people (about 45 s a person)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", type=Path, metavar="WORK", help="folder for all that is made on the way")
    parser.add_argument("--t1", type=Path, required=True, metavar="DIR", help="the T1s (ds002748)")
    parser.add_argument("--pbr28", type=Path, required=True, metavar="DIR", help="the PBR28 maps")
    parser.add_argument("--workers", type=int, default=1, help="processes")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from TSPODemoModel.work_folder import prepare_work_folder

    work = prepare_work_folder(args.work, args.t1, args.pbr28, args.workers, reporter)
    reporter.close()
    sizes = {name: len(people) for name, people in work.split.to_dict().items()}
    reporter.say(", ".join(f"{count} {name}" for name, count in sizes.items()))
    reporter.result({"people": sizes, "donors": len(work.donors)})
    return 0
