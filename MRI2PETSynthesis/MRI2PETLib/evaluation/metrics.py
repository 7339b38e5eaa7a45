"""The metrics: how close a predicted PET is to the real one. To add one, write its function here.

Every table takes its metrics from :data:`METRICS`: the JSON and CSV files, the reports, the tables and
readouts in Slicer, the report of a training, the table in the documents. Nothing else has to change.

A metric is a function of a :class:`~MRI2PETLib.evaluation.pair.Pair`: two vectors over M, the voxels inside
the mask where both images are finite. One that is not defined is ``None`` with a reason, never NaN.

Definitions follow Ferrante et al. 2025 (Eq. 2, Eq. 3, Table 4) where the paper has them; where the published
code contradicts the paper, the paper is followed and the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np

from MRI2PETLib.evaluation.cnr import N_PAIRS
from MRI2PETLib.evaluation.measure import Measure, correlation, is_constant, measured, regression_slope
from MRI2PETLib.evaluation.normdiff import EMPTY, RELATIVE_EPS
from MRI2PETLib.evaluation.pair import Pair, VolumePair
from MRI2PETLib.evaluation.ssim import WINDOW, similarity

# Which real PET: as it is, or smoothed (the synthetic PET is never smoothed). The beginning of a name.
AS_IS, SMOOTHED = "", "smoothed_"
PET_UNIT, PET_SQUARED = "PET", "PET²"  # units: that of the images, and its square
Better = Literal["higher", "lower", "near 0", "near 1", ""]
Function = TypeVar("Function", bound=Callable[..., Measure])


@dataclass(frozen=True)
class Metric:
    """All that any table says about a number.

    ``name``: key in JSON and CSV. ``label``: heading of a column. ``unit``: empty, ``%``, ``dB``,
    :data:`PET_UNIT` or :data:`PET_SQUARED`. ``better``: which values are; empty for what only describes.
    ``note``: a sentence for the reader, printed below the tables. ``against``: which real PETs it is computed
    against. ``columns``: for which of those the tables of the whole brain have a column; files hold all.
    ``regions``: whether tables of regions show it, for the network or for all predictors; ``file``: only in
    the CSV file; ``no``: not computed, it needs the whole image. ``paper``: its name in Table 4 of Ferrante
    et al. 2025, and what it is divided by for the sign and unit used there.
    """

    name: str
    label: str
    unit: str
    better: Better
    function: Callable[..., Measure]
    note: str = ""
    against: tuple[str, ...] = (AS_IS, SMOOTHED)
    columns: tuple[str, ...] = (AS_IS,)
    regions: Literal["no", "file", "network", "all"] = "file"
    ratio: bool = False
    paper: tuple[str, float] | None = None

    @property
    def heading(self) -> str:
        """The label, with the unit where it does not depend on the images."""
        return f"{self.label} ({self.unit})" if self.unit in ("%", "dB") else self.label

    def unit_of(self, images: str) -> str:
        """The unit of a value of images in the unit ``images``."""
        squared = f"({images})²" if " " in images or "/" in images else f"{images}²"
        return {PET_UNIT: images, PET_SQUARED: squared}.get(self.unit, self.unit)

    @property
    def ideal(self) -> float | None:
        """The best value, where that is one number."""
        return {"near 0": 0.0, "near 1": 1.0}.get(self.better)

    def is_better(self, one: float, other: float) -> bool:
        """Whether ``one`` is a better value than ``other``; never for what only describes."""
        if self.ideal is not None:
            return abs(one - self.ideal) < abs(other - self.ideal)
        return one > other if self.better == "higher" else self.better == "lower" and one < other

    def with_prefix(self, prefix: str) -> Metric:
        """This metric as it stands in a table against one real PET."""
        if not prefix:
            return self
        return replace(self, name=prefix + self.name, label=f"{self.label}, {prefix.removesuffix('_')}")


METRICS: dict[str, Metric] = {}


def metric(label: str, *, unit: str = "", better: Better = "", **more: Any) -> Callable[[Function], Function]:
    """Enter a function into :data:`METRICS` under its name; see :class:`Metric` for the arguments."""

    def enter(function: Function) -> Function:
        name = function.__name__
        METRICS[name] = Metric(name, label, unit, better, function, **more)
        return function

    return enter


@metric(
    "r",
    better="higher",
    note="r: Pearson correlation over voxels. It depends on the mask: here the brain, without background.",
    columns=(AS_IS, SMOOTHED),
)
def pearson_r(pair: Pair) -> Measure:
    """Pearson correlation over M. Not defined for n < 3 or a constant image.

    It depends on the mask (a wide mask with zeros around the brain raises it): state the mask with every r.
    """
    return correlation(pair.s, pair.r)


@metric("MSE", unit=PET_SQUARED, better="lower", note="MSE, MAE: mean squared and mean absolute error.")
def mse(pair: Pair) -> Measure:
    """Mean squared error, ``mean((s - r)^2)`` over M."""
    return Measure(float(np.mean(pair.squared))) if pair.s.size else Measure(None, EMPTY)


@metric(
    "MSE, median",
    unit=PET_SQUARED,
    better="lower",
    note="MSE, median: what the published code calls MSE. It ignores the worst half of the voxels.",
    columns=(),
    paper=("MSE", 1.0),
)
def mse_median(pair: Pair) -> Measure:
    """Median squared error, ``median((s - r)^2)`` over M: what the published code reports as "MSE".

    It ignores the worst half of the voxels and is well below :func:`mse`.
    """
    return Measure(float(np.median(pair.squared))) if pair.s.size else Measure(None, EMPTY)


@metric("MAE", unit=PET_UNIT, better="lower")
def mae(pair: Pair) -> Measure:
    """Mean absolute error, ``mean(|s - r|)`` over M."""
    return Measure(float(np.mean(np.abs(pair.difference)))) if pair.s.size else Measure(None, EMPTY)


@metric(
    "PSNR",
    unit="dB",
    better="higher",
    note="PSNR = 10 log10(L² / MSE), L = the range of the real image in the brain.",
)
def psnr_db(pair: Pair) -> Measure:
    """Peak signal-to-noise ratio, ``10 log10(L^2 / mse)`` in dB; ``L`` is max - min of the real PET over M.

    Not defined for equal images (infinite) and for a constant real PET.
    """
    if not pair.s.size:
        return Measure(None, EMPTY)
    span, error = float(np.ptp(pair.r)), float(np.mean(pair.squared))
    if span <= 0:
        return Measure(None, "the real image is constant")
    if error == 0:
        return Measure(None, "the images are equal: the ratio is infinite")
    return measured(10 * np.log10(span**2 / error), "not finite")


@metric(
    "SSIM",
    better="higher",
    note=f"SSIM: structural similarity in windows of {WINDOW} voxels on each axis (Wang et al. 2004).",
    regions="no",
)
def ssim(pair: VolumePair) -> Measure:
    """Structural similarity, see :mod:`MRI2PETLib.evaluation.ssim`; ``L`` as for :func:`psnr_db`."""
    span = float(np.ptp(pair.r)) if pair.r.size else 0.0
    return similarity(pair.synthetic.moments, pair.real.moments, span)


@metric(
    "NormDiff, mean",
    better="near 0",
    note="NormDiff = (synthetic - real) / (synthetic + real), within -1 to 1, positive where the synthetic "
    "image is higher; voxels where both are zero are left out and counted.",
    ratio=True,
    columns=(),
)
def normdiff_mean(pair: Pair) -> Measure:
    """Mean of :func:`~MRI2PETLib.evaluation.normdiff.normdiff_map` over its defined voxels."""
    return pair.normdiff["mean"]


@metric("NormDiff, median", better="near 0", regions="all", ratio=True, paper=("NormDiff", -1.0))
def normdiff_median(pair: Pair) -> Measure:
    """Median of NormDiff over its defined voxels. The published code has the opposite sign."""
    return pair.normdiff["median"]


@metric("NormDiff, SD", better="lower", ratio=True)
def normdiff_sd(pair: Pair) -> Measure:
    """Population SD of NormDiff over its defined voxels."""
    return pair.normdiff["sd"]


@metric("NormDiff, share left out", columns=(), ratio=True)
def normdiff_excluded_fraction(pair: Pair) -> Measure:
    """Share of M where NormDiff is not defined."""
    return pair.normdiff["excluded_fraction"]


@metric(
    "difference",
    unit="%",
    better="near 0",
    note="Difference: of the means, synthetic against real.",
    regions="all",
    ratio=True,
    paper=("PercDiff", -100.0),
)
def percent_difference(pair: Pair) -> Measure:
    """Difference of the means in %, ``100 (mean(s) - mean(r)) / mean(r)``.

    The published "PercDiff" is the same as a fraction with the opposite sign. Not defined when mean(r) <= 0.
    """
    if not pair.s.size:
        return Measure(None, EMPTY)
    mean = float(pair.r.mean())
    if mean <= RELATIVE_EPS * float(np.abs(pair.r).mean()):
        return Measure(None, "the mean of the real image is not above zero")
    return measured(100 * (pair.s.mean() - mean) / mean, "not finite")


@metric(
    "ROI CNR bias",
    better="near 0",
    note="ROI CNR bias = (mean real - mean synthetic) / SD of both together: what Table 4 of Ferrante et al. "
    "2025 calls CNR.",
    columns=(),
    regions="network",
    paper=("CNR", 1.0),
)
def roi_cnr_bias(pair: Pair) -> Measure:
    """Standardised bias, ``(mean(r) - mean(s)) / std(r and s together)``, population SD; no unit.

    This is what Table 4 of Ferrante et al. 2025 prints as "CNR", with its sign (positive when the synthetic
    PET is lower). It is no contrast-to-noise ratio of an image: that is
    :func:`MRI2PETLib.evaluation.cnr.cnr_values`.
    """
    if not pair.s.size:
        return Measure(None, EMPTY)
    both = np.concatenate([pair.r, pair.s])
    if is_constant(both):
        return Measure(None, "both images are constant")
    return measured((pair.r.mean() - pair.s.mean()) / both.std(), "not finite")


@metric(
    "slope",
    better="near 1",
    note="Slope of the synthetic on the real image over voxels, and SD ratio (synthetic over real): below 1 "
    "the synthetic image is too flat (regression to the mean).",
    columns=(SMOOTHED,),
)
def slope(pair: Pair) -> Measure:
    """Least-squares slope of the synthetic on the real PET over M, no unit.

    1 is ideal, below 1 is regression to the mean: high voxels too low and low ones too high. Noise of the
    real PET alone lowers it too, so read it on the smoothed real PET.
    """
    return regression_slope(pair.r, pair.s)


@metric("SD ratio", better="near 1", columns=(SMOOTHED,))
def sd_ratio(pair: Pair) -> Measure:
    """SD of the synthetic over SD of the real PET over M, no unit; below 1 the synthetic PET is too flat."""
    if pair.s.size < 2:
        return Measure(None, EMPTY if not pair.s.size else "an SD needs 2 values")
    if is_constant(pair.r):
        return Measure(None, "the real image is constant")
    return measured(pair.s.std() / pair.r.std(), "not finite")


@metric(
    "|CNR|",
    note=f"|CNR|: median of |difference of the means| / SD over {N_PAIRS} random pairs of boxes in the "
    "brain, the same boxes for all images. It describes one image.",
    against=(AS_IS,),
    regions="no",
)
def cnr_synthetic_median_abs(pair: VolumePair) -> Measure:
    """Median of the absolute CNR of the synthetic PET, see :mod:`MRI2PETLib.evaluation.cnr`."""
    return pair.synthetic.cnr["median_abs"]


@metric("CNR, signed", against=(AS_IS,), columns=(), regions="no")
def cnr_synthetic_median_signed(pair: VolumePair) -> Measure:
    """Signed median of the CNR of the synthetic PET; it tends to 0 for any image."""
    return pair.synthetic.cnr["median_signed"]


@metric("|CNR| of real", regions="no")
def cnr_real_median_abs(pair: VolumePair) -> Measure:
    """Median of the absolute CNR of the real PET over the same boxes."""
    return pair.real.cnr["median_abs"]


@metric("CNR of real, signed", columns=(), regions="no")
def cnr_real_median_signed(pair: VolumePair) -> Measure:
    """Signed median of the CNR of the real PET."""
    return pair.real.cnr["median_signed"]


@metric("mean", unit=PET_UNIT, against=(AS_IS,), columns=(), regions="no")
def mean_synthetic(pair: Pair) -> Measure:
    """Mean of the synthetic PET over M."""
    return Measure(float(pair.s.mean())) if pair.s.size else Measure(None, EMPTY)


@metric("mean of real", unit=PET_UNIT, against=(AS_IS,), columns=(), regions="no")
def mean_real(pair: Pair) -> Measure:
    """Mean of the real PET over M."""
    return Measure(float(pair.r.mean())) if pair.r.size else Measure(None, EMPTY)


def brain_metrics(*, in_reports: bool = False) -> dict[str, Metric]:
    """The numbers of the whole brain by name, against the real PET and then against the smoothed one.

    :param in_reports: only those with a column in the reports and windows, in the order of their metrics.
    """
    if in_reports:
        columns = [m.with_prefix(prefix) for m in METRICS.values() for prefix in m.columns]
    else:
        columns = [m.with_prefix(p) for p in (AS_IS, SMOOTHED) for m in METRICS.values() if p in m.against]
    return {column.name: column for column in columns}


def region_metrics(*, in_reports: bool = False) -> dict[str, Metric]:
    """The numbers of a region by name; ``in_reports``: those with a column in the reports and windows."""
    if in_reports:
        return {name: m for name, m in METRICS.items() if m.regions in ("network", "all")}
    return {name: m for name, m in brain_metrics().items() if m.regions != "no"}


def unfit_metrics(*, to_pet: bool) -> dict[str, Measure]:
    """The numbers that make no sense for a target, with the reason: none for a PET."""
    if to_pet:
        return {}
    return {
        name: Measure(
            None,
            "it is a ratio to zero, and the zero of an MRI is arbitrary"
            if metric.ratio
            else "smoothing to the noise of a PET is for PET",
        )
        for name, metric in brain_metrics().items()
        if metric.ratio or name.startswith(SMOOTHED)
    }


def metric_notes(*, to_pet: bool) -> list[str]:
    """What the reader of a table must know, a sentence or two each; nothing of what a target leaves out."""
    unfit = unfit_metrics(to_pet=to_pet)
    notes = [m.note for name, m in METRICS.items() if m.note and name not in unfit]
    smoothed = "Smoothed: the real PET smoothed inside the brain mask; the synthetic PET never is."
    return [*notes, smoothed] if to_pet else notes


def metric_facts() -> dict[str, dict[str, str]]:
    """What every number of a JSON file means, by its name."""
    return {
        name: {"label": m.label, "unit": m.unit, "better": m.better, "note": m.note}
        for name, m in brain_metrics().items()
    }
