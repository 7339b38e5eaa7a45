"""Train the demonstration bundle ``tspo-demo`` on simulated people only.

    python -m MRI2PETTrainingLib.demo_model -o Resources/Models/tspo-demo

The anatomy is one template deformed at random and the PET follows a parametric activity model, so the
network can learn no more than what an average TSPO scan looks like over an anatomy. Training and held-out
people differ in their seeds. Every seed, setting and baseline goes into the bundle's metadata and card.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from MRI2PETLib.bundle import DEMONSTRATION, Bundle, save_bundle
from MRI2PETLib.model_space import ModelSpace, encode, encode_target
from MRI2PETLib.models import unet
from MRI2PETLib.simulation import simulate_subject

_log = logging.getLogger(__name__)
_SPACE = ModelSpace(size=(48, 48, 48), spacing_mm=4.0)
_HELD_OUT_SEED = 1_000_000  # seeds of held-out people start here


@dataclass(frozen=True)
class Settings:
    """What the bundle's metadata records of its training."""

    people: int = 500
    held_out: int = 40
    steps: int = 1500
    learning_rate: float = 2e-3
    last_learning_rate: float = 1e-5
    ema_decay: float = 0.995
    gradient_clip: float = 1.0
    loss_region: str = "brain"
    first_seed: int = 0
    seed: int = 20250908


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Encoded (T1, PET, mask) triples, flipped left-right at random: [1, k, j, i] each."""

    def __init__(self, triples: list[np.ndarray], order: np.ndarray, flips: np.ndarray) -> None:
        self._triples, self._order, self._flips = triples, order, flips

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        triple = torch.from_numpy(self._triples[self._order[step]].astype(np.float32))
        triple = triple.flip(-1) if self._flips[step] else triple
        return triple[0:1], triple[1:2], triple[2:3]


def encoded_person(seed: int) -> np.ndarray:
    """One simulated person in model space: float16 [T1, PET target, mask, noise-free target]."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    person = simulate_subject(seed, spacing_mm=2.0)
    encoded = encode(person.t1, person.brain_mask, _SPACE)
    targets = [encode_target(pet, person.brain_mask, encoded) for pet in (person.pet, person.pet_true)]
    return np.stack([encoded.source, targets[0], encoded.mask, targets[1]]).astype(np.float16)


def simulate(settings: Settings, workers: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Training and held-out people."""
    training = range(settings.first_seed, settings.first_seed + settings.people)
    held_out = range(_HELD_OUT_SEED, _HELD_OUT_SEED + settings.held_out)
    seeds = [*training, *held_out]
    with ProcessPoolExecutor(workers) as pool:
        people = list(tqdm(pool.map(encoded_person, seeds), total=len(seeds), desc="simulating people"))
    return people[: settings.people], people[settings.people :]


def train(people: list[np.ndarray], settings: Settings) -> torch.nn.Module:
    """Adam with a one-cycle schedule; returns the exponential moving average of the weights."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    order = np.concatenate([rng.permutation(len(people)) for _ in range(-(-settings.steps // len(people)))])
    pairs = Pairs(people, order[: settings.steps], rng.random(settings.steps) < 0.5)
    network = unet.build({})
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema_decay)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=settings.learning_rate,
        total_steps=settings.steps,
        pct_start=0.1,
        final_div_factor=settings.learning_rate / 25 / settings.last_learning_rate,
    )
    bar = tqdm(DataLoader(pairs, batch_size=1), desc="training")
    for source, target, mask in bar:
        loss = unet.loss(network, source, target, mask, {"loss_region": settings.loss_region})
        if not torch.isfinite(loss):
            raise RuntimeError(f"The loss is {loss.item()} at step {bar.n}.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        bar.set_postfix(loss=f"{loss.item():.4f}")
    return average.module.eval()


def evaluate(
    network: torch.nn.Module, people: list[np.ndarray], held_out: list[np.ndarray]
) -> dict[str, Any]:
    """The network and the baselines on held-out people, in the brain, against the noisy target.

    Scale-free MSE is the mean over people of MSE / mean^2; r is Pearson's over voxels. The constant is the
    mean of the target (1 SUVR); the population mean is the mean training target, not registered; the cubic
    of T1 is fitted to the training people.
    """
    inside = np.stack([p[2] for p in people[:200]]) > 0
    t1 = np.stack([p[0] for p in people[:200]])[inside].astype(np.float64)
    pet = np.stack([p[1] for p in people[:200]])[inside].astype(np.float64)
    coefficients = np.polynomial.polynomial.polyfit(t1, pet, 3)
    count = np.sum([p[2] for p in people], axis=0, dtype=np.float64)
    mean_map = np.sum([p[1] for p in people], axis=0, dtype=np.float64) / np.maximum(count, 1)
    rows: dict[str, list[tuple[float, float]]] = {}
    for person in held_out:
        source, target, mask, clean = person.astype(np.float64)
        brain = mask > 0
        with torch.inference_mode():
            output = network(torch.from_numpy(source.astype(np.float32))[None, None])[0, 0].double().numpy()
        predictions = {
            "network": output,
            "constant": np.full_like(target, 0.5),
            "population mean": mean_map,
            "cubic of T1": np.polynomial.polynomial.polyval(source, coefficients),
            "true activity without noise": clean,
        }
        truth = target[brain]
        for name, prediction in predictions.items():
            values = prediction[brain]
            error = float(np.mean((values - truth) ** 2) / truth.mean() ** 2)
            r = float(np.corrcoef(values, truth)[0, 1]) if values.std() > 0 else float("nan")
            rows.setdefault(name, []).append((error, r))
    table = {
        name: {
            "scale_free_mse": float(np.mean([v[0] for v in values])),
            "r": float(np.mean([v[1] for v in values])),
        }
        for name, values in rows.items()
    }
    return {
        "people": len(held_out),
        "where": "simulated held-out people, 4 mm grid, brain mask, noisy target",
        "table": table,
        "cubic_of_t1": {
            "coefficients": coefficients.tolist(),
            "input": "T1 in model space",
            "output": "SUVR / 2",
        },
    }


def card(settings: Settings, result: dict[str, Any]) -> str:
    """The model card: what the model is not, first."""
    rows = "\n".join(
        f"| {name} | {row['scale_free_mse']:.4f} | {'-' if np.isnan(row['r']) else format(row['r'], '.3f')} |"
        for name, row in result["table"].items()
    )
    return f"""# tspo-demo

**DEMONSTRATION MODEL - NOT TRAINED ON REAL IMAGES.** It was trained on {settings.people} simulated people:
one public anatomical template (ICBM 152 2009a) deformed at random, and a parametric model of the average
[11C]PBR28 pattern with simulated blur and noise. Its output is what an average TSPO scan would look like
over this anatomy. Inflammation in the person does not change it. It is not the model of Ferrante et al.
2025, whose data and weights are not public. Not for clinical use, and not for inference about people.

## What it is for
Trying the software from end to end, tests, teaching, and as a starting point for training on own data.

## Input and output
A T1-weighted volume; the output is SUVR with the brain mask as reference region (its mean is about 1 by
definition), predicted on a 48 x 48 x 48 grid of 4 mm voxels and brought back to the grid of the T1. It holds
no detail finer than that.

## Measured on simulated people whose seeds were not in the training
{result["people"]} people; {result["where"]}. Lower scale-free MSE (MSE / mean squared) and higher r are
better. The last row is the best that any predictor could reach against noisy targets.

| predictor | scale-free MSE | r |
|---|---|---|
{rows}

These figures say how well the network learned the simulation. They say nothing about real PET.

## Training
{settings.steps} steps of batch 1, Adam, one-cycle learning rate up to {settings.learning_rate:g}, 0.5 BCE +
0.5 MSE in the brain, left-right flips, moving average of the weights ({settings.ema_decay}), seed
{settings.seed}. Repeat it with `python -m MRI2PETTrainingLib.demo_model`.

## Sources
The activity table follows public [11C]PBR28 maps (Lois et al. 2018, doi:10.5281/zenodo.1174364). The
template is ICBM 152 2009a (Fonov et al. 2011). The network is that of Ferrante et al. 2025 with attention
over voxels.
"""


def metadata(settings: Settings, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the bundle says about itself."""
    return {
        "id": "tspo-demo",
        "name": "TSPO demonstration (simulated)",
        "version": "0.1.0",
        "description": "T1 to [11C]PBR28-like SUVR, trained on simulated people: shows the software only.",
        "family": "unet",
        "network": {},
        "model_space": _SPACE.to_dict(),
        "source": {"modality": "MR", "contrast": "T1w"},
        "target": {
            "modality": "PET",
            "tracer": "PBR28",
            "unit": "SUVR",
            "reference_region": "brain mask",
        },
        "intended_use": DEMONSTRATION,
        "training_data": f"{settings.people} simulated people (deformed template, parametric activity)",
        "license": "Apache-2.0",
        "training": {**asdict(settings), "seconds": round(seconds), "torch": torch.__version__},
        "baselines": result,
    }


def build(folder: Path, settings: Settings, workers: int) -> Bundle:
    """Simulate, train, measure and write the bundle."""
    started = time.perf_counter()
    people, held_out = simulate(settings, workers)
    network = train(people, settings)
    result = evaluate(network, people, held_out)
    about = metadata(settings, result, time.perf_counter() - started)
    return save_bundle(folder, network, about, card(settings, result))


def main(arguments: list[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m MRI2PETTrainingLib.demo_model", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the bundle to write")
    parser.add_argument("--people", type=int, default=Settings.people, help="simulated people to train on")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="training steps of batch 1")
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    bundle = build(options.output, Settings(people=options.people, steps=options.steps), options.workers)
    for name, row in bundle.metadata["baselines"]["table"].items():
        _log.info("%-28s scale-free MSE %.4f  r %s", name, row["scale_free_mse"], row["r"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
