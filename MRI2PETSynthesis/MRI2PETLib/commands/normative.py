"""What is abnormal: the real PET of a person against what a lab's own controls predict.

build: a norm from the predictions of people that a cross-validation left out. score: how far a person's real
PET lies from the prediction by the T1, as z by voxel and by region, beside the z without the T1."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.normative.settings import NormSettings, ScorePaths, ScoreSettings

HELP = "build RUN | score PET: z of a real PET against a lab's own controls"
_BUILD_HELP = "a norm from the controls of a cross-validation run"
_SCORE_HELP = "a person's real PET with a norm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help=_BUILD_HELP, description=f"Make {_BUILD_HELP}.")
    build.add_argument("run_folder", type=Path, metavar="RUN", help="cross-validation run (predictions.csv)")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="NORM", help="where the norm goes")
    NormSettings.add_to(build)
    score = actions.add_parser("score", help=_SCORE_HELP, description=f"Compare {_SCORE_HELP}.")
    ScorePaths.add_to(score)
    score.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    ScoreSettings.add_to(score)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    return (_build if args.action == "build" else _score)(args, reporter)


def _build(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.evaluation.cohort_cases import read_run_scans
    from MRI2PETLib.normative.build import ALL_VOXELS
    from MRI2PETLib.normative.card import what_the_t1_adds
    from MRI2PETLib.normative.norm_folder import CARD_FILE
    from MRI2PETLib.normative.run import build_norm
    from MRI2PETLib.templates.atlases import read_parcellation

    settings = NormSettings.of(args)
    atlases = [read_parcellation(path, space="mni") for path in settings.atlas]
    cases = read_run_scans(args.run_folder, reporter)
    norm = build_norm(args.run_folder, cases, settings, atlases, args.output, reporter)
    reporter.progress(1, 1, "done")
    reporter.close()
    added = what_the_t1_adds(norm.about.explained[ALL_VOXELS])
    reporter.say(f"{norm.about.n_people} controls. {added}")
    reporter.say(f"Card: {args.output / CARD_FILE}")
    reporter.result(
        {
            "norm": args.output,
            "people": norm.about.n_people,
            "demonstration": norm.about.demonstration,
            "explained": norm.about.explained[ALL_VOXELS]._asdict(),
            "files": {"card": args.output / CARD_FILE},
        }
    )
    return 0


def _score(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.reports.normative import score_into

    content = score_into(ScorePaths.of(args), ScoreSettings.of(args), args.output, reporter)
    reporter.progress(1, 1, "done")
    reporter.close()
    for line in content.pop("lines"):
        reporter.say(line)
    reporter.say(f"Report: {content['files']['report']}")
    reporter.result(content)
    return 0
