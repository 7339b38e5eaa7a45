"""Build the demonstration model from two public datasets, or measure a finished one.

Get the T1s of OpenNeuro ds002748 (https://doi.org/10.18112/openneuro.ds002748.v1.0.5, CC0; 2 mm copies
suffice) and the MNI-space [11C]PBR28 maps of Lois et al. (https://doi.org/10.5281/zenodo.1174364, public
domain): sub-*_T1w*.nii.gz in one folder, sub-*_PBR_SUV_60-90.nl_MNI152_norm_sm6mm.nii.gz in another. What is
finished lies in the work folder, so the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.progress import Reporter, make_reporter
from MRI2PETLib.core.threads import settle

if TYPE_CHECKING:
    import numpy as np
    import torch

    from MRI2PETLib.models.bundle import Bundle
    from TSPODemoModel.activity import ActivityModel, Donor
    from TSPODemoModel.anatomies import Anatomy, Split
    from TSPODemoModel.external import RealCheck
    from TSPODemoModel.gates import Measured
    from TSPODemoModel.train import TrainSettings

SEED = 20250908
_ABLATION, _ABLATION_STEPS = "ablation.json", 250


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m TSPODemoModel``."""
    parser = argparse.ArgumentParser(
        prog="python -m TSPODemoModel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--t1", type=Path, required=True, help="folder of the T1s (ds002748)")
    parser.add_argument("--pbr28", type=Path, required=True, help="folder of the PBR28 maps")
    parser.add_argument("--work", type=Path, required=True, help="folder for tissue maps and training state")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", "--output", type=Path, help="bundle to build")
    what.add_argument("--gates", type=Path, metavar="BUNDLE", help="measure this bundle and print the table")
    what.add_argument(
        "--ablation",
        action="store_true",
        help="train 6 mm models of each target and loss; the next build has their table in its card",
    )
    parser.add_argument(
        "--grid", choices=("2mm", "4mm"), default="4mm", help="2mm (96^3) needs an accelerator (default 4mm)"
    )
    parser.add_argument("--steps", type=int, help="training steps, the first of them coarse at 4mm")
    parser.add_argument("--coarse-steps", type=int, help="how many of them run on 32^3 voxels")
    parser.add_argument(
        "--refine-steps", type=int, nargs="*", help="steps of further cycles at full size (4mm: 650)"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, to go on later")
    parser.add_argument("--workers", type=int, default=1, help="processes that make tissue maps")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:N] or mps")
    parser.add_argument("--progress", choices=("bar", "json", "none"), default="bar")
    return parser


@dataclass(frozen=True)
class _Material:
    """What all stages work with."""

    t1s: dict[str, Path]
    anatomies: dict[str, Path]
    split: Split
    donors: list[Donor]
    tissue: np.ndarray

    def people(self, subjects: list[str]) -> list[Anatomy]:
        from TSPODemoModel.anatomies import load_anatomy

        return [load_anatomy(self.anatomies[subject]) for subject in subjects]

    def activity(self, donors: list[Donor]) -> ActivityModel:
        from TSPODemoModel.activity import build_activity

        return build_activity(donors, self.tissue)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0 when the bundle is complete or measured, 75 when more time is needed."""
    settle()
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    reporter = make_reporter(options.progress)
    try:
        return _run(options, reporter)
    except MRI2PETError as error:
        reporter.error(error)
        return error.exit_code
    finally:
        reporter.close()


def _run(options: argparse.Namespace, reporter: Reporter) -> int:
    import torch

    from MRI2PETLib.core.devices import pick_device

    device = pick_device(options.device)
    if device.type == "cpu":  # a thread that waits for a busy core stops all others
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    torch.backends.cudnn.deterministic = True
    material = _material(options, reporter)
    if options.gates is not None:
        return _measure(options, material, reporter)
    if options.ablation:
        return _ablation(options, material, device, reporter)
    return _build(options, material, device, reporter)


def _material(options: argparse.Namespace, reporter: Reporter) -> _Material:
    from MRI2PETLib.core.files import write_json
    from TSPODemoModel.activity import read_donors
    from TSPODemoModel.anatomies import find_t1s, prepare, split_people

    t1s = find_t1s(options.t1)
    donors = read_donors(options.pbr28)
    prepared = prepare(t1s, options.work / "anatomies", options.workers, reporter.progress)
    for subject in sorted(set(t1s) - set(prepared)):
        reporter.warning(f"{subject} is left out, see {options.work / 'anatomies' / subject}.txt")
    split = split_people(prepared, SEED)
    about = {"people": split.to_dict(), "donors": [donor.name for donor in donors]}
    begun = options.work / "split.json"
    if begun.is_file() and json.loads(begun.read_text(encoding="utf-8")) != about:
        raise InputError(
            f"{options.work} was begun with other people or donors.", "Choose another work folder."
        )
    write_json(begun, about)
    return _Material(t1s, prepared, split, donors, _mean_tissue(options.work, prepared, split))


def _mean_tissue(work: Path, prepared: dict[str, Path], split: Split) -> np.ndarray:
    """Of the training people, kept in the work folder."""
    import numpy as np

    from MRI2PETLib.core.files import atomic_path
    from TSPODemoModel.anatomies import load_anatomy
    from TSPODemoModel.averages import mean_tissue

    kept = work / "mean_tissue.npy"
    if not kept.is_file():
        tissue = mean_tissue([load_anatomy(prepared[subject]) for subject in split.train])
        with atomic_path(kept) as temporary:
            np.save(temporary, tissue, allow_pickle=False)
    found: np.ndarray = np.load(kept, allow_pickle=False)
    return found


def _settings(options: argparse.Namespace) -> TrainSettings:
    from TSPODemoModel.train import SIZES

    settings = SIZES[96 if options.grid == "2mm" else 48]
    if options.steps is not None:
        share = settings.coarse_steps / settings.steps
        settings = replace(settings, steps=options.steps, coarse_steps=round(share * options.steps))
    if options.coarse_steps is not None:
        settings = replace(settings, coarse_steps=options.coarse_steps)
    return settings


def _refinements(options: argparse.Namespace, settings: TrainSettings) -> list[TrainSettings]:
    from TSPODemoModel.train import REFINEMENT_STEPS, refinement

    steps = REFINEMENT_STEPS[settings.size] if options.refine_steps is None else options.refine_steps
    return [refinement(settings, cycle, n) for cycle, n in enumerate(steps, 1)]


def _heldout_settings(settings: TrainSettings) -> TrainSettings:
    """Of the out-of-sample model, always 4 mm and not refined: as the model's own where that is 4 mm too."""
    from TSPODemoModel.train import SIZES

    return settings if settings.size == 48 else SIZES[48]


def _train(
    material: _Material,
    donors: list[Donor],
    settings: TrainSettings,
    folder: Path,
    device: torch.device,
    minutes: float,
    reporter: Reporter,
    start: torch.nn.Module | None = None,
) -> torch.nn.Module | None:
    from TSPODemoModel.averages import average_anatomies
    from TSPODemoModel.pairs import People, load_people
    from TSPODemoModel.train import train

    def load(size: int) -> People:
        people = material.people(material.split.train)
        people += average_anatomies(people, settings.averages, SEED)
        return load_people(people, material.activity(donors), size, device)

    return train(settings, load, folder, device, start=start, minutes=minutes, progress=reporter.progress)


def _build(options: argparse.Namespace, material: _Material, device: torch.device, reporter: Reporter) -> int:
    from MRI2PETLib.models.bundle import save_bundle
    from MRI2PETLib.synthesis.pipeline import software_versions
    from TSPODemoModel import bundle_card, gates
    from TSPODemoModel.activity import training_donors

    started = time.monotonic()

    def left() -> float:
        return options.minutes - (time.monotonic() - started) / 60

    settings = _settings(options)
    second = _heldout_settings(settings)
    seen = training_donors(material.donors, SEED)
    folder = options.work / options.grid
    network = _train(material, material.donors, settings, folder, device, left(), reporter)
    further = _refinements(options, settings)
    for cycle, one in enumerate(further, 1):
        refined = folder.with_name(f"{folder.name}-refined-{cycle}")
        if network is not None:
            network = _train(material, material.donors, one, refined, device, left(), reporter, network)
    unseen_network = None
    if network is not None:
        unseen_network = _train(material, seen, second, options.work / "heldout", device, left(), reporter)
    if network is None or unseen_network is None:
        reporter.say(f"Stopped after {options.minutes:g} minutes: run the same command again to go on.")
        return 75  # EX_TEMPFAIL of sysexits.h
    ablation = options.work / _ABLATION
    training = bundle_card.Training(
        settings,
        further,
        material.split,
        [donor.name for donor in material.donors],
        second,
        [donor.name for donor in seen],
        [donor.name for donor in material.donors if donor not in seen],
        software_versions(),
        json.loads(ablation.read_text(encoding="utf-8")) if ablation.is_file() else None,
    )
    candidate = save_bundle(
        options.work / "candidate", network, bundle_card.metadata(training, None), "Not measured yet."
    )
    unseen = _check_unseen(unseen_network, second, material, material.split.test)
    measured = _figures(candidate, material, material.split, unseen, reporter)
    save_bundle(
        options.output,
        network,
        bundle_card.metadata(training, measured),
        bundle_card.card(training, measured),
    )
    reporter.say(gates.render(measured.table, measured.gates))
    return 0


def _check_unseen(
    network: torch.nn.Module, settings: TrainSettings, material: _Material, test: list[str]
) -> tuple[RealCheck, RealCheck]:
    """The out-of-sample model against the donors that it never saw: from the template's T1, from people's."""
    from TSPODemoModel.activity import training_donors
    from TSPODemoModel.external import check_real, predict_people
    from TSPODemoModel.gates import compare_with_real

    seen = training_donors(material.donors, SEED)
    unseen = [donor for donor in material.donors if donor not in seen]
    people = predict_people(network, settings.size, material.people(test), material.activity(seen))
    return compare_with_real(network, settings.space, unseen, seen), check_real(*people, unseen, seen)


def _figures(
    bundle: Bundle,
    material: _Material,
    split: Split,
    unseen: tuple[RealCheck, RealCheck] | None,
    reporter: Reporter,
) -> Measured:
    from TSPODemoModel.gates import measure

    return measure(
        bundle,
        material.activity(material.donors),
        material.people(split.train),
        material.people(split.test),
        material.donors,
        unseen=unseen,
        t1s=material.t1s,
        progress=reporter.progress,
    )


def _measure(options: argparse.Namespace, material: _Material, reporter: Reporter) -> int:
    """``--gates``: the people that the bundle names as its test."""
    from MRI2PETLib.models.bundle import read_bundle
    from TSPODemoModel import gates
    from TSPODemoModel.anatomies import Split
    from TSPODemoModel.train import SIZES, TrainSettings, finished

    bundle = read_bundle(options.gates)
    people = bundle.metadata.get("split", {}).get("people")
    if people is None:
        reporter.warning(f"{bundle.id} names no split by person: the split of this seed is used.")
    split = material.split if people is None else Split(**people)
    missing = sorted({*split.train, *split.test} - set(material.anatomies))
    if missing:
        raise InputError(
            f"The T1s of {', '.join(missing)} are missing.", "Give the dataset that it was built from."
        )
    recorded = bundle.metadata.get("split", {}).get("out_of_sample_model", {}).get("training")
    second = SIZES[48] if recorded is None else TrainSettings(**recorded)
    network = finished(second, options.work / "heldout")
    unseen = None if network is None else _check_unseen(network, second, material, split.test)
    measured = _figures(bundle, material, split, unseen, reporter)
    reporter.say(gates.render(measured.table, measured.gates))
    if unseen is not None:
        for what, check in zip(("template", "held-out people's"), unseen):
            title = f"Out-of-sample model against unseen controls, from the {what} T1"
            reporter.say("\n" + gates.render_real(title, check))
    reporter.say("\n" + gates.render_real("This model against all controls", measured.own_donors))
    reporter.result({"gates": [asdict(gate) for gate in measured.gates]})
    return 0 if all(gate.passed is not False for gate in measured.gates) else 1


def _ablation(
    options: argparse.Namespace, material: _Material, device: torch.device, reporter: Reporter
) -> int:
    """Which of target scale and loss region matters: 6 mm models of the four combinations."""
    import torch

    from MRI2PETLib.core.files import write_json
    from TSPODemoModel.bundle_card import render_ablation
    from TSPODemoModel.heldout import NETWORK, fit_baselines, heldout_table
    from TSPODemoModel.pairs import load_people
    from TSPODemoModel.train import SIZES

    model = material.activity(material.donors)
    test = material.people(material.split.test)
    steps = options.steps or _ABLATION_STEPS
    people = load_people(material.people(material.split.train), model, 32, torch.device("cpu"))
    rows: list[dict[str, Any]] = []
    targets: tuple[Literal["suvr-half", "minmax"], ...] = ("suvr-half", "minmax")
    for target in targets:
        baselines = fit_baselines(people, target)
        for region in ("brain", "volume"):
            settings = replace(
                SIZES[48], size=32, steps=steps, coarse_steps=0, target=target, loss_region=region
            )
            folder = options.work / f"ablation-{target}-{region}"
            network = _train(material, material.donors, settings, folder, device, math.inf, reporter)
            assert network is not None
            table = heldout_table(network, 32, model, baselines, test, target=target)
            chosen = table if region == "brain" else {NETWORK: table[NETWORK]}
            rows += [
                {
                    "target": target,
                    "loss": region if name == NETWORK else "-",
                    "predictor": name,
                    **asdict(row),
                }
                for name, row in chosen.items()
            ]
    write_json(options.work / _ABLATION, {"steps": steps, "rows": rows})
    reporter.say(render_ablation({"steps": steps, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
