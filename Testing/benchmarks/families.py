"""All model families on one simulated cohort, one table: how close, how slow, how much memory.

Every network gets about the same CPU time to train, on the same people; others are synthesised. All numbers
are of the model's grid (24 x 24 x 24 voxels of 8 mm), inside the brain mask, one thread. What is finished is
kept: the same command goes on.

    python Testing/benchmarks/families.py -o OUT [--only unet ...] [--full-size]

Writes OUT/families.json and OUT/families.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from MRI2PETLib.core.files import write_json, write_text
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.evaluation.baselines import WARPED_AVERAGE, Person, predictors
from MRI2PETLib.evaluation.compare import measure
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.measure import correlation
from MRI2PETLib.evaluation.scaling import divide_by_mean
from MRI2PETLib.models import get_family
from MRI2PETLib.models.model_space import ModelSpace, encode_pair
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.preprocessing.warp_file import person_warp
from MRI2PETLib.simulation import simulate_subject
from MRI2PETTrainingLib.dataset.cache import ARRAYS, PreparedCase
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from MRI2PETTrainingLib.fit import fit_fold
from MRI2PETTrainingLib.hardware import Hardware
from MRI2PETTrainingLib.presets import Augmentation, Preset, read_preset

SPACE = ModelSpace(size=(24, 24, 24), spacing_mm=8.0)
N_TRAIN, N_TEST, FIRST_TEST = 32, 6, 1000
_DENOISER = [8, 16, 32]
# Preset to start from, what differs, epochs (so that each trains about 5 CPU-minutes), and the (steps,
# samples, people) to measure.
_DIFFUSION = [(steps, samples, N_TEST) for samples in (1, 8) for steps in (1, 5, 25)]
MODELS: dict[str, tuple[str, dict[str, Any], int, list[tuple[int, int, int]]]] = {
    "U-Net": ("smoke", {}, 48, [(0, 1, N_TEST)]),
    "pix2pix 3D": (
        "pix2pix-3d",
        {"network": {"dims": 3, "channels": 16, "levels": 3}, "learning_rate": 0.002, "ema_decay": 0.98},
        26,
        [(0, 1, N_TEST)],
    ),
    "diffusion x0": ("smoke-diffusion", {"network": {"objective": "x0"}}, 50, _DIFFUSION),
    "diffusion rflow": ("smoke-diffusion", {"network": {"objective": "rflow"}}, 50, _DIFFUSION),
    "diffusion eps (DDPM)": (
        "smoke-diffusion",
        # The published loss; 1000 steps are the published sampler, fewer are DDIM.
        {"network": {"objective": "eps"}, "loss": {"laplacian_dims": 2, "weighting": "none"}},
        50,
        [(25, 1, N_TEST), (1000, 1, 2)],
    ),
}
FULL_SIZE = ("tspo-unet", "pix2pix-3d", "choilee2018", "rflow", "mri2pet2025")


def preset_of(base: str, changes: dict[str, Any], epochs: int) -> Preset:
    preset = read_preset(base)
    network = {**preset.network, **changes.get("network", {})}
    if preset.family == "diffusion":
        network["channels"] = _DENOISER
    loss = {**preset.loss, **changes.get("loss", {})}
    if preset.family == "pix2pix":
        network["channels"], loss["critic_channels"], loss["critic_layers"] = 16, 16, 1
    return replace(
        preset,
        **{k: v for k, v in changes.items() if k not in ("network", "loss")},
        network=network,
        loss=loss,
        space=SPACE,
        epochs=epochs,
        validate_every=epochs,
        validation_samples=1,
        select="last",
        augmentation=Augmentation(flip=0.5),
    )


def person(seed: int, folder: Path) -> PreparedCase:
    """Source, target, mask and noise-free target of one person, kept on disk."""
    entry = folder / f"{seed:04d}"
    if not (entry / ARRAYS).is_file():
        subject = simulate_subject(seed, spacing_mm=4.0)
        axes = extract_brain(subject.t1, mask=subject.brain_mask).axes
        encoded, target = encode_pair(subject.t1, subject.pet, subject.brain_mask, axes, SPACE)
        _, clean = encode_pair(subject.t1, subject.pet_true, subject.brain_mask, axes, SPACE)
        entry.mkdir(parents=True, exist_ok=True)
        np.save(entry / "clean.npy", clean)
        np.save(entry / ARRAYS, np.stack([encoded.source, target, encoded.mask]).astype(np.float16))
    case = TrainingCase(str(seed), str(seed), entry / "T1", entry / "PET")
    return PreparedCase(case, entry, {"findings": [], "template_to_t1_lps": None})


def volumes(case: PreparedCase) -> np.ndarray:
    return np.array(case.arrays(), dtype=np.float32)


def trained(folder: Path, preset: Preset, people: Sequence[PreparedCase]) -> dict[str, Any]:
    """Train once; the weights stay in ``folder``."""
    if not (folder / "training.json").is_file():
        started = time.process_time()
        fitted = fit_fold(folder, people, people[:1], preset, seed=0, hardware=Hardware("cpu"))
        torch.save(fitted.network.state_dict(), folder / "weights.pt")
        cost = {"cpu_s": time.process_time() - started, "steps": int(fitted.history[-1]["step"])}
        count = sum(p.numel() for p in fitted.network.parameters())
        write_json(folder / "training.json", {**cost, "parameters": count})
    return json.loads((folder / "training.json").read_text())


def predict_all(
    preset: Preset, weights: Path | None, sources: list[np.ndarray], steps: int, samples: int
) -> tuple[list[np.ndarray], list[np.ndarray | None], float, float]:
    """Mean and SD of each source, CPU seconds a volume, and MiB that the predictions needed beyond the
    loaded network. Runs in a process of its own, so that the peak is of this alone.
    """
    torch.set_num_threads(1)
    family = get_family(preset.family)
    network = family.build(dict(preset.network)).eval()
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    before = _peak_mib()

    def predict(source: np.ndarray, steps: int, samples: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        volume = torch.from_numpy(source)[None, None]
        return family.predict(network, volume, samples=samples, steps=steps, seed=0, progress=no_progress)

    predict(sources[0], 1, 1)  # the first call prepares convolutions: its time is not that of a volume
    means, sds, seconds = [], [], []
    for source in sources:
        started = time.process_time()
        mean, sd = predict(source, steps, samples)
        seconds.append(time.process_time() - started)
        means.append(mean[0, 0].numpy())
        sds.append(None if sd is None else sd[0, 0].numpy())
    return means, sds, float(np.mean(seconds)), _peak_mib(reset=False) - before


def _peak_mib(*, reset: bool = True) -> float:
    """Largest resident memory of this process since the last reset, after resetting it (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def in_own_process(*arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(predict_all, *arguments).result()


def closeness(predicted: Sequence[np.ndarray], people: Sequence[PreparedCase]) -> dict[str, Any]:
    """Mean and SD over people of r, MSE of images divided by their means, and SSIM."""
    rows = []
    for image, case in zip(predicted, people):
        _, real, mask = volumes(case)
        scaled = divide_by_mean(image * mask, mask), divide_by_mean(real * mask, mask)
        measures, free = measure(image, real, mask), measure(*scaled, mask)
        rows.append([measures["pearson_r"].value, free["mse"].value, measures["ssim"].value])
    table = np.array(rows, dtype=float)
    names = ("r", "scale_free_mse", "ssim")
    sd = table.std(axis=0, ddof=1)
    return {n: {"mean": m, "sd": s} for n, m, s in zip(names, table.mean(axis=0).tolist(), sd.tolist())}


def uncertainty(
    means: Sequence[np.ndarray], sds: Sequence[np.ndarray | None], people: Sequence[PreparedCase]
) -> float | None:
    """Mean over people of r between the SD of the samples and the absolute error, voxel by voxel."""
    rows = []
    for mean, sd, case in zip(means, sds, people):
        _, real, mask = volumes(case)
        if sd is not None:
            rows.append(correlation(sd[mask > 0], np.abs(mean - real)[mask > 0]).value)
    return float(np.mean(rows)) if rows else None  # type: ignore[arg-type]


def warped_average(case: PreparedCase) -> np.ndarray:
    """The population's activity map warped to a person, in model space; kept on disk."""
    path = case.folder / "null.npy"
    if not path.is_file():
        subject = simulate_subject(int(case.case.subject), spacing_mm=4.0)
        brain = extract_brain(subject.t1, mask=subject.brain_mask)
        values = np.ones(subject.t1.GetSize()[::-1], np.float32)
        fit = brain.template_to_native
        warp = None if fit is None else person_warp(subject.t1, subject.brain_mask, fit)
        person = Person(subject.brain_mask, subject.t1, Direction(tracer="PBR28"), fit, warp)
        rows = predictors(values, person)
        null = next(row.values for row in rows if row.name == WARPED_AVERAGE)
        image = sitk.GetImageFromArray(null)
        image.CopyInformation(subject.t1)
        np.save(path, encode_pair(subject.t1, image, subject.brain_mask, brain.axes, SPACE)[1])
    return np.load(path)


def baselines(train: Sequence[PreparedCase], test: Sequence[PreparedCase]) -> dict[str, Any]:
    """What needs no network, and what no method can exceed."""
    t1, pet, mask = (np.stack([volumes(case)[n] for case in train]) for n in range(3))
    inside = mask > 0
    cubic = np.polynomial.polynomial.polyfit(t1[inside].astype(float), pet[inside].astype(float), 3)
    mean = pet.sum(axis=0) / np.maximum(mask.sum(axis=0), 1)
    predicted = {
        "mean PET of the training people": [mean for _ in test],
        "cubic of T1": [np.polynomial.polynomial.polyval(volumes(c)[0], cubic) for c in test],
        f"{WARPED_AVERAGE}: population map, warped": [warped_average(c) for c in test],
        "ceiling: the PET without its noise": [np.load(c.folder / "clean.npy") for c in test],
    }
    return {name: closeness(images, test) for name, images in predicted.items()}


def measure_model(
    folder: Path, name: str, train: Sequence[PreparedCase], test: Sequence[PreparedCase]
) -> None:
    base, changes, epochs, measured = MODELS[name]
    preset = preset_of(base, changes, epochs)
    training = trained(folder, preset, train)
    for steps, samples, count in measured:
        path = folder / f"steps{steps}_samples{samples}.json"
        if path.is_file():
            continue
        people = test[:count]
        sources = [volumes(case)[0] for case in people]
        means, sds, seconds, mib = in_own_process(preset, folder / "weights.pt", sources, steps, samples)
        row = {
            "model": name,
            "steps": steps or None,
            "samples": samples,
            "people": count,
            **closeness(means, people),
            "r_of_sd_and_error": uncertainty(means, sds, people),
            "cpu_s_per_volume": seconds,
            "peak_mib_beyond_network": mib,
            "training": training,
        }
        write_json(path, row)
        print(
            f"{name}, {steps} steps, {samples} samples: r {row['r']['mean']:.3f}, {seconds:.2f} s", flush=True
        )


def measure_full_size(path: Path) -> None:
    """One network pass (one sampling step) of the presets as they ship, random weights: cost alone."""
    rows = []
    for name in FULL_SIZE:
        preset = read_preset(name)
        source = np.random.default_rng(0).random(preset.space.size[::-1], dtype=np.float32)
        _, _, seconds, mib = in_own_process(preset, None, [source], 1, 1)
        steps = preset.network.get("steps", 1) if preset.family == "diffusion" else 1
        row = {"preset": name, "grid": preset.space.grid_text, "steps": steps}
        rows.append({**row, "cpu_s_per_step": seconds, "peak_mib_beyond_network": mib})
        print(rows[-1], flush=True)
    write_json(path, {"rows": rows})


def markdown(content: dict[str, Any]) -> str:
    def spread(value: dict[str, float], digits: int) -> str:
        return f"{value['mean']:.{digits}f} ± {value['sd']:.{digits}f}"

    lines = [
        "| model | steps | samples | people | r | scale-free MSE | SSIM | r of SD and error | CPU s | MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        sd = "" if row["r_of_sd_and_error"] is None else f"{row['r_of_sd_and_error']:.2f}"
        cells = [row["model"], str(row["steps"] or ""), str(row["samples"]), str(row["people"])]
        cells += [spread(row["r"], 3), spread(row["scale_free_mse"], 4), spread(row["ssim"], 3), sd]
        cells += [f"{row['cpu_s_per_volume']:.2f}", f"{row['peak_mib_beyond_network']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    for name, row in content["baselines"].items():
        cells = [name, "", "", str(N_TEST)]
        cells += [spread(row["r"], 3), spread(row["scale_free_mse"], 4), spread(row["ssim"], 3), "", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| model | parameters | steps | CPU min |", "|---|---|---|---|"]
    for name, one in content["training"].items():
        lines.append(f"| {name} | {one['parameters']} | {one['steps']} | {one['cpu_s'] / 60:.1f} |")
    if content["full_size"]:
        lines += ["", "| preset | grid | steps | CPU s a step | MiB |", "|---|---|---|---|---|"]
    for row in content["full_size"]:
        numbers = f"{row['cpu_s_per_step']:.1f} | {row['peak_mib_beyond_network']:.0f}"
        lines.append(f"| {row['preset']} | {row['grid']} | {row['steps']} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), help="these models; default: all")
    parser.add_argument("--full-size", action="store_true", help="cost of the shipped presets, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    train = [person(seed, args.output / "people") for seed in range(N_TRAIN)]
    test = [person(seed, args.output / "people") for seed in range(FIRST_TEST, FIRST_TEST + N_TEST)]
    folders = {name: args.output / f"model_{number}" for number, name in enumerate(MODELS)}
    for name in args.only or MODELS:
        measure_model(folders[name], name, train, test)
    if args.full_size:
        measure_full_size(args.output / "full_size.json")
    full_size = args.output / "full_size.json"
    rows: list[dict[str, Any]] = []
    for folder in folders.values():
        measurements = [json.loads(path.read_text()) for path in folder.glob("steps*.json")]
        rows += sorted(measurements, key=lambda row: (row["samples"], row["steps"] or 0))
    content = {
        "grid": SPACE.grid_text,
        "train_people": N_TRAIN,
        "rows": rows,
        "baselines": baselines(train, test),
        "training": {row["model"]: row["training"] for row in rows},
        "full_size": json.loads(full_size.read_text())["rows"] if full_size.is_file() else [],
    }
    write_json(args.output / "families.json", content)
    print(write_text(args.output / "families.md", markdown(content)).read_text())


if __name__ == "__main__":
    main()
