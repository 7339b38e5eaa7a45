"""Stage 6: the bundle's metadata and its card, which opens with what the model is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from MRI2PETLib.models.bundle import DEMONSTRATION
from TSPODemoModel import external, gates
from TSPODemoModel.anatomies import Split
from TSPODemoModel.external import RealCheck
from TSPODemoModel.gates import Gate, Measured
from TSPODemoModel.train import TrainSettings

T1_SOURCE = "OpenNeuro ds002748 v1.0.5 (doi:10.18112/openneuro.ds002748.v1.0.5), CC0"
PET_SOURCE = "Lois et al. 2018, hookerlab/huntington-with-pbr28 (doi:10.5281/zenodo.1174364), public domain"
_SEEN = (
    "This model, in sample: against each control that it was built from, mean r; donors' mean of the others"
)
TEMPLATE_SOURCE = "ICBM 152 2009a nonlinear symmetric (Fonov et al. 2011), free with its notice"


@dataclass(frozen=True)
class Training:
    """How the weights came about, and the second model. ``ablation``: figures of
    ``python -m TSPODemoModel --ablation`` if they were made.
    """

    settings: TrainSettings
    refinements: list[TrainSettings]
    split: Split
    donors: list[str]
    heldout_settings: TrainSettings
    heldout_donors: list[str]
    unseen_donors: list[str]
    software: dict[str, Any]
    ablation: dict[str, Any] | None


def metadata(training: Training, measured: Measured | None) -> dict[str, Any]:
    """What the bundle says about itself; without figures until it has been measured."""
    space = training.settings.space
    return {
        "id": "tspo-demo",
        "name": f"TSPO demonstration ({space.spacings_mm[0]:g} mm, simulated PET)",
        "version": "1.0.0",
        "description": "T1 to [11C]PBR28-like SUVR: real anatomy, average real pattern, simulated scanner. "
        "Shows the software only.",
        "family": "unet",
        "network": {},
        "model_space": space.to_dict(),
        "source": {"modality": "MR", "contrast": "T1w"},
        "target": {
            "modality": "PET",
            "tracer": "PBR28",
            "unit": "SUVR" if space.target == "suvr-half" else "normalised",
            "reference_region": "brain mask",
        },
        "intended_use": DEMONSTRATION,
        "training_data": f"{len(training.split.train)} real T1s, simulated PET after the average of "
        f"{len(training.donors)} real PBR28 maps; no pair of one person",
        "license": "Apache-2.0",
        "data_sources": [T1_SOURCE, PET_SOURCE, TEMPLATE_SOURCE],
        "split": {
            "people": training.split.to_dict(),
            "donors": training.donors,
            "out_of_sample_model": {
                "donors": training.heldout_donors,
                "unseen_donors": training.unseen_donors,
                "training": asdict(training.heldout_settings),
            },
        },
        "training": {
            **asdict(training.settings),
            "refinements": [asdict(cycle) for cycle in training.refinements],
            **training.software,
        },
        "baselines": {} if measured is None else _baselines(training, measured),
    }


def _baselines(training: Training, measured: Measured) -> dict[str, Any]:
    return {
        "people": len(training.split.test),
        **gates.outcome(measured.table, measured.gates),
        "cubic_of_t1": {
            "coefficients": measured.baselines.cubic.tolist(),
            "input": "T1 in model space",
            "output": "SUVR / 2",
        },
        "negative_control": measured.lesion,
        "real_pet_seen_donors": asdict(measured.own_donors),
        "real_pet_unseen_donors": None if measured.unseen is None else asdict(measured.unseen),
        "real_pet_unseen_donors_people": None
        if measured.unseen_people is None
        else asdict(measured.unseen_people),
        "leave_one_donor_out": measured.leave_one_out,
        "same_person_other_file": measured.path,
        "ablation": training.ablation,
    }


def card(training: Training, measured: Measured) -> str:
    """The model card (Markdown)."""
    settings, split = training.settings, training.split
    spacing = f"{settings.space.spacings_mm[0]:g} mm"
    return f"""# tspo-demo

**DEMONSTRATION MODEL - NOT TRAINED ON REAL T1/PET PAIRS.** Its targets were simulated: the average
pattern of {len(training.donors)} public [11C]PBR28 maps (Lois et al. 2018) was placed on
{len(split.train)} public T1s of other people, with simulated blur and noise. Its output is what an average
TSPO scan would look like on this anatomy. Inflammation in the person does not change it: of a focus added to
the PET alone, {abs(measured.lesion):.1%} is recovered. It is not the model of Ferrante et al. 2025, whose
data and weights are not public. Not for clinical use, and not for inference about people or groups.

It can show the software from end to end, serve tests and teaching, and start a training on own data. It
cannot estimate a person's TSPO binding, find inflammation, compare groups, replace a PET, or say anything
about genotype. Its figures cannot be compared with the paper's.

## Input and output
A T1-weighted volume of a head or a stripped brain. The output is SUVR with the brain mask as reference region
(so its mean is about 1 by definition), predicted on {settings.size}^3 voxels of {spacing} and brought back to
the grid of the T1. It holds no detail finer than that.

## Measured on held-out people
{len(split.test)} people whose T1s never touched the training, each as recorded (no deformation), with three
simulated PETs. {_failed(measured.gates)}

{gates.render(measured.table, measured.gates)}

Scale-free MSE is MSE / mean^2 against the noisy target; SSIM has a range of 2 SUVR and windows of 7 voxels.
*Own first*: people whose PET is closer (r, in the overlap of the masks) to the prediction from their own T1
than to those from other people's on average; *own best*: than to any. A cubic of the T1 has it too: it shows
that brains differ in shape, nothing more. The *anatomy oracle* is the simulation's own expectation for this
anatomy; no predictor can do better against noisy targets but by chance. The warped population maps use the
registration with which the truth was made, which favours them.

The truth rests on the person's own tissue: template maps warped by demons, decided by the T1's intensities.

## Against real PET
The network predicts for the ICBM 152 T1 (not in the training), smoothed by 6 mm.

{_unseen(training, measured.unseen, measured.unseen_people)}

{gates.render_real(_SEEN, measured.own_donors)}

The activity map without a network, leaving one donor out. Each map is made from the controls only, so no
patient is ever in it. r in the {external.MASK} of the donor left out:

| left out | activity map | mean of the other controls | tissue weights alone |
|---|---|---|---|
{_donor_rows(measured.leave_one_out)}

## Target scale and loss
{_ablation(training.ablation)}

## The program's whole path
{_path(measured.path)}

## Known failures
Pathology, atrophy beyond that of healthy adults, children, other contrasts than T1: not in the training. Wide
ventricles were not varied on purpose. Outside the brain nothing is predicted. Levels in small nuclei follow
blurred maps, not these nuclei. Uptake in vessels, choroid plexus and meninges is not modelled.

## Training
{settings.steps} steps of batch {settings.batch}{_coarse(settings)}, Adam with a one-cycle learning rate up to
{settings.learning_rate:g}, loss 0.5 BCE + 0.5 MSE in the brain, moving average of the weights
({settings.ema_decay}), seed {settings.seed}.{_refined(training.refinements)}
Beside the {len(split.train)} people, {settings.averages} averages of random groups of them in MNI space are
trained with. Pairs are made while training: rotations to 9 degrees, size to 5 %, elastic deformation, gamma
of .55 to 1.8, bias field, noise; principal components of the donors' maps, the patients' focal pattern,
thalamus, smooth variation; PSF 4.3 to 6 mm, correlated noise, genotype and global scale.
The split by person and by donor stands in `configs/metadata.json`. Build it again, or measure this file:

```
python -m TSPODemoModel --t1 T1S --pbr28 MAPS --work WORK -o BUNDLE
python -m TSPODemoModel --t1 T1S --pbr28 MAPS --work WORK --gates BUNDLE
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


def _failed(found: Sequence[Gate]) -> str:
    failed = [gate.name for gate in found if gate.passed is False]
    if not failed:
        return "Every gate that was measured is passed."
    return (
        f"**Not passed: {', '.join(failed)}.** Look at the warped population map beside it, which the "
        "program shows as the anatomy null."
    )


def _unseen(training: Training, check: RealCheck | None, people: RealCheck | None) -> str:
    if check is None or people is None:
        return "The out-of-sample model (two controls and two patients held out) was not trained."
    settings = training.heldout_settings
    title = (
        f"A second model ({settings.space.spacings_mm[0]:g} mm, {settings.steps} steps) that never saw "
        f"{', '.join(training.unseen_donors)}, against the mean of the unseen controls"
    )
    own = "The second model for the held-out people's own T1s, brought to MNI by demons and averaged"
    return (
        f"{gates.render_real(title, check)}\n\n"
        "The ICBM T1 is an average of many brains: no sulcus is as dark in it as in the T1 of a person. It\n"
        "is not in the training; averages of training people are.\n\n"
        f"{gates.render_real(own, people)}"
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


def render_ablation(found: dict[str, Any]) -> str:
    """The figures of ``--ablation`` as a Markdown table."""
    lines = ["| target | loss over | predictor | scale-free MSE | MSE | r |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['target']} | {row['loss']} | {row['predictor']} | {row['scale_free_mse']:.4f} | "
        f"{row['mse']:.5f} | {row['r']:.3f} |"
        for row in found["rows"]
    ]
    return "\n".join(lines)


def _ablation(found: dict[str, Any] | None) -> str:
    if found is None:
        return "Not measured."
    return f"""The published target (`minmax`: scaled to its own maximum) and loss (masked, mean over the
whole volume) against those of this model (`suvr-half`, mean over the brain), in all four combinations: 6 mm,
{found["steps"]} steps each, the same seed, people and test pairs. `minmax` levels are drawn to have the
published mean in the brain (.14 +- .04), because the simulation has none of the hot vessels that set them.
Scale-free MSE compares within a target only. Mask: as above, at 6 mm.

{render_ablation(found)}

{_verdict(found)}"""


def _verdict(found: dict[str, Any]) -> str:
    """Which of the two matters, from the figures."""
    r = {(row["target"], row["loss"]): row["r"] for row in found["rows"] if row["loss"] != "-"}
    target = r["suvr-half", "brain"] - r["minmax", "brain"]
    region = r["suvr-half", "brain"] - r["suvr-half", "volume"]
    larger = "target's scale" if abs(target) > abs(region) else "loss"
    return (
        f"Going from `minmax` to `suvr-half` changes the network's r by {target:+.3f}, from the whole\n"
        f"volume to the brain by {region:+.3f}: here it is the {larger} that matters."
    )


def _refined(cycles: list[TrainSettings]) -> str:
    if not cycles:
        return ""
    steps = " and ".join(f"{cycle.steps} steps up to {cycle.learning_rate:g}" for cycle in cycles)
    return (
        f" Then, at full size, {steps},\nwith {cycles[0].averages} of the averages (the second model has "
        "none of these). How long to train was decided with\nthe gates of the held-out people in view: their "
        "figures are a little too good for it."
    )


def _coarse(settings: TrainSettings) -> str:
    if not settings.coarse_steps:
        return ""
    return f", the first {settings.coarse_steps} on {settings.coarse_size}^3 voxels"
