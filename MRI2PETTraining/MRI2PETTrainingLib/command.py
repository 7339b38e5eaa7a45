"""Train a model on a dataset of T1 + PET pairs by cross-validation that keeps every person on one side.

The run folder gets one model a fold, an ensemble of them (--model RUN/ensemble), predictions of the people
left out, their evaluation and a report. A run that was stopped or killed goes on with --resume."""

from __future__ import annotations

import argparse

from MRI2PETLib.core.progress import Reporter
from MRI2PETTrainingLib.settings import Task, TrainingSettings

GO_ON = "Finished epochs are kept: go on with the same command and --resume."
HELP = "train on your own T1 + PET pairs, by subject-grouped cross-validation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    TrainingSettings.add_to(parser)
    Task.add_to(parser)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    settings, task = TrainingSettings.of(args), Task.of(args)
    _check_packages()
    from MRI2PETLib.core.errors import InputError
    from MRI2PETTrainingLib.crossval import prepare_run, run_training
    from MRI2PETTrainingLib.dataset.preflight import smallest_coverage
    from MRI2PETTrainingLib.launch import check_launch, is_first_process
    from MRI2PETTrainingLib.plan import plan_of
    from MRI2PETTrainingLib.presets import check_preset
    from MRI2PETTrainingLib.pretraining import prepare_pairs

    if settings.test_site and settings.leave_one_site_out:
        raise InputError("--test-site is one split, --leave-one-site-out makes several.", "Give one of them.")
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    check_launch(settings.devices * settings.nodes, settings.folds_at_once)
    plan = plan_of(settings, task)
    check_preset(plan.preset)
    if settings.adjust_genotype and plan.preset.space.target_modality != "PET":
        raise InputError(
            "--adjust-genotype is for a model that makes a PET; this one makes an MRI.", "Leave it out."
        )
    if settings.unpaired is not None and is_first_process():
        prepare_pairs(plan, reporter)
    if task.check:
        manifest, prepared, folds = prepare_run(plan, reporter)
        reporter.close()
        reporter.say(f"{len(prepared)} of {len(manifest.cases)} cases, {folds.words}: {plan.run}")
        about = {"run": plan.run, "cases": len(prepared), "folds": len(folds.folds)}
        reporter.result({**about, "smallest_pet_coverage": smallest_coverage(prepared)})
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


def _check_packages() -> None:
    from MRI2PETLib.core.errors import DependencyError
    from MRI2PETLib.installation.packages import read_packages

    lacking = [package for package in read_packages("training") if package.state != "ok"]
    if lacking:
        needs = " and ".join(f"{p.requirement} (here: {p.installed or 'none'})" for p in lacking)
        raise DependencyError(f"Training needs {needs}.", "Install it: pip install 'mri2pet[train]'")
