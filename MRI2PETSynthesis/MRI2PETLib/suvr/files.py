"""The files of one quantification, written together or not at all, and read again when nothing changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.files import staged_folder, write_json
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import DEMONSTRATION
from MRI2PETLib.reports.suvr_figure import suvr_figure
from MRI2PETLib.suvr.case import CaseSuvr, SuvrSetup
from MRI2PETLib.suvr.normalisation import SYNTHETIC_MR
from MRI2PETLib.suvr.regional import RegionPlan, SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths
from MRI2PETLib.synthesis.case_files import is_simulated
from MRI2PETLib.synthesis.pipeline import software_versions

TABLE, SIDECAR, PICTURE = "suvr.csv", "suvr.json", "suvr.png"


def request(paths: SuvrPaths, setup: SuvrSetup) -> dict[str, Any]:
    """What decides the result: inputs by checksum, regions, template, model."""
    plan = setup.plan
    return {
        **{
            name: None if path is None else sha256_of(path)
            for name, path in (("pet", paths.pet), ("t1", paths.t1), ("mask", paths.mask))
        },
        "unit": paths.pet_unit,
        **describe_plan(plan),
        "template": setup.template_name,
        "model": None if setup.bundle is None else setup.bundle.sha256,
        "register": setup.settings.register,
        "seed": setup.settings.seed,
        "version": software_versions()["version"],
    }


def describe_plan(plan: RegionPlan) -> dict[str, Any]:
    """Atlas and regions by name."""
    return {
        "atlas": plan.atlas.source,
        "reference": [plan.atlas.names[label] for label in plan.reference],
        "composite": [plan.atlas.names[label] for label in plan.composite],
    }


def write_case(
    folder: Path, title: str, paths: SuvrPaths, setup: SuvrSetup, case: CaseSuvr
) -> dict[str, Any]:
    """Write ``suvr.csv``, the PET in SUVR, the labels and the MRI of each method, the picture and
    ``suvr.json``.

    :return: the content of ``suvr.json``.
    :raises OutputError: if the folder cannot be written to; then nothing is left in it.
    """
    rows = [row for method in case.methods.values() for row in method.rows]
    about = {"Description": note(setup, case), "Sources": [str(paths.pet)]}
    reference = next(row for row in case.first.rows if row.role == "reference")
    content = {
        **about,
        "Units": "SUVR",
        "Regions": describe_plan(setup.plan),
        "Method": case.first.normalisation.method,
        "Composite": {name: method.composite for name, method in case.methods.items()},
        "Failed": case.failed,
        "Table": [row._asdict() for row in rows],
        "Quality": case.verdict.to_dict(),
        "Simulated": is_simulated(paths.pet),
        "Source": {
            "pet": {"path": str(paths.pet), "sha256": case.pet.sha256, **case.pet.metadata},
            "t1": None if case.t1 is None else {"path": str(case.t1.path), "sha256": case.t1.sha256},
        },
        "Normalisation": {name: m.normalisation.record for name, m in case.methods.items()},
        "PetTemplate": setup.template_name,
        "Provenance": software_versions(),
        "Request": request(paths, setup),
    }
    with staged_folder(folder, last=SIDECAR) as staging:
        write_table(staging / TABLE, SuvrRow._fields, rows)
        suvr = sitk.Cast(case.pet.image, sitk.sitkFloat32) / float(reference.mean or 1.0)
        write_image(
            suvr,
            staging / "suvr_pet.nii.gz",
            {**about, "Units": "SUVR", "UnitsMeaning": f"ratio to the mean in {reference.region}"},
            forms=case.pet.forms,
        )
        names = {str(label): name for label, name in setup.plan.atlas.names.items()}
        for name, method in case.methods.items():
            tag = name.lower().replace(" ", "_")
            write_image(
                sitk.Cast(method.labels, sitk.sitkInt32),
                staging / f"labels_{tag}.nii.gz",
                {**about, "Method": name, "Labels": names},
                forms=case.pet.forms,
            )
            if name == SYNTHETIC_MR and method.normalisation.mr is not None:
                write_image(
                    method.normalisation.mr,
                    staging / "synthetic_mr.nii.gz",
                    {**about, "Synthetic": True, "Modality": "MR", "Units": "normalised"},
                    forms=case.pet.forms,
                )
        suvr_figure(case, setup.plan, staging / PICTURE, title=title, note=note(setup, case))
        write_json(staging / SIDECAR, content)
    return content


def finished(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The content of ``suvr.json`` of a complete result of the same request, if there is one."""
    try:
        found = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and found.get("Request") == json.loads(json.dumps(wanted))
    return found if same and (folder / TABLE).is_file() else None


def table_of(content: dict[str, Any]) -> list[SuvrRow]:
    """The rows of a ``suvr.json``."""
    return [SuvrRow(**row) for row in content["Table"]]


def note(setup: SuvrSetup, case: CaseSuvr) -> str:
    """What every picture and report of a quantification says."""
    parts = []
    if SYNTHETIC_MR in case.methods:
        parts.append(
            "The synthetic MR is computed from the PET: it serves to find regions, not to read anatomy."
        )
        if setup.bundle is not None and setup.bundle.metadata["intended_use"] == DEMONSTRATION:
            parts.insert(0, f"DEMONSTRATION MODEL ({setup.bundle.id}).")
    return " ".join(parts)
