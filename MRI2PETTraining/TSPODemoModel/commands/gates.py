"""Measure a bundle and every baseline on held-out people, and print the tables.

Decide everything with the validation people. The test people are for the end: whoever has looked at them is
written down in the work folder, and their figures go into the bundle's card with --write."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter

HELP = "measure a bundle on held-out people, with every baseline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", type=Path, metavar="WORK", help="folder of `prepare` (and of the trainings)")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="model to measure")
    parser.add_argument("--people", choices=("validation", "test"), default="validation")
    parser.add_argument("--write", action="store_true", help="put the test people's figures into the bundle")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from dataclasses import asdict

    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.models.bundle import read_bundle
    from TSPODemoModel import gates, model_card
    from TSPODemoModel.work_folder import check_held_out, note_look, open_work_folder

    if args.write and args.people != "test":
        raise InputError("--write puts the test people's figures into the card.", "Add --people test.")
    work, bundle = open_work_folder(args.work), read_bundle(args.bundle)
    people = getattr(work.split, args.people)
    check_held_out(bundle, people)
    looks = note_look(work.folder, bundle) if args.people == "test" else []
    measured = gates.measure_model(
        bundle,
        work.activity(work.donors),
        work.people(work.split.train),
        work.people(people),
        work.donors,
        unseen=gates.unseen_donors(work, people),
        t1s=work.t1s,
        progress=reporter.progress,
    )
    reporter.close()
    reporter.say(model_card.figures(measured))
    if len(looks) > 1:
        reporter.say(f"The test people have been looked at for {len(looks)} models: {', '.join(looks)}.")
    if args.write:
        model_card.write_figures(bundle, measured, looks)
    reporter.result({"people": args.people, "gates": [asdict(gate) for gate in measured.gates]})
    return 0 if all(gate.passed is not False for gate in measured.gates) else 1
