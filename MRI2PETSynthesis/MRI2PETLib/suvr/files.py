"""The files of a measurement: their names, what decides them, what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MRI2PETLib.core.requests import Request, Result, Source
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.sources import image_checksum, optional_source, source_of
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.normalisation import METHODS
from MRI2PETLib.suvr.regional import RegionPlan, SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths
from MRI2PETLib.templates.atlases import atlas_checksum

TABLE, SIDECAR, SUVR_PICTURE, SUVR_REPORT = "suvr.csv", "suvr.json", "suvr.png", "report.html"
COHORT, LEVELS, AGREEMENT = "cohort.json", "levels.csv", "agreement.csv"
METHODS_TABLE = "methods.csv"
SUVR_RECORD = "suvr_status.json"
SUVR, MR = "suvr_pet.nii.gz", "synthetic_mr.nii.gz"


def labels_file(method: str) -> str:
    """Where a method found the regions, on the grid of the PET."""
    return f"labels_{method.lower().replace(' ', '_')}.nii.gz"


def result_in(folder: Path) -> Result:
    """The measurement whose files lie in a folder."""
    images = [SUVR, MR, *map(labels_file, METHODS)]
    sidecars = [sidecar_path(name).name for name in images]
    return Result(folder, SUVR_RECORD, {TABLE, SIDECAR, SUVR_PICTURE, SUVR_REPORT, *images, *sidecars})


def cohort_in(folder: Path) -> Result:
    """The tables and the report of a cohort in a folder; each PET has a folder of its own in it."""
    return Result(folder, SUVR_RECORD, {TABLE, COHORT, LEVELS, AGREEMENT, METHODS_TABLE, SUVR_REPORT})


def owner_of_cohort(table: Path) -> dict[str, Source]:
    """Whose result that of a table of cases is, see :class:`.Request`."""
    return {"table": source_of(table, "labels")}


def by_role(folder: Path) -> dict[str, Any]:
    """Names of the files that are in the folder of a measurement."""
    roles = {
        "sidecar": SIDECAR,
        "table": TABLE,
        "picture": SUVR_PICTURE,
        "report": SUVR_REPORT,
        "suvr": SUVR,
        "mr": MR,
    }
    images = {method: labels_file(method) for method in METHODS}
    return {
        **{role: name for role, name in roles.items() if (folder / name).is_file()},
        "labels": {
            method: {"image": name, "sidecar": sidecar_path(name).name}
            for method, name in images.items()
            if (folder / name).is_file()
        },
    }


def suvr_request(paths: SuvrPaths, setup: SuvrSetup) -> Request:
    """What decides a measurement."""
    plan = setup.plan
    return Request(
        {"pet": source_of(paths.pet, "pet")},
        {"t1": optional_source(paths.t1, "t1"), "mask": optional_source(paths.mask, "mask")},
        {
            **paths.to_dict(deciding=True),
            **setup.settings.to_dict(deciding=True),
            "atlas": atlas_checksum(plan.atlas),
            "regions": [list(plan.reference), list(plan.composite)],
            "pet_templates": {name: image_checksum(image) for name, image in setup.templates.items()},
            "model": None if setup.bundle is None else setup.bundle.checksum,
        },
    )


def describe_plan(plan: RegionPlan) -> dict[str, Any]:
    """Atlas and regions by name."""
    return {
        "atlas": plan.atlas.source,
        "reference": [plan.atlas.names[label] for label in plan.reference],
        "composite": [plan.atlas.names[label] for label in plan.composite],
    }


def suvr_rows(content: Mapping[str, Any]) -> list[SuvrRow]:
    """The rows of a ``suvr.json``."""
    return [SuvrRow(**row) for row in content["Table"]]
