"""A norm on disk: what the controls of a lab are like, and nothing of any single one of them.

::

    NORM/norm.json          unit, people, covariates, models of regions, maxima of controls, checksums
    NORM/card.md            what it is, for a reader
    NORM/regions.csv        mean, SD and calibration by region and pair of regions
    NORM/maps/              MNI space: count, (X'X)^-1, and of both kinds mean, SD and the slope of each
                            covariate
    NORM/labels/            the regions
    NORM/model/             the model whose predictions it is about, if there is one

A norm may come from a stranger: what is read is JSON and NIfTI of the names above, with their checksums and
checked value by value (:mod:`.norm_checks`), and a model bundle, which runs no code either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.checksums import sha256_of, sha256_of_value
from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.files import make_folder, plain, read_json, write_json
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import open_image, read_image, same_grid, write_image
from MRI2PETLib.images.shear import SHEAR_TOLERANCE_MM, to_image
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETLib.normative import norm_checks
from MRI2PETLib.normative.calibration import CalibrationRow, ExplainedShare
from MRI2PETLib.normative.controls import ControlModel
from MRI2PETLib.normative.design import NormCovariate, design_columns
from MRI2PETLib.normative.norm import FAMILIES, PARTS, Norm, NormAbout, PredictedBy
from MRI2PETLib.normative.person import KINDS
from MRI2PETLib.normative.shrinkage import MOST_FREEDOM, VariancePrior
from MRI2PETLib.templates.regions import Parcellation

FORMAT_OF_NORM = "mri2pet-norm-3"
NORM_FILE, CARD_FILE, REGIONS_OF_NORM = "norm.json", "card.md", "regions.csv"
MAPS, REGION_LABELS, MODEL = "maps", "labels", "model"
_ARRAYS = ("coefficients", "variance", "count", "inverse")
_LARGEST_JSON = 50_000_000
_HINT = "Get the norm again from where it came from, or build it again."
NORM_BY = {"GeneratedBy": [{"Name": "SlicerMRI2PET normative", "Version": __version__}]}


def write_norm(folder: Path, norm: Norm) -> None:
    """Write all but the card, the tables and the model, which are there already, into an empty folder."""
    about = {**NORM_BY, "Description": "Norm of controls, MNI space", "Units": norm.about.unit}
    make_folder(folder / MAPS)
    for kind, model in norm.models["voxels"].items():
        images = {"mean": model.coefficients[0], "sd": np.sqrt(model.variance)}
        images |= {f"covariate{n}": slope for n, slope in enumerate(model.coefficients[1:], 1)}
        for name, values in images.items():
            write_image(norm.image(values), folder / MAPS / f"{kind}_{name}.nii.gz", about)
    model = norm.models["voxels"][KINDS[0]]  # both kinds rest on the same people
    counted = {**about, "Description": "Controls that a voxel rests on", "Units": "people"}
    write_image(norm.image(model.count), folder / MAPS / "count.nii.gz", counted)
    inverted = {**about, "Description": "Entry of (X'X)^-1 of these controls", "Units": ""}
    for number, values in enumerate(model.inverse):
        write_image(norm.image(values), folder / MAPS / f"inverse{number}.nii.gz", inverted)
    make_folder(folder / REGION_LABELS)
    sets = []
    for number, parcellation in enumerate(norm.parcellations):
        write_image(parcellation.labels, folder / REGION_LABELS / f"{number}.nii.gz")
        sets.append([parcellation.name, parcellation.names, parcellation.source])
    content = {
        "format": FORMAT_OF_NORM,
        "software": __version__,
        **_about_to_json(norm.about),
        "parcellations": sets,
        "models": {
            part: {kind: _model_to_json(model, part) for kind, model in kinds.items()}
            for part, kinds in norm.models.items()
        },
        "files": {
            path.relative_to(folder).as_posix(): sha256_of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    write_json(folder / NORM_FILE, {**content, "checksum": sha256_of_value(content)})


def read_norm(folder: Path) -> Norm:
    """Read a norm and check all of it.

    :raises InputError: if it is none, or was altered.
    """
    path = folder / NORM_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no norm.", "Make one: mri2pet normative build RUN -o NORM.")
    content = read_json(path, largest=_LARGEST_JSON)
    try:
        checksum = content.pop("checksum")
        if content["format"] != FORMAT_OF_NORM:
            raise InputError(
                f"{path} has the format {content['format']!r:.80}, this version reads {FORMAT_OF_NORM}.",
                "Build the norm again (mri2pet normative build), or use the version that made it.",
            )
        if checksum != sha256_of_value(content):
            raise InputError(f"{path} was altered.", _HINT)
        _check_files(folder, content["files"])
        return _norm_of(folder, content, checksum)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is not a norm of this version: {error!r:.300}.", _HINT) from error


def norm_source(folder: Path) -> str | None:
    """Of which run a norm says it is (see :class:`.NormAbout`), even a damaged one; ``None``: it does not."""
    with suppress(MRI2PETError):
        content = read_json(folder / NORM_FILE, largest=_LARGEST_JSON)
        source = content.get("source") if isinstance(content, dict) else None
        return source if isinstance(source, str) else None
    return None


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    norm_checks.check_norm_files(files)
    for name, checksum in files.items():
        path = folder / name
        if any(p.is_symlink() for p in (path, *path.parents) if folder in p.parents):
            raise InputError(f"{path} is a link.", _HINT)
        if not path.is_file():
            raise InputError(f"{folder} lacks {name}.", _HINT)
        if sha256_of(path) != checksum:
            raise InputError(f"{path} was altered.", _HINT)


def _norm_of(folder: Path, content: Mapping[str, Any], checksum: str) -> Norm:
    about = _about_from_json(content)
    columns = len(design_columns(about.covariates))

    def read(name: str) -> sitk.Image:
        path = folder / f"{name}.nii.gz"
        if f"{name}.nii.gz" not in content["files"]:
            raise KeyError(name)
        raw = open_image(path, kind="labels")  # the header is checked before any voxel is read
        norm_checks.check_norm_size(math.prod(raw.size), columns)
        if name.startswith(REGION_LABELS):
            return read_image(path, kind="labels").image
        image, shear_mm = to_image(np.asarray(raw.read_frame(0), np.float32), raw.affine)
        values = sitk.GetArrayViewFromImage(image)
        if raw.n_frames > 1 or shear_mm > SHEAR_TOLERANCE_MM or not np.isfinite(values).all():
            raise ValueError(f"{name} is no map")
        return image

    count = read(f"{MAPS}/count")
    inside = sitk.GetArrayFromImage(count) > 0
    grid = Grid.of(count).image(inside.astype(np.uint8))

    def voxels(name: str) -> np.ndarray:
        image = read(f"{MAPS}/{name}")
        if not same_grid(image, grid):
            raise ValueError(f"{name} is on another grid")
        return sitk.GetArrayFromImage(image)[inside].astype(np.float64)

    pairs = range(columns * (columns + 1) // 2)
    inverse = np.array([voxels(f"inverse{n}") for n in pairs])
    models: dict[str, dict[str, ControlModel]] = {part: {} for part in PARTS}
    for part in PARTS:
        for kind in KINDS:
            entry = content["models"][part][kind]
            if part == "voxels":
                names = ["mean", *(f"covariate{n}" for n in range(1, columns))]
                maps = np.array([voxels(f"{kind}_{name}") for name in names])
                sd = voxels(f"{kind}_sd")
                if (sd < 0).any():
                    raise ValueError("an SD is below 0")
                sd[sd == 0] = np.nan  # images have no NaN: too few controls were measured there
                arrays = [maps, sd**2, sitk.GetArrayFromImage(count)[inside], inverse]
            else:
                arrays = [norm_checks.norm_numbers(entry[name]) for name in _ARRAYS]
            models[part][kind] = _model(arrays, entry)
            norm_checks.check_control_model(models[part][kind], about, columns)
    text = norm_checks.norm_text
    parcellations = tuple(
        Parcellation(
            text(name),
            read(f"{REGION_LABELS}/{n}"),
            {int(k): text(v) for k, v in names.items()},
            "mni",
            text(source),
        )
        for n, (name, names, source) in enumerate(content["parcellations"])
    )
    if not all(same_grid(p.labels, grid) for p in parcellations):
        raise ValueError("labels are on another grid")
    has_model = any(name.startswith(f"{MODEL}/") for name in content["files"])
    norm = Norm(
        about,
        grid,
        inside,
        parcellations,
        models,
        read_bundle(folder / MODEL) if has_model else None,
        checksum,
    )
    norm_checks.check_norm_sizes(norm)
    return norm


def _model(arrays: Sequence[np.ndarray], entry: Mapping[str, Any]) -> ControlModel:
    freedom, typical = entry["prior"]
    number = norm_checks.norm_number
    prior = VariancePrior(number(freedom, 0, MOST_FREEDOM), number(typical, 0, 1e12))
    return ControlModel(**dict(zip(_ARRAYS, arrays)), prior=prior)


def _model_to_json(model: ControlModel, part: str) -> dict[str, Any]:
    own = {} if part == "voxels" else {name: getattr(model, name) for name in _ARRAYS}
    return {**own, "prior": list(model.prior)}


def _about_to_json(about: NormAbout) -> dict[str, Any]:
    content = dict(vars(about))
    content["predicted_by"] = vars(about.predicted_by)
    content["covariates"] = [covariate.to_dict() for covariate in about.covariates]
    content["explained"] = {name: list(value) for name, value in about.explained.items()}
    content["calibration"] = {k: [list(row) for row in rows] for k, rows in about.calibration.items()}
    result: dict[str, Any] = plain(content)
    return result


def _about_from_json(content: Mapping[str, Any]) -> NormAbout:
    text, number = norm_checks.norm_text, norm_checks.norm_number
    kinds = {"unit": str, "reference_region": str, "tracer": str, "group": str, "simulated": bool}
    kinds |= {"demonstration": bool, "n_people": int, "n_scans": int, "source": str, "request": str}
    values: dict[str, Any] = {name: content[name] for name in kinds}
    wrong = [name for name, kind in kinds.items() if type(values[name]) is not kind]
    if wrong:
        raise ValueError(f"{wrong[0]} is {values[wrong[0]]!r:.80}")
    for name in (name for name, kind in kinds.items() if kind is str):
        text(values[name])
    covariates = tuple(
        NormCovariate(text(c["name"]), tuple(map(text, c["names"])), *_numbers_of(c))
        for c in content["covariates"]
    )
    maxima = {
        family: {kind: sorted(number(v, 0) for v in content["maxima"][family][kind]) for kind in KINDS}
        for family in FAMILIES
    }
    about = NormAbout(
        **values,
        fwhm_mm=number(content["fwhm_mm"]),
        threshold=number(content["threshold"]),
        covariates=covariates,
        maxima=maxima,
        explained={text(name): _explained(*row) for name, row in content["explained"].items()},
        calibration={
            text(k): tuple(_calibration(*row) for row in rows) for k, rows in content["calibration"].items()
        },
        predicted_by=_predicted_by(content["predicted_by"]),
        window_min=norm_checks.norm_window(content["window_min"]),
        notes=tuple(map(text, content["notes"])),
    )
    norm_checks.check_norm_about(about)
    return about


def _predicted_by(content: Mapping[str, Any]) -> PredictedBy:
    text = norm_checks.norm_text
    names = {name: text(content[name]) for name in ("id", "name", "version")}
    return PredictedBy(**names, checksums=tuple(map(text, content["checksums"])))


def _numbers_of(covariate: Mapping[str, Any]) -> tuple[tuple[float, ...], float, float]:
    number = norm_checks.norm_number
    return (
        tuple(number(value) for value in covariate["centre"]),
        number(covariate["low"]),
        number(covariate["high"]),
    )


def _explained(share: Any, low: Any, high: Any, reason: Any = "") -> ExplainedShare:
    value = norm_checks.norm_number_or_none
    return ExplainedShare(value(share), value(low), value(high), norm_checks.norm_text(reason))


def _calibration(
    unit: Any, n: Any, mean: Any, sd: Any, beyond_196: Any, low: Any, high: Any, beyond_3: Any
) -> CalibrationRow:
    number, value = norm_checks.norm_number, norm_checks.norm_number_or_none
    return CalibrationRow(
        norm_checks.norm_text(unit),
        int(number(n, 0, 1e12)),
        number(mean),
        value(sd),
        number(beyond_196, 0, 1),
        value(low),
        value(high),
        number(beyond_3, 0, 1),
    )
