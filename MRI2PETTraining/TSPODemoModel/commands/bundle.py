"""Put trained members together: one network, or an ensemble of several seeds, with the SD of the validation
people. It has no figures before `gates --people test --write`."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.progress import Reporter
from TSPODemoModel.commands.train import SPACINGS

HELP = "put trained members together as a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", type=Path, metavar="WORK", help="folder of `prepare` and `train`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="members")
    parser.add_argument("--to", choices=SPACINGS, default="3mm", help="voxels that they were trained to")


def run(args: argparse.Namespace, reporter: Reporter) -> int:

    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.models.bundle import save_bundle
    from TSPODemoModel.calibration import calibrate
    from TSPODemoModel.commands.ablation import RESULT
    from TSPODemoModel.held_out_people import mean_of
    from TSPODemoModel.model_card import NOT_MEASURED, metadata
    from TSPODemoModel.training import finished, trained_stages
    from TSPODemoModel.work_folder import open_work_folder

    work = open_work_folder(args.work)
    members, about = {}, work.about(work.donors)
    for seed in args.seeds:
        folder = work.training_folder(seed, work.donors)
        done = finished(trained_stages(args.to, folder), folder, seed=seed, about=about)
        if done is None:
            raise InputError(f"The member of seed {seed} is not trained.", f"Run `train --seed {seed}`.")
        members[f"seed-{seed}"] = done
    networks = {name: done[-1].network for name, done in members.items()}
    size, people = next(iter(members.values()))[-1].stage.size, work.people(work.split.validation)
    reporter.progress(0, 1, "SD of the validation people")
    uncertainty = calibrate(mean_of(list(networks.values())), size, work.activity(work.donors), people)
    ablation = args.work / RESULT
    ablation_rows = read_object(ablation) if ablation.is_file() else None
    content = metadata(work, members, uncertainty, ablation_rows)
    network = networks if len(networks) > 1 else next(iter(networks.values()))
    bundle = save_bundle(args.output, network, content, NOT_MEASURED)
    reporter.close()
    reporter.say(f"{bundle.folder}: {bundle.metadata['name']}")
    reporter.result({"bundle": bundle.folder, "sha256": bundle.sha256})
    return 0
