"""SUVR without an MRI on simulated people: synthetic MR against the PET template, both against the real MR.

With `--tracer amyloid` people have white matter above cerebellar cortex, and cortex as low as that (half of
them) or much higher. As in Choi & Lee 2018 the PET template is the mean of negative people. With `--tracer
tspo` they are those of `mri2pet simulate`, and the PET template is the built-in one. A small 3-D GAN is
trained on pairs of other people. Prints the tables and writes the report of `mri2pet suvr --cases`. What is
finished is kept.

    python Testing/benchmarks/suvr_methods.py -o OUT [--tracer amyloid] [--train 16] [--test 6] [--steps 400]
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.images.grid import FWHM_PER_SIGMA, Grid, resample
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import Bundle, read_bundle, save_bundle
from MRI2PETLib.models.model_space import ModelSpace, encode_pair
from MRI2PETLib.models.objective import NETWORK_STATE
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.preprocessing.pet_template import built_in_pet_template, read_pet_template
from MRI2PETLib.reports.suvr_files import write_suvr
from MRI2PETLib.reports.suvr_report import write_suvr_cohort
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.normalisation import REAL_MR
from MRI2PETLib.suvr.regional import COMPOSITE, plan_regions, pull_atlas, regional_suvr
from MRI2PETLib.suvr.run import measure_cohort, read_cases
from MRI2PETLib.suvr.settings import SuvrSettings
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import cortical_spheres

SPACE = ModelSpace(size=(48, 48, 48), spacing_mm=4.0, source="suvr-half", target="mask-p1-p99")
NETWORK_ARGUMENTS = {"channels": 12, "levels": 3}
LOSS = {"critic_channels": 12, "critic_layers": 2, "critic_rate": 0.2}
LEARNING_RATE = 2e-3
# Activity: cerebellar cortex is 1. The cortex of negative and of positive people, drawn within these.
WHITE, CSF, NEGATIVE, POSITIVE = 1.5, 0.2, (0.95, 1.15), (1.7, 2.3)
FWHM_MM, NOISE = 6.0, 0.08
_TEMPLATES = {"amyloid": "mean of simulated negatives", "tspo": "built in"}


def cerebellum() -> sitk.Image:
    """A box of MNI space that holds the cerebellum (uint8, template grid)."""
    mask = load_template().mask
    index = np.indices(mask.GetSize()[::-1])[::-1]
    direction = np.reshape(mask.GetDirection(), (3, 3))
    x, y, z = (mask.GetOrigin()[a] + direction[a, a] * mask.GetSpacing()[a] * index[a] for a in range(3))
    image = sitk.GetImageFromArray(((-y < -36) & (z < -16)).astype(np.uint8))
    image.CopyInformation(mask)
    return image


def amyloid_pet(person: SimulatedSubject, cortex: float, seed: int) -> sitk.Image:
    """SUV on the grid of the T1."""
    rng = np.random.default_rng(seed)
    tissue = sitk.GetArrayViewFromImage(person.tissue)
    back = person.template_to_native.GetInverse()
    below = sitk.GetArrayFromImage(sitk.Resample(cerebellum(), person.t1, back, sitk.sitkNearestNeighbor, 0))
    sigma = [FWHM_MM / FWHM_PER_SIGMA] * 3
    grid = Grid.of(person.t1)
    field = grid.image(rng.standard_normal(tissue.shape, dtype=np.float32))
    field = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(field, [15.0] * 3))
    grey = np.where(below > 0, 1.0, cortex * np.exp(0.08 * field / field.std()))
    activity = np.select([tissue == 1, tissue == 2, tissue == 3], [grey, WHITE, CSF], 0.0)
    pet = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(grid.image(activity.astype(np.float32)), sigma)
    )
    noise = grid.image(rng.standard_normal(tissue.shape, dtype=np.float32))
    grain = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, [1.5] * 3))
    return grid.image(np.clip(pet + NOISE * grain / grain.std() * np.sqrt(np.clip(pet, 0, None)), 0, None))


def draw(seed: int, tracer: str) -> tuple[SimulatedSubject, sitk.Image, str]:
    person = simulate_subject(seed, spacing_mm=2.0)
    if tracer == "tspo":
        return person, person.pet, ""
    group = ("negative", "positive")[seed % 2]
    cortex = float(np.random.default_rng([seed, 1]).uniform(*(NEGATIVE, POSITIVE)[seed % 2]))
    return person, amyloid_pet(person, cortex, seed), group


def train(folder: Path, tracer: str, count: int, steps: int) -> tuple[Bundle, sitk.Image]:
    """The bundle and the PET template, from people 1000, 1001, ..."""
    if (folder / "template.nii.gz").is_file():
        return read_bundle(folder / "bundle"), sitk.ReadImage(str(folder / "template.nii.gz"))
    pairs, template = [], np.zeros(load_template().t1.GetSize()[::-1])
    for seed in range(1000, 1000 + count):
        person, pet, group = draw(seed, tracer)
        axes = extract_brain(person.t1, mask=person.brain_mask).axes
        encoded, target = encode_pair(person.t1, pet, person.brain_mask, axes, SPACE)
        pairs.append(torch.from_numpy(np.stack([encoded.source, target, encoded.mask]))[:, None, None])
        if group == "negative":
            normalised = resample(pet, Grid.of(load_template().t1), person.template_to_native)
            template += sitk.GetArrayFromImage(normalised)
    print(f"{count} people simulated, {time.process_time():.0f} CPU-s", flush=True)
    torch.manual_seed(0)
    family = get_family("pix2pix")
    network, objective = family.build(NETWORK_ARGUMENTS), family.objective(LOSS)
    parts = {True: network, False: objective}
    optimisers = {
        own: torch.optim.Adam(
            part.parameters(), LEARNING_RATE * (1 if own else objective.relative_rate), betas=(0.5, 0.999)
        )
        for own, part in parts.items()
    }
    for step in range(steps):
        left = 0.5 * (1 + np.cos(np.pi * step / steps))
        source, target, mask = pairs[np.random.default_rng([step]).integers(count)]
        for part, loss in objective.losses(network, source, target, mask):
            optimiser = optimisers[part == NETWORK_STATE]
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * max(0.01, left)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if step % 50 == 49:
            print(f"step {step + 1}: {loss.item():.3f}, {time.process_time():.0f} CPU-s", flush=True)
    metadata = {
        "id": f"pet-to-mr-{tracer}-demo",
        "name": f"PET to MR demonstration (4 mm, simulated {tracer} PET)",
        "version": "0",
        "description": "PET to T1-like MR for SUVR; trained on simulated people. Shows the software only.",
        "family": "pix2pix",
        "network": NETWORK_ARGUMENTS,
        "model_space": SPACE.to_dict(),
        "source": {"modality": "PET"},
        "target": {"modality": "MR", "contrast": "T1w"},
        "intended_use": "demonstration",
        "training_data": f"{count} simulated people, {steps} steps",
        "license": "Apache-2.0",
    }
    bundle = save_bundle(folder / "bundle", network, metadata, "Not measured yet.")
    if tracer == "tspo":
        image = built_in_pet_template()
    else:
        image = sitk.GetImageFromArray(template.astype(np.float32))
        image.CopyInformation(load_template().t1)
    sitk.WriteImage(image, str(folder / "template.nii.gz"))
    return bundle, image


def card(about: dict[str, Any], tracer: str) -> str:
    """The model card, from what was measured."""
    measured = about["baselines"]
    composite = {row["method"]: row for row in measured["agreement"] if row["role"] == "composite"}
    lines = [
        f"| {method} | {row['mae']:.3f} | {row['bias']:+.3f} ({row['lower_limit']:+.3f} to "
        f"{row['upper_limit']:+.3f}) | {row['r']:.3f} | {measured['mae_to_truth'][method]:.3f} |"
        for method, row in composite.items()
    ]
    table = "\n".join(lines)
    return f"""# {about["id"]}

**DEMONSTRATION MODEL - TRAINED ON SIMULATED PEOPLE ONLY.** It turns a PET into a blurred T1-like image, so
that regions can be found on a PET without an MRI (Choi & Lee 2018). Its pairs are simulated ({tracer}):
{about["training_data"]}, a 3-D GAN of 4 mm. It has seen no real PET and no real MRI: on real images
nothing is known of it. What it draws is no anatomy to read. Not for clinical use.

It can show `mri2pet suvr --model` and the task *PET to MR and SUVR* from end to end, and start a training on
own data.

## Measured on {measured["people"]} simulated people that it was not trained on
Composite SUVR (coordinate regions, reference: cerebellum) against the one through the person's simulated
MRI, and against the simulation's own truth. PET template: {_TEMPLATES[tracer]}.

| method | MAE | bias (limits of agreement) | r | MAE to the truth |
|---|---|---|---|---|
{table}

The real MRI itself is {measured["mae_to_truth"][REAL_MR]:.3f} from the truth. For tracers whose pattern
hardly differs between people the PET template does as well or better, and no model is needed
(Docs/explanation/generative.md). Whether the regions lie right on a PET, look at the picture of each
measurement.

Measured and built by `python Testing/benchmarks/suvr_methods.py -o OUT --tracer {tracer}`.
Licence: Apache-2.0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tracer", choices=("amyloid", "tspo"), default="amyloid")
    parser.add_argument("--train", type=int, default=16)
    parser.add_argument("--test", type=int, default=6)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    bundle, template = train(args.output, args.tracer, args.train, args.steps)
    plan = plan_regions(cortical_spheres(), "*cerebellum")
    truth: dict[str, float] = {}
    with (args.output / "cases.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("case", "subject", "group", "pet", "t1"))
        for seed in range(args.test):
            person, pet, group = draw(seed, args.tracer)
            folder = args.output / f"person_{seed:02d}"
            folder.mkdir(exist_ok=True)
            write_image(person.t1, folder / "T1.nii.gz")
            write_image(pet, folder / "PET.nii.gz", {"Units": "SUV", "Simulated": True})
            writer.writerow((folder.name, folder.name, group, folder / "PET.nii.gz", folder / "T1.nii.gz"))
            labels = pull_atlas(plan, pet, person.template_to_native.GetInverse())
            rows = regional_suvr(pet, labels, plan, person.template_to_native, method="truth")
            truth[folder.name] = float(rows[0].suvr or 0)
    settings = SuvrSettings("cortical-spheres", "*cerebellum", device="cpu", pet_segmentation=True)
    setup = SuvrSetup(settings, plan, {_TEMPLATES[args.tracer]: read_pet_template(template)}, bundle)
    cases = read_cases(args.output / "cases.csv", Reporter())
    measured, failed = measure_cohort(cases, setup, args.output / "suvr", write_suvr, Reporter())
    agreement = write_suvr_cohort(
        args.output / "suvr", args.output / "cases.csv", setup, measured, failed, Reporter()
    )
    composite = [row._asdict() for row in agreement if row.role == COMPOSITE]
    for row in composite:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    errors: dict[str, list[float]] = {}
    for name, true in truth.items():
        content = json.loads((args.output / "suvr" / name / "suvr.json").read_text())
        print(name, f"truth {true:.3f}", {k: round(v, 3) for k, v in content["Composite"].items()})
        for method, value in content["Composite"].items():
            errors.setdefault(method, []).append(abs(value - true))
    print("MAE of the composite against the truth:", {m: round(np.mean(e), 4) for m, e in errors.items()})
    write_json(args.output / "truth.json", truth)
    means = {method: float(np.mean(e)) for method, e in errors.items()}
    about = {k: v for k, v in bundle.metadata.items() if k not in ("format", "weights_sha256")}
    about["baselines"] = {"agreement": composite, "mae_to_truth": means, "people": args.test}
    save_bundle(args.output / "bundle", bundle.network(), about, card(about, args.tracer))
    print(f"{time.process_time():.0f} CPU-s")


if __name__ == "__main__":
    main()
