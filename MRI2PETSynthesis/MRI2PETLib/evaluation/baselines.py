"""What a predictor without a network reaches on the same case. Shown beside the network in every table.

Each baseline gives a pattern only; its level is the in-brain mean of the synthetic image. So the error of
the level is the same for all rows, and what differs between them is the pattern.

The **warped average** is one average image laid over the person. To a PET: the population's map of the tracer
at 6 mm or, for a tracer without one, the mean PET of the training fold, brought to the person by a non-linear
warp of the T1 (by the affine alone where no T1 is at hand). To an MRI: the T1 template, by the affine, since
a warp would need the T1 itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.evaluation.cubic import Cubic, normalised_source
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.preprocessing.tracers import tracer_name
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.uptake import TISSUE_UPTAKE, population_uptake

NETWORK = "network"
WARPED_AVERAGE = "warped average"
TRAINING_MEAN = "training mean"
# A usual resolution of reconstructed brain PET; the population map itself is as sharp as the template.
POPULATION_FWHM_MM = 6.0


@dataclass(frozen=True)
class Predictor:
    """One row of the tables. ``values``: array [k, j, i] on the case's grid, or ``None`` and a ``reason``.

    ``uses`` says what information it has, in a few words that can be printed.
    """

    name: str
    uses: str
    values: np.ndarray | None
    reason: str = ""


@dataclass(frozen=True)
class Person:
    """What the baselines may know of a person, all on the grid of ``mask``.

    :ivar source: what the network started from.
    :ivar template_to_native: affine, maps MNI points to points of the person (LPS mm); ``warp`` leads back,
        by the affine and a non-linear part.
    """

    mask: sitk.Image
    source: sitk.Image | None
    direction: Direction
    template_to_native: sitk.Transform | None
    warp: sitk.Transform | None = None

    def from_mni(self, image: sitk.Image) -> np.ndarray | None:
        """An image in MNI space on the person's grid, [k, j, i]; ``None`` without a transform."""
        if self.template_to_native is None:
            return None
        transform = self.warp or self.template_to_native.GetInverse()
        return sitk.GetArrayFromImage(sitk.Resample(image, self.mask, transform, sitk.sitkLinear, 0.0))

    @property
    def placement(self) -> str:
        """How an image comes from MNI to the person, for a table."""
        return "warped non-linearly to the T1" if self.warp is not None else "placed by an affine"


def predictors(
    synthetic: np.ndarray,
    person: Person,
    *,
    cubic: Cubic | None = None,
    training_mean: sitk.Image | None = None,
) -> list[Predictor]:
    """The network's output and all baselines on the grid of the person, in the order of the tables.

    :param cubic: of the target over the source, fitted to the training people.
    :param training_mean: mean target of the training fold in MNI space.
    """
    inside = sitk.GetArrayViewFromImage(person.mask) != 0
    level = float(synthetic[inside].astype(np.float64).mean())

    def at_level(row: Predictor) -> Predictor:
        if row.values is None:
            return row
        mean = float(row.values[inside].astype(np.float64).mean())
        if not mean > 0:
            return Predictor(row.name, row.uses, None, f"its mean inside the brain mask is {mean:.3g}")
        values = np.where(inside, row.values * (level / mean), 0).astype(np.float32)
        return Predictor(row.name, row.uses, values)

    source, target = person.direction.source_name, person.direction.target_name
    rows = [
        Predictor("constant", "one value everywhere, no pattern", np.ones(inside.shape)),
        _cubic(person, cubic),
        *_averages(person, training_mean, f"the mean {target} of the training fold"),
    ]
    network = Predictor(NETWORK, f"the {source}, through the trained network", synthetic)
    return [network, *(at_level(row) for row in rows)]


def cubic_of_bundle(bundle: Bundle | None) -> Cubic | None:
    """The cubic in a bundle's metadata, ``baselines.cubic_of_t1`` (of whatever the source is)."""
    value: Any = None if bundle is None else bundle.metadata.get("baselines")
    return Cubic.of(value.get("cubic_of_t1")) if isinstance(value, dict) else None


def _cubic(person: Person, cubic: Cubic | None) -> Predictor:
    source = person.direction.source_name
    name = f"cubic of {source}"
    uses = f"the {source} of the same voxel, four coefficients"
    if cubic is None:
        return Predictor(name, uses, None, "its coefficients do not come with this model")
    uses = f"the {source} of the same voxel at {cubic.fwhm_mm:g} mm, four coefficients"
    if person.source is None:
        return Predictor(name, uses, None, f"it needs the {source}")
    return Predictor(name, uses, cubic.predict(person.source, person.mask))


def _averages(person: Person, training_mean: sitk.Image | None, of_fold: str) -> list[Predictor]:
    """The training mean and the warped average."""
    mean = None if training_mean is None else person.from_mni(training_mean)
    no_mean = "no mean of a training fold comes with this model or run"
    if person.template_to_native is None:
        no_mean = "no transform between MNI space and this person"
    of_training = Predictor(
        TRAINING_MEAN, f"{of_fold}, {person.placement}", mean, "" if mean is not None else no_mean
    )
    average, what = _population(person.direction)
    if average is None:
        null = Predictor(
            WARPED_AVERAGE, of_training.uses, mean, of_training.reason and f"{what}, and {no_mean}"
        )
        return [Predictor(TRAINING_MEAN, of_fold, None, f"it is the warped average: {what}"), null]
    values = person.from_mni(average)
    reason = "" if values is not None else "no transform between MNI space and this person"
    return [of_training, Predictor(WARPED_AVERAGE, f"{what}, {person.placement}", values, reason)]


def _population(direction: Direction) -> tuple[sitk.Image | None, str]:
    """The average image that needs no training data (MNI), and what it is, or why there is none."""
    if not direction.to_pet:
        return _template_t1(), "the T1 template (ICBM 152)"
    tracer = next((t for t in TISSUE_UPTAKE if tracer_name(t) == tracer_name(direction.tracer)), None)
    if tracer is not None:
        return _population_pet(tracer), f"one map of {tracer} in the population ({POPULATION_FWHM_MM:g} mm)"
    if not direction.tracer:
        return None, "the tracer is not stated"
    return None, f"there is no map of {direction.tracer} in the population"


@cache
def _population_pet(tracer: str) -> sitk.Image:
    """The population's mean activity on the template grid at the resolution of a PET."""
    return smooth_fwhm(population_uptake(tracer), POPULATION_FWHM_MM, load_template().mask)


@cache
def _template_t1() -> sitk.Image:
    template = load_template()
    t1, inside = (sitk.GetArrayViewFromImage(image) for image in (template.t1, template.mask))
    scaled = normalised_source(t1, inside != 0) * (inside != 0)
    return Grid.of(template.t1).image(scaled.astype(np.float32))
