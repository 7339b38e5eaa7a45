"""``mri2pet simulate``: a dataset of phantom subjects with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.progress import Reporter

HELP = "make a dataset of simulated T1 and TSPO PET pairs with known truth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of ``mri2pet simulate``."""
    parser.add_argument("-n", "--number", type=int, required=True, help="how many subjects")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the dataset"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same dataset (default 0)"
    )
    parser.add_argument("--spacing-mm", type=float, default=2.0, help="voxel size, 0.7 to 6 mm (default 2)")
    parser.add_argument("--head", action="store_true", help="whole heads instead of skull-stripped brains")
    parser.add_argument(
        "--lesion-share",
        type=float,
        default=0.25,
        help="share of subjects with a focal PET lesion (default 0.25)",
    )


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Write the dataset; subjects that are there already are kept."""
    from MRI2PETLib.simulation.dataset import DatasetSettings, write_dataset

    settings = DatasetSettings(args.seed, args.spacing_mm, args.head, args.lesion_share)
    made, kept = write_dataset(args.output, args.number, settings, reporter.progress)
    reporter.log(f"{made} simulated subjects written to {args.output}, {kept} were there already.")
    reporter.result({"folder": args.output, "made": made, "kept": kept, "simulated": True})
    return 0
