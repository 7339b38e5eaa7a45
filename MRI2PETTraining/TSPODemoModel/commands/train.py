"""Train one member of the model, coarse to fine. One thread: two members side by side use two cores.

The validation people choose the epoch of each stage. The same command goes on after a stop or a kill, and
gives the same weights as if nothing had happened."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from MRI2PETLib.core.progress import Reporter

HELP = "train one member of the model (resumes)"
MORE_TIME = 75  # EX_TEMPFAIL of sysexits.h
SPACINGS = ("6mm", "4mm", "3mm", "2mm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", type=Path, metavar="WORK", help="folder of `prepare`")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and pairs")
    parser.add_argument(
        "--to", choices=SPACINGS, default="3mm", help="voxels of the last stage; 2mm needs an accelerator"
    )
    parser.add_argument("--epochs", type=int, help="of the last stage, if not as many as usual")
    parser.add_argument(
        "--hold-out-donors",
        action="store_true",
        help="without two controls and two patients: the second model, which real PETs judge",
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, to go on later")
    parser.add_argument("--device", default="cpu", help="cpu, auto, cuda[:N] or mps")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    import torch

    from TSPODemoModel.training import TimeIsUp, stages_to, train_model
    from TSPODemoModel.work_folder import open_work_folder

    torch.set_num_threads(1)  # a thread that waits for a busy core stops all others
    torch.backends.cudnn.deterministic = True
    work = open_work_folder(args.work)
    donors = work.seen_donors() if args.hold_out_donors else work.donors
    try:
        done = train_model(
            stages_to(args.to, args.epochs),
            work.loader(donors, args.device),
            work.training_folder(args.seed, donors),
            seed=args.seed,
            about=work.about(donors),
            device=args.device,
            minutes=args.minutes,
            progress=reporter.progress,
        )
    except TimeIsUp:
        reporter.close()
        reporter.say(f"Stopped after {args.minutes:g} minutes: run the same command again to go on.")
        return MORE_TIME
    reporter.close()
    for trained in done:
        reporter.say(
            f"{trained.stage.preset.name}: validation error {trained.error:.4f} in epoch {trained.epoch + 1}"
        )
    reporter.result({"stages": [trained.to_dict() for trained in done]})
    return 0
