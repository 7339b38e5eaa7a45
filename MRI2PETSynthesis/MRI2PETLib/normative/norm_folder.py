"""A norm on disk: what the controls of a lab are like, and nothing of any single one of them.

::

    NORM/norm.json          unit, people, covariates, models of regions, maxima of controls, checksums
    NORM/card.md            what it is, for a reader
    NORM/regions.csv        mean, SD and calibration by region and pair of regions
    NORM/maps/              MNI space: count, and of both kinds mean, SD and the slope of each covariate
    NORM/labels/            the regions
    NORM/model/             the model whose predictions it is about, if there is one

A norm may come from a stranger: what is read is JSON and NIfTI of the names above, with their checksums, and
a model bundle, which runs no code either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.checksums import sha256_of, sha256_of_value
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder, plain, read_json, write_json
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import read_image, same_grid, write_image
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETLib.normative.calibration import CalibrationRow, ExplainedShare
from MRI2PETLib.normative.controls import ControlModel
from MRI2PETLib.normative.design import NormCovariate, design_columns
from MRI2PETLib.normative.norm import FAMILIES, PARTS, Norm, NormAbout
from MRI2PETLib.normative.person import KINDS
from MRI2PETLib.normative.shrinkage import VariancePrior
from MRI2PETLib.templates.regions import Parcellation

FORMAT_OF_NORM = "mri2pet-norm-1"
NORM_FILE, CARD_FILE, REGIONS_OF_NORM = "norm.json", "card.md", "regions.csv"
MAPS, REGION_LABELS, MODEL = "maps", "labels", "model"
_LARGEST_JSON, _MOST_PEOPLE, _MOST_COLUMNS, _MOST_VOXELS = 50_000_000, 100_000, 100, 20_000_000
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
    count = norm.image(norm.models["voxels"][KINDS[0]].count)
    counted = {**about, "Description": "Controls that a voxel rests on", "Units": "people"}
    write_image(count, folder / MAPS / "count.nii.gz", counted)
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
            raise InputError(f"{path} has the format {content['format']!r}.", f"Known is {FORMAT_OF_NORM}.")
        if checksum != sha256_of_value(content):
            raise InputError(f"{path} was altered.", _HINT)
        _check_files(folder, content["files"])
        return _norm_of(folder, content, checksum)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is not a norm of this version: {error!r}.", _HINT) from error


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, checksum in files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
            raise InputError(f"{folder} lacks {name}.", _HINT)
        if any(p.is_symlink() for p in (path, *path.parents) if folder in p.parents):
            raise InputError(f"{path} is a link.", _HINT)
        if sha256_of(path) != checksum:
            raise InputError(f"{path} was altered.", _HINT)


def _norm_of(folder: Path, content: Mapping[str, Any], checksum: str) -> Norm:
    about = _about_from_json(content)
    columns = len(design_columns(about.covariates))
    if not (0 < about.n_people < _MOST_PEOPLE and columns < _MOST_COLUMNS):
        raise ValueError(f"{about.n_people} people, {columns} columns")

    def read(name: str) -> sitk.Image:
        if f"{name}.nii.gz" not in content["files"]:
            raise KeyError(name)
        image = (
            read_image(folder / f"{name}.nii.gz", kind="labels").image
            if name.startswith(REGION_LABELS)
            else (sitk.ReadImage(str(folder / f"{name}.nii.gz"), sitk.sitkFloat32))
        )
        if image.GetDimension() != 3 or image.GetNumberOfPixels() > _MOST_VOXELS:
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

    models: dict[str, dict[str, ControlModel]] = {part: {} for part in PARTS}
    for part in PARTS:
        for kind in KINDS:
            entry = content["models"][part][kind]
            if part == "voxels":
                names = ["mean", *(f"covariate{n}" for n in range(1, columns))]
                maps = np.array([voxels(f"{kind}_{name}") for name in names])
                arrays = [maps, voxels(f"{kind}_sd") ** 2, sitk.GetArrayFromImage(count)[inside]]
            else:
                arrays = [_numbers(entry[name]) for name in ("coefficients", "variance", "count")]
            models[part][kind] = _model(arrays, entry, columns)
    parcellations = tuple(
        Parcellation(
            str(name), read(f"{REGION_LABELS}/{n}"), {int(k): str(v) for k, v in names.items()}, "mni", source
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
    sizes = {"regions": len(norm.regions.keys), "asymmetry": len(norm.regions.pairs)}
    if any(len(models[part][kind].variance) != size for part, size in sizes.items() for kind in KINDS):
        raise ValueError("models and regions differ in number")
    return norm


def _model(arrays: Sequence[np.ndarray], entry: Mapping[str, Any], columns: int) -> ControlModel:
    coefficients, variance, count = arrays
    inverse = _numbers(entry["inverse"])
    freedom, typical = (float(v) for v in entry["prior"])
    units = variance.shape
    shapes = (coefficients.shape, count.shape, inverse.shape)
    if shapes != ((columns, *units), units, (columns, columns)) or not np.isfinite(inverse).all():
        raise ValueError(f"shapes {shapes}")
    return ControlModel(
        coefficients, variance, count, inverse, VariancePrior(freedom, typical), int(entry["n_people"])
    )


def _numbers(values: Any) -> np.ndarray:
    """JSON has no NaN: ``null`` stands for it."""
    array = np.array(values, dtype=object)
    return np.where(array == None, np.nan, array).astype(np.float64)  # noqa: E711  element by element


def _model_to_json(model: ControlModel, part: str) -> dict[str, Any]:
    own = {} if part == "voxels" else {n: getattr(model, n) for n in ("coefficients", "variance", "count")}
    return {**own, "inverse": model.inverse, "prior": list(model.prior), "n_people": model.n_people}


def _about_to_json(about: NormAbout) -> dict[str, Any]:
    content = dict(vars(about))
    content["covariates"] = [covariate.to_dict() for covariate in about.covariates]
    content["explained"] = {name: list(value) for name, value in about.explained.items()}
    content["calibration"] = {k: [list(row) for row in rows] for k, rows in about.calibration.items()}
    result: dict[str, Any] = plain(content)
    return result


def _about_from_json(content: Mapping[str, Any]) -> NormAbout:
    kinds = {"unit": str, "reference_region": str, "tracer": str, "group": str, "simulated": bool}
    kinds |= {"demonstration": bool, "n_people": int, "n_scans": int, "source": str, "request": str}
    values: dict[str, Any] = {name: content[name] for name in kinds}
    wrong = [name for name, kind in kinds.items() if type(values[name]) is not kind]
    if wrong:
        raise ValueError(f"{wrong[0]} is {values[wrong[0]]!r}")
    covariates = tuple(
        NormCovariate(
            str(c["name"]),
            tuple(map(str, c["names"])),
            tuple(map(float, c["centre"])),
            float(c["low"]),
            float(c["high"]),
        )
        for c in content["covariates"]
    )
    maxima = {
        family: {kind: sorted(float(v) for v in content["maxima"][family][kind]) for kind in KINDS}
        for family in FAMILIES
    }
    return NormAbout(
        **values,
        fwhm_mm=float(content["fwhm_mm"]),
        threshold=float(content["threshold"]),
        covariates=covariates,
        maxima=maxima,
        explained={str(name): ExplainedShare(*row) for name, row in content["explained"].items()},
        calibration={
            str(k): tuple(CalibrationRow(*row) for row in rows) for k, rows in content["calibration"].items()
        },
        predicted_by=dict(content["predicted_by"]),
        notes=tuple(map(str, content["notes"])),
    )
