"""Train a model on a dataset of T1 + PET pairs by cross-validation that keeps every person on one side.

The run folder gets one model a fold, an ensemble of them (--model RUN/ensemble), predictions of the people
left out, their evaluation and a report. A run that was stopped or killed goes on with --resume."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.options import PRECISIONS, REALIGN_HELP, REGISTER, REGISTER_HELP, WINDOW_HELP
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.models import family_names

if TYPE_CHECKING:
    from MRI2PETTrainingLib.plan import Plan

HELP = "train on your own T1 + PET pairs, by subject-grouped cross-validation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset", type=Path, help="manifest.csv, a BIDS dataset, or a folder of case folders (T1 + PET)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--family", metavar="F", help=f"{', '.join(family_names())} (default: the preset's)")
    parser.add_argument(
        "--preset",
        metavar="P",
        help="name (see Docs/how_to/training.md) or JSON file (default: the family's own)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument(
        "--check", action="store_true", help="check and prepare the dataset, make the folds, stop"
    )
    folds = parser.add_argument_group("folds")
    folds.add_argument("--folds", type=int, default=5, help="number of folds")
    folds.add_argument(
        "--fold", type=int, action="append", default=[], metavar="K", help="train this fold only; repeatable"
    )
    folds.add_argument(
        "--seed", type=int, default=42, help="random seed of folds, weights and order (default 42)"
    )
    folds.add_argument(
        "--keep-together",
        action="append",
        default=[],
        choices=("subject", "donor", "site"),
        help="keep equal values of this column in one fold, as is done for subject and donor",
    )
    folds.add_argument("--leave-one-site-out", action="store_true", help="one fold per site")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--subject-pattern",
        metavar="REGEX",
        help="regular expression with a group (?P<subject>...) that finds the subject in the name of a case",
    )
    data.add_argument(
        "--subjects",
        type=Path,
        metavar="CSV",
        help="table with the columns case and subject; it takes precedence over the pattern",
    )
    data.add_argument("--register", choices=REGISTER, default="auto", help=REGISTER_HELP)
    data.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar=("START", "END"),
        help=f"{WINDOW_HELP}; the column window_min of a manifest takes precedence",
    )
    data.add_argument("--realign-frames", action="store_true", help=REALIGN_HELP)
    data.add_argument("--exclude-bad", action="store_true", help="leave out cases that cannot be used")
    data.add_argument(
        "--adjust-genotype",
        action="store_true",
        help="remove the HAB/MAB difference, fitted on the training people of each fold; leaves out LAB",
    )
    data.add_argument("--cache", type=Path, metavar="DIR", help="prepared cases (default: RUN/cache)")
    data.add_argument("--workers", type=int, default=2, help="processes that prepare cases")
    training = parser.add_argument_group("training (replaces the preset's)")
    training.add_argument("--epochs", type=int)
    training.add_argument("--batch-size", type=int)
    training.add_argument("--learning-rate", type=float)
    training.add_argument("--precision", choices=PRECISIONS)
    training.add_argument(
        "--gradient-checkpointing",
        action="store_true",
        default=None,
        help="needs less memory and about 1.3 times the time",
    )
    training.add_argument(
        "--init",
        default="",
        metavar="ID|DIR",
        help="model whose weights to start from; a run's folder: each fold from the same fold of it",
    )
    pre = parser.add_argument_group("pre-training on MRIs without PET (then --init RUN)")
    pre.add_argument(
        "--unpaired",
        type=Path,
        metavar="MRIS",
        help="train on these, each in the style of a PET of DATASET; folds as DATASET's",
    )
    pre.add_argument(
        "--vgg19",
        type=Path,
        metavar="FILE",
        help="torchvision's VGG19 weights: style by its features, as published",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    machine.add_argument("--devices", type=int, default=1, help="devices on this machine")
    machine.add_argument("--nodes", type=int, default=1, help="machines (torchrun or SLURM)")
    machine.add_argument(
        "--loaders",
        type=int,
        help="processes that load batches (default: none on a CPU, else one a core, up to 8)",
    )
    machine.add_argument("--threads", type=int, help="CPU threads of the network (default: torch's)")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import Cancelled

    try:
        return _train(args, reporter)
    except Cancelled as error:
        hint = "Finished epochs are kept: go on with the same command and --resume."
        raise Cancelled(error.message, hint) from error


def _train(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import DependencyError, InputError

    _check_packages(DependencyError)
    from MRI2PETLib.images.subjects import read_overrides
    from MRI2PETTrainingLib.crossval import is_first_process, prepare_run, run_training
    from MRI2PETTrainingLib.dataset.cache import Preparation
    from MRI2PETTrainingLib.dataset.preflight import DatasetOptions
    from MRI2PETTrainingLib.plan import Plan
    from MRI2PETTrainingLib.presets import check_preset, default_preset, read_preset

    for name in ("workers", "devices", "nodes"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)} cannot be used.", "Give 1 or more.")
    if args.loaders is not None and args.loaders < 0:
        raise InputError(f"--loaders {args.loaders} cannot be used.", "Give 0 or more.")
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    preset = read_preset(
        args.preset or default_preset(args.family),
        args.family,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        precision=_precision(args.precision, args.device),
        gradient_checkpointing=args.gradient_checkpointing,
    )
    check_preset(preset)
    plan = Plan(
        dataset=args.dataset,
        run=args.output,
        preset=preset,
        options=DatasetOptions(
            args.subject_pattern,
            read_overrides(args.subjects) if args.subjects else None,
            args.exclude_bad,
            args.adjust_genotype,
            Preparation(args.register, args.realign_frames),
            None if args.window is None else (args.window[0], args.window[1]),
        ),
        n_folds=args.folds,
        seed=args.seed,
        keep_together=tuple(args.keep_together),
        leave_one_site_out=args.leave_one_site_out,
        initial=args.init,
        cache=args.cache,
        workers=args.workers,
        device=args.device,
        devices=args.devices,
        nodes=args.nodes,
        loaders=args.loaders,
        only=tuple(args.fold),
        resume=args.resume,
    )
    if args.vgg19 and not args.unpaired:
        raise InputError("--vgg19 is the style of --unpaired MRIs.", "Give both, or neither.")
    if args.unpaired:
        plan = _pretraining(args, plan, reporter)
    if args.check:
        manifest, prepared, folds = prepare_run(plan, reporter)
        reporter.close()
        reporter.say(
            f"{len(prepared)} of {len(manifest.cases)} cases in {len(folds.folds)} folds: {args.output}"
        )
        reporter.result({"run": args.output, "cases": len(prepared), "folds": len(folds.folds)})
        return 0
    if not is_first_process():
        run_training(plan, Reporter())  # the first process speaks for all
        return 0
    summary = run_training(plan, reporter)
    reporter.close()
    if "report" in summary:
        reporter.say(f"Report:   {summary['report']}\nEnsemble: {summary['ensemble']}")
    else:
        reporter.say(f"Finished folds: {', '.join(map(str, summary['finished_folds'])) or 'none'}.")
    reporter.result(summary)
    return 0


def _pretraining(args: argparse.Namespace, plan: Plan, reporter: Reporter) -> Plan:
    """The same plan for MRIs that have got pseudo-PETs in the style of the dataset's PETs."""
    from MRI2PETLib.core.devices import pick_device
    from MRI2PETLib.core.files import make_folder
    from MRI2PETLib.synthesis.cases import find_cases
    from MRI2PETTrainingLib.crossval import is_first_process
    from MRI2PETTrainingLib.dataset.preflight import prepare_dataset
    from MRI2PETTrainingLib.folds import make_folds
    from MRI2PETTrainingLib.pretraining import STYLED_MANIFEST, histogram_style, write_pairs
    from MRI2PETTrainingLib.run_folder import FOLDS

    cache = plan.cache or plan.run / "cache"
    pairs = plan.run / "cache" / "pairs"
    if is_first_process():
        style: Any = histogram_style
        make_folder(pairs)
        if args.vgg19:
            from MRI2PETTrainingLib.vgg_style import VGGStyle, read_vgg

            style = VGGStyle(read_vgg(args.vgg19), pick_device(plan.device))
        _, pets = prepare_dataset(
            plan.dataset,
            pairs,
            cache,
            plan.preset.space,
            plan.options,
            workers=plan.workers,
            reporter=reporter,
        )
        folds = make_folds(
            [entry.case for entry in pets.values()],
            plan.n_folds,
            seed=plan.seed,
            keep_together=plan.keep_together,
            leave_one_site_out=plan.leave_one_site_out,
        )
        write_pairs(
            find_cases([args.unpaired]),
            pets,
            folds,
            plan.preset.space,
            pairs,
            style,
            progress=reporter.progress,
        )
    options = replace(plan.options, subjects=None, adjust_genotype=False)
    return replace(
        plan, dataset=pairs / STYLED_MANIFEST, options=options, folds=pairs / FOLDS, keep_together=()
    )


def _precision(precision: str | None, device: str) -> str | None:
    """What ``auto`` means on a device: bf16 where a GPU computes with it, else fp32."""
    if precision != "auto":
        return precision
    import torch

    from MRI2PETLib.core.devices import pick_device

    return "bf16" if pick_device(device).type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def _check_packages(error: type[Exception]) -> None:
    from importlib.util import find_spec

    missing = [name for name in ("lightning", "sklearn") if find_spec(name) is None]
    if missing:
        raise error(f"Training needs {' and '.join(missing)}.", "Install it: pip install 'mri2pet[train]'")
