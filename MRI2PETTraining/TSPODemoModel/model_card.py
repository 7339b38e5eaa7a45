"""The bundle's metadata and its card, which opens with what the model is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from MRI2PETLib.models.bundle import DEMONSTRATION, IMAGES, Bundle, save_bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.synthesis.pipeline import software_versions
from TSPODemoModel import gates, real_donors
from TSPODemoModel.gates import Gate, Measurements, Unseen
from TSPODemoModel.simulated_pairs import MEAN_PSF_MM
from TSPODemoModel.training import Trained, stages_to
from TSPODemoModel.work_folder import WorkFolder

T1_SOURCE = "OpenNeuro ds002748 v1.0.5 (doi:10.18112/openneuro.ds002748.v1.0.5), CC0"
PET_SOURCE = "Lois et al. 2018, hookerlab/huntington-with-pbr28 (doi:10.5281/zenodo.1174364), public domain"
TEMPLATE_SOURCE = "ICBM 152 2009a nonlinear symmetric (Fonov et al. 2011), free with its notice"
NOT_MEASURED = "Not measured yet.\n"
_OWN_DONORS = (
    "This model, in sample: against each control that it was built from, mean r; donors' mean of the others"
)


def metadata(
    work: WorkFolder,
    members: Mapping[str, Sequence[Trained]],
    uncertainty: dict[str, Any],
    ablation: dict[str, Any] | None,
) -> dict[str, Any]:
    """What a bundle says about itself before it has been measured.

    :param members: the stages of each member, by its name.
    :param uncertainty: see :func:`TSPODemoModel.calibration.calibrate`.
    :param ablation: figures of the command ``ablation`` if they were made.
    """
    space = next(iter(members.values()))[-1].stage.preset.space
    several = f", mean of {len(members)}" if len(members) > 1 else ""
    return {
        "id": "tspo-demo",
        "name": f"TSPO demonstration ({space.spacings_mm[0]:g} mm{several}, simulated PET)",
        "version": "2.1.0",
        "description": "T1 to [11C]PBR28-like SUVR: real anatomy, average real pattern, simulated scanner. "
        "Shows the software only.",
        "family": "unet",
        "network": {},
        "model_space": space.to_dict(),
        "source": {"modality": "MR", "contrast": "T1w"},
        "target": {
            "modality": "PET",
            "tracer": "PBR28",
            "unit": space.output_unit,
            "reference_region": "brain mask",
        },
        "intended_use": DEMONSTRATION,
        "training_data": f"{len(work.split.train)} real T1s, simulated PET after the average of "
        f"{len(work.donors)} real PBR28 maps; no pair of one person",
        "license": "Apache-2.0",
        "data_sources": [T1_SOURCE, PET_SOURCE, TEMPLATE_SOURCE],
        "split": {"people": work.split.to_dict(), "donors": [donor.name for donor in work.donors]},
        "training": {
            "members": {name: [stage.to_dict() for stage in stages] for name, stages in members.items()},
            "ablation": ablation,
            IMAGES: work.images(),
            **software_versions(),
        },
        "uncertainty": uncertainty,
        "baselines": {},
    }


def write_figures(bundle: Bundle, measured: Measurements, looks: Sequence[str]) -> Bundle:
    """Put the figures of the test people into a bundle's metadata and card; the weights stay.

    :param looks: models that have been measured on these people, this one included.
    """
    content = {key: value for key, value in bundle.metadata.items() if key not in ("format", "members")}
    content["baselines"] = _figures(measured, looks, bundle.space.spacings_mm[0])
    networks = bundle.networks()
    names = [member["name"] for member in bundle.metadata.get("members", [])]
    network = dict(zip(names, networks)) if names else networks[0]
    return save_bundle(bundle.folder, network, content, card(content, measured, looks))


def _figures(measured: Measurements, looks: Sequence[str], spacing_mm: float) -> dict[str, Any]:
    return {
        "people": len(measured.people),
        "models_measured_on_them": list(looks),
        **gates.outcome(measured.table, measured.gates),
        "cubic_of_t1": {
            "coefficients": measured.baselines.cubic.tolist(),
            "fwhm_mm": round(math.hypot(spacing_mm, MEAN_PSF_MM), 2),  # of voxels and blur
            "input": "T1 in model space at the PET's resolution",
            "output": "SUVR / 2",
        },
        "cavity": measured.cavity,
        "coverage": None if measured.coverage is None else asdict(measured.coverage),
        "real_pet_seen_donors": asdict(measured.own_donors),
        "real_pet_unseen_donors": None if measured.unseen is None else asdict(measured.unseen),
        "leave_one_donor_out": measured.leave_one_out,
        "same_person_other_file": measured.path,
    }


def figures(measured: Measurements) -> str:
    """All tables of a measurement, Markdown."""
    parts = [gates.render_gates(measured.table, measured.gates), _coverage(measured), _path(measured.path)]
    return "\n\n".join([*parts, _against_real(measured)])


def card(content: Mapping[str, Any], measured: Measurements, looks: Sequence[str]) -> str:
    """The model card (Markdown) from a bundle's metadata and its figures."""
    space = ModelSpace.from_dict(content["model_space"])
    people, training = content["split"]["people"], content["training"]
    failed = failed_gates(measured.gates, measured.unseen)
    before = looks_before(looks, content.get("weights_sha256", ""))
    seeds = [name.removeprefix("seed-") for name in training["members"]]
    return f"""# tspo-demo

**DEMONSTRATION MODEL - NOT TRAINED ON REAL T1/PET PAIRS.** Its targets were simulated: the average
pattern of {len(content["split"]["donors"])} public [11C]PBR28 maps (Lois et al. 2018) was placed on
{len(people["train"])} public T1s of other people, with simulated blur and noise. Its output is what an
average TSPO scan would look like on this anatomy. Inflammation that the T1 does not show cannot change it:
the model sees the T1 alone. It is not the model of Ferrante et al. 2025, whose data and weights are not
public. Not for clinical use, and not for inference about people or groups.

It can show the software from end to end, serve tests and teaching, and start a training on own data. It
cannot estimate a person's TSPO binding, find inflammation, compare groups, replace a PET, or say anything
about genotype. Its figures cannot be compared with the paper's.

## Input and output
A T1-weighted volume of a head or a stripped brain. The output is SUVR with the brain mask as reference region
(so its mean is about 1 by definition), predicted on {space.grid_text}
and brought back to the grid of the T1. It holds no detail finer than that.{_members(training["members"])}

## Measured on held-out people
{len(measured.people)} people whose T1s chose nothing: not trained with, not used to decide how long to train.
Each as recorded (no deformation), with three simulated PETs. {failed}{before}

{gates.render_gates(measured.table, measured.gates)}

Scale-free MSE is MSE / mean^2 against the noisy target; SSIM has a range of 2 SUVR and windows of 7 voxels.
*Own first*: people whose PET is closer (r, in the overlap of the masks) to the prediction from their own T1
than to those from other people's on average; *own best*: than to any. A cubic of the T1 has it too: it shows
that brains differ in shape, nothing more. The *anatomy oracle* is the simulation's own expectation for this
anatomy; no predictor can do better against noisy targets but by chance. The warped population maps use the
registration with which the truth was made, which favours them. G8 is a cavity in T1 and PET: the share of the
missing uptake that the prediction leaves out as well.

The truth rests on the person's own tissue: template maps warped by demons, decided by the T1's intensities.

{_coverage(measured)}

## Against real PET
The network predicts for the ICBM 152 T1 (not in the training), smoothed by 6 mm.

{_against_real(measured)}

The activity map without a network, leaving one donor out. Each map is made from the controls only, so no
patient is ever in it. r in the {real_donors.TEMPLATE_MASK} of the donor left out:

| left out | activity map | mean of the other controls | tissue weights alone |
|---|---|---|---|
{_donor_rows(measured.leave_one_out)}

## Target scale and loss
{_ablation(training["ablation"])}

## The program's whole path
{_path(measured.path)}

## Known failures
Pathology, atrophy beyond that of healthy adults, children, other contrasts than T1: not in the training. Wide
ventricles were not varied on purpose. Outside the brain nothing is predicted. Levels in small nuclei follow
blurred maps, not these nuclei. Uptake in vessels, choroid plexus and meninges is not modelled.

## Training
Adam with warm-up and a cosine, loss 0.5 BCE + 0.5 MSE in the brain, moving average of the weights. Each stage
starts from the weights of the one before; the {len(people["validation"])} validation people chose its epoch.
One thread of a processor did it; no accelerator was at hand.

{_stages(training["members"])}

Beside the {len(people["train"])} people, averages of random groups of them in MNI space are trained with.
Pairs are made while training: rotations to 9 degrees, size to 5 %, elastic deformation, gamma of .55 to 1.8,
bias field, noise; principal components of the donors' maps, the patients' focal pattern, thalamus, smooth
variation; PSF 4.3 to 6 mm, correlated noise, genotype and global scale.
The split by person and by donor stands in `configs/metadata.json`. Build it again, or measure this file:

```
python -m TSPODemoModel prepare WORK --t1 T1S --pbr28 MAPS
{_train_commands(training["members"], measured.unseen)}
python -m TSPODemoModel bundle WORK -o BUNDLE --seeds {" ".join(seeds)}
python -m TSPODemoModel gates WORK BUNDLE --people test
```

## A model of your own
Train on own pairs with `mri2pet train` and import the bundle with `mri2pet models import`; it is then chosen
by its name like this one.

## Sources
* T1s: {T1_SOURCE}.
* PET maps: {PET_SOURCE}. SUV 60 to 90 min, MNI space, divided by their global mean, smoothed by 6 mm.
* Template: {TEMPLATE_SOURCE}.
* The network is that of Ferrante et al. 2025, with attention over voxels.
"""


def _members(members: Mapping[str, Any]) -> str:
    if len(members) == 1:
        return ""
    return (
        f" It is the mean of {len(members)} networks\ntrained from other random starts; "
        "`--member-sd` writes their SD,\nwhich is no measure of the error."
    )


def looks_before(looks: Sequence[str], own: str) -> str:
    """Which models were measured on the test people, if several; ``own``: checksum of this one."""
    if len(looks) < 2:
        return ""
    names = (f"{look}, this one" if own and look[:12] == own[:12] else look for look in looks)
    return (
        "\nModels that were measured on these people from this folder of the recipe, in order: "
        f"{'; '.join(names)}."
    )


def _train_commands(members: Mapping[str, Sequence[Mapping[str, Any]]], unseen: Unseen | None) -> str:
    """The lines that train the members and the out-of-sample model again."""

    def line(what: str, stage: str, epochs: int) -> str:
        usual = stages_to(stage)[-1].preset.epochs
        return f"{what} --to {stage}{'' if epochs == usual else f' --epochs {epochs}'}"

    train, trained = (
        "python -m TSPODemoModel train WORK",
        {n: stages[-1]["preset"] for n, stages in members.items()},
    )
    lines = [
        line(f"{train} --seed {name.removeprefix('seed-')}", preset["name"], preset["epochs"])
        for name, preset in trained.items()
    ]
    if unseen is not None:
        lines.append(line(f"{train} --hold-out-donors", unseen.stage, unseen.epochs))
    return "\n".join(lines)


def _stages(members: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = [
        "| member | stage | voxels | epochs | kept | steps | validation error |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {stage['preset']['name']} | {stage['preset']['model_space']['size'][0]}^3 | "
        f"{stage['preset']['epochs']} | {stage['epoch'] + 1} | {stage['steps']} | "
        f"{stage['validation_nmse']:.4f} |"
        for name, stages in members.items()
        for stage in stages
    ]
    return "\n".join(lines)


def _coverage(measured: Measurements) -> str:
    if measured.coverage is None:
        return "The bundle states no SD of its error."
    coverage = measured.coverage
    return (
        "The SD that the bundle states by region is that of the validation people. Of the voxels of the\n"
        f"people measured here, {coverage.one_sd:.0%} lie within one SD of the prediction and\n"
        f"{coverage.two_sd:.0%} within two (a normal distribution has 68 % and 95 %), without scanner noise."
    )


def failed_gates(judged: Sequence[Gate], unseen: Unseen | None) -> str:
    """Which gates a model does not pass, with what lies beside it."""
    failed = [gate.name for gate in judged if gate.passed is False]
    if not failed:
        return "Every gate that was measured is passed."
    reasons = [f"**Not passed: {', '.join(failed)}.**"]
    if {"G1b", "G4"} & set(failed):
        reasons.append("Look at the warped population map, which the program shows as the warped average.")
    if "G6c" in failed and unseen is not None:
        check, simulated = unseen.people, unseen.simulated
        worst = max(check.ratios, key=lambda name: abs(check.ratios[name] - check.real_ratios[name]))
        reasons.append(
            f"G6c: the {worst} has {check.ratios[worst]:.2f} of the cortex, {check.real_ratios[worst]:.2f} "
            f"in the real maps, {simulated[worst]:.2f} in the simulated uptake of the same people."
        )
    return " ".join(reasons)


def _against_real(measured: Measurements) -> str:
    own = gates.render_real(_OWN_DONORS, measured.own_donors)
    unseen = measured.unseen
    if unseen is None:
        return f"The out-of-sample model (two controls and two patients held out) was not trained.\n\n{own}"
    title = (
        f"A second model ({unseen.stage}) that never saw {', '.join(unseen.donors)}, against the mean of the "
        "unseen controls"
    )
    people = "The second model for the held-out people's own T1s, brought to MNI by demons and averaged"
    return (
        f"{gates.render_real(title, unseen.template)}\n\n"
        "The ICBM T1 is an average of many brains: no sulcus is as dark in it as in the T1 of a person. It\n"
        "is not in the training; averages of training people are.\n\n"
        f"{gates.render_real(people, unseen.people, unseen.simulated)}\n\n"
        "*Simulated* is the uptake that the network had to predict, of the same people by the same path:\n"
        "where it differs from *real* as much as the prediction does, people and donors differ, or the path\n"
        "blurs the region.\n\n"
        f"{own}"
    )


def _donor_rows(rows: Sequence[dict[str, float | str]]) -> str:
    return "\n".join(
        f"| {row['donor']} | {row['activity']:.3f} | {row['mean']:.3f} | {row['tissue']:.3f} |"
        for row in rows
    )


def _path(path: dict[str, float]) -> str:
    values = ", ".join(f"{name} {r:.3f}" for name, r in path.items())
    return (
        "The same person from another file: 1 mm voxels, turned by 15 degrees, stored as PIR; and one\n"
        "simulated person's whole head at 1 mm against the stripped 2 mm T1. r in the overlap of the brain\n"
        f"masks: {values}."
    )


def render_ablation(ablation: dict[str, Any]) -> str:
    """The figures of ``ablation`` as a Markdown table."""
    lines = ["| target | loss over | predictor | scale-free MSE | MSE | r |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['target']} | {row['loss']} | {row['predictor']} | {row['scale_free_mse']:.4f} | "
        f"{row['mse']:.5f} | {row['r']:.3f} |"
        for row in ablation["rows"]
    ]
    return "\n".join(lines)


def _ablation(ablation: dict[str, Any] | None) -> str:
    if ablation is None:
        return "Not measured."
    return f"""The published target (`minmax`: scaled to its own maximum) and loss (masked, mean over the
whole volume) against those of this model (`suvr-half`, mean over the brain), in all four combinations: 6 mm,
{ablation["epochs"]} epochs each, the same seed and people, measured on the validation people.
`minmax` levels are drawn to have the published mean in the brain (.14 +- .04), because the simulation has
none of the hot vessels that set them.
Scale-free MSE compares within a target only. Mask: as above, at 6 mm.

{render_ablation(ablation)}

{_verdict(ablation)}"""


def _verdict(ablation: dict[str, Any]) -> str:
    """Which of the two matters, from the figures."""
    r = {(row["target"], row["loss"]): row["r"] for row in ablation["rows"] if row["loss"] != "-"}
    target = r["suvr-half", "brain"] - r["minmax", "brain"]
    region = r["suvr-half", "brain"] - r["suvr-half", "volume"]
    larger = "target's scale" if abs(target) > abs(region) else "loss"
    return (
        f"Going from `minmax` to `suvr-half` changes the network's r by {target:+.3f}, from the whole\n"
        f"volume to the brain by {region:+.3f}: here it is the {larger} that matters."
    )
