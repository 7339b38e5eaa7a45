"""Train small 6 mm models with each target and loss region, and compare them on the validation people; the
next bundle has the table in its card."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.progress import Reporter

if TYPE_CHECKING:
    from TSPODemoModel.work_folder import WorkFolder

HELP = "which of target scale and loss region matters"
RESULT = "ablation.json"
_EPOCHS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", type=Path, metavar="WORK", help="folder of `prepare`")
    parser.add_argument("--epochs", type=int, default=_EPOCHS, help="of each model")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    import torch

    from MRI2PETLib.core.files import write_json
    from TSPODemoModel.model_card import render_ablation
    from TSPODemoModel.work_folder import open_work_folder

    torch.set_num_threads(1)
    work = open_work_folder(args.work)
    rows = [
        row for target in ("suvr-half", "minmax") for row in _compare(work, target, args.epochs, reporter)
    ]
    result = {"epochs": args.epochs, "rows": rows}
    write_json(args.work / RESULT, result)
    reporter.close()
    reporter.say(render_ablation(result))
    return 0


def _compare(work: WorkFolder, target: Any, epochs: int, reporter: Reporter) -> list[dict[str, Any]]:
    """Rows of the table: the baselines, and a network for each loss region."""
    import torch

    from TSPODemoModel.held_out_people import NETWORK_ROW, fit_baselines, mean_of, table_of
    from TSPODemoModel.simulated_pairs import load_people
    from TSPODemoModel.training import STAGES, Stage, train_model

    coarse, model = STAGES["6mm"], work.activity(work.donors)
    people = load_people(work.people(work.split.train), model, coarse.size, torch.device("cpu"))
    baselines, held_out = fit_baselines(people, target), work.people(work.split.validation)
    rows, load = [], work.loader(work.donors, "cpu")
    for region in ("brain", "volume"):
        preset = replace(
            coarse.preset,
            name=f"{target}-{region}",
            space=replace(coarse.preset.space, target=target),
            loss={"loss_region": region},
            epochs=epochs,
        )
        done = train_model(
            [Stage(preset)],
            load,
            work.folder / "ablation",
            seed=1,
            about=work.about(work.donors),
            progress=reporter.progress,
        )
        predict = mean_of([done[-1].network])
        table = table_of(predict, coarse.size, model, baselines, held_out, target=target)
        rows += [
            {
                "target": target,
                "loss": region if name == NETWORK_ROW else "-",
                "predictor": name,
                **asdict(row),
            }
            for name, row in table.items()
            if region == "brain" or name == NETWORK_ROW
        ]
    return rows
