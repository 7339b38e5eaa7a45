"""What a norm from a stranger must satisfy before anything is done with it, value by value.

All of these raise ``ValueError`` with the reason; :func:`.norm_folder.read_norm` names the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from MRI2PETLib.core.names import printable
from MRI2PETLib.normative.build import ALL_VOXELS
from MRI2PETLib.normative.controls import ControlModel, pairs_of_columns
from MRI2PETLib.normative.norm import FAMILIES, Norm, NormAbout
from MRI2PETLib.normative.person import KINDS
from MRI2PETLib.normative.settings import LARGEST_NUMBER, LEAST_PEOPLE, MOST_COLUMNS, NormSettings

MOST_PEOPLE, MOST_VOXELS, MOST_FILES = 100_000, 20_000_000, 1000
_MOST_NUMBERS = 200_000_000  # in all maps of a kind together
_LONGEST_TEXT = 1000
_ROUNDING = 1e-5  # of maps in float32
_FILE = re.compile(
    r"card\.md|regions\.csv|labels/\d{1,3}\.(nii\.gz|json)"
    r"|maps/(count|inverse\d{1,3}|(real|residual)_(mean|sd|covariate\d{1,2}))\.(nii\.gz|json)"
    r"|model/(LICENSE|configs/metadata\.json|docs/README\.md|models/[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors)"
)
_TRACER = re.compile(r"[A-Za-z0-9 \[\]().^_/-]{0,64}")


def check_norm_files(names: Iterable[Any]) -> None:
    """The files that a norm may list: those that this program writes."""
    listed = list(names)
    odd = [name for name in listed if not isinstance(name, str) or not _FILE.fullmatch(name)]
    if odd or len(listed) > MOST_FILES:
        raise ValueError(f"it lists {odd[0]!r:.80}" if odd else f"it lists {len(listed)} files")


def norm_number(value: Any, low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER) -> float:
    """A finite JSON number between two others; neither a text such as ``nan`` nor a truth value."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"{value!r:.80} is no number from {low:g} to {high:g}")
    return float(value)


def norm_number_or_none(value: Any) -> float | None:
    return None if value is None else norm_number(value)


def norm_numbers(values: Any) -> np.ndarray:
    """An array of numbers, of which ``null`` is NaN: JSON has none."""
    array = np.array(values, dtype=object)
    flat = [np.nan if value is None else norm_number(value, -math.inf, math.inf) for value in array.ravel()]
    result = np.array(flat, np.float64).reshape(array.shape)
    if np.isinf(result).any():
        raise ValueError("a number is infinite")
    return result


def norm_window(value: Any) -> tuple[float, float] | None:
    """Minutes after the injection, from a start to a later end; ``None`` where the norm has none."""
    if value is None:
        return None
    start, end = (norm_number(minute, 0) for minute in value)
    if not start < end:
        raise ValueError(f"the minutes {start:g} to {end:g} have no length")
    return start, end


def norm_text(value: Any) -> str:
    """A text of no control characters and no excessive length."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or printable(value) != value:
        raise ValueError(f"{value!r:.80} is no text")
    return value


def check_norm_about(about: NormAbout) -> None:
    """What a norm says of itself, where values follow from each other or have limits."""
    NormSettings(fwhm_mm=about.fwhm_mm, threshold=about.threshold)  # refuses what a norm cannot be built with
    if not _TRACER.fullmatch(about.tracer):
        raise ValueError(f"{about.tracer!r:.80} cannot be a tracer")
    if not 0 < about.n_people <= about.n_scans <= MOST_PEOPLE:
        raise ValueError(f"{about.n_people} people, {about.n_scans} scans")
    if about.n_people < LEAST_PEOPLE and not about.demonstration:
        raise ValueError(f"a norm of {about.n_people} people is a demonstration")
    names = [covariate.name for covariate in about.covariates]
    if len(set(names)) != len(names):
        raise ValueError("a covariate stands twice")
    for covariate in about.covariates:
        if len(set(covariate.names)) != len(covariate.names) or covariate.low > covariate.high:
            raise ValueError(f"the covariate {covariate.name!r} contradicts itself")
        if len(covariate.centre) != len(covariate.columns):
            raise ValueError(f"the covariate {covariate.name!r} has {len(covariate.centre)} centres")
    if ALL_VOXELS not in about.explained or not set(KINDS) <= set(about.calibration):
        raise ValueError("it does not say what the T1 explains, or how far left-out controls lie")
    for family in FAMILIES:
        for kind in KINDS:
            if len(about.maxima[family][kind]) > about.n_people:
                raise ValueError(f"{family} has more maxima than people")


def check_control_model(model: ControlModel, about: NormAbout, columns: int) -> None:
    """Shapes that fit, SDs above 0 or none, counts of people, matrices that can be inverses of X'X."""
    units = model.variance.shape
    shapes = (model.coefficients.shape, model.count.shape, model.inverse.shape)
    first, second = pairs_of_columns(columns)
    if shapes != ((columns, *units), units, (len(first), *units)):
        raise ValueError(f"shapes {shapes}")
    rests = np.isfinite(model.variance)
    if not (model.variance[rests] > 0).all():
        raise ValueError("an SD is not above 0")
    if not np.isfinite(model.coefficients[:, rests]).all():
        raise ValueError("a mean is missing where there is an SD")
    if not ((model.count >= 0) & (model.count <= about.n_people)).all():
        raise ValueError("it counts people who are not there")
    entries = np.unique(model.inverse[:, rests].T, axis=0)
    diagonal = entries[:, first == second]
    if not (np.isfinite(entries).all() and (diagonal > 0).all()):
        raise ValueError("the matrix of the covariates is none")
    scaled = np.zeros((len(entries), columns, columns))
    entries = entries / np.sqrt(diagonal[:, first] * diagonal[:, second])
    scaled[:, first, second] = scaled[:, second, first] = entries
    if len(scaled) and np.linalg.eigvalsh(scaled).min() < -_ROUNDING:
        raise ValueError("the matrix of the covariates is none")


def check_norm_size(n_voxels: int, columns: int) -> None:
    numbers = n_voxels * columns * (columns + 3) // 2  # means and slopes, and (X'X)^-1
    if n_voxels > MOST_VOXELS or columns > MOST_COLUMNS or numbers > _MOST_NUMBERS:
        raise ValueError(f"{n_voxels} voxels and {columns} columns are too many")


def check_norm_sizes(norm: Norm) -> None:
    """As many models as regions and pairs."""
    sizes = {"regions": len(norm.regions.keys), "asymmetry": len(norm.regions.pairs)}
    if any(len(norm.models[part][kind].variance) != size for part, size in sizes.items() for kind in KINDS):
        raise ValueError("models and regions differ in number")
