"""Write the files of one measurement of SUVR."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import DEMONSTRATION_NOTE
from MRI2PETLib.reports.suvr_figure import suvr_figure, suvr_images
from MRI2PETLib.reports.suvr_report import write_suvr_report
from MRI2PETLib.reports.suvr_viewer import suvr_viewer
from MRI2PETLib.suvr import files
from MRI2PETLib.suvr.case import CaseSuvr, SuvrSetup
from MRI2PETLib.suvr.normalisation import PET_TEMPLATE, SYNTHETIC_MR
from MRI2PETLib.suvr.regional import SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths
from MRI2PETLib.synthesis.case_files import is_simulated
from MRI2PETLib.synthesis.pipeline import software_versions


def write_suvr(folder: Path, title: str, paths: SuvrPaths, setup: SuvrSetup, case: CaseSuvr) -> None:
    """Write ``suvr.csv``, the PET in SUVR, the labels and the MRI of each method, the picture, ``suvr.json``
    and the report.

    :raises OutputError: if the folder cannot be written to.
    """
    rows = [row for method in case.methods.values() for row in method.rows]
    about = {**GENERATED_BY, "Description": note(setup, case), "Sources": [str(paths.pet)]}
    reference = next(row for row in case.first.rows if row.role == "reference")
    content = {
        **about,
        "Units": "SUVR",
        "Regions": files.describe_plan(setup.plan),
        "Method": case.first.normalisation.method,
        "Composite": {name: method.composite for name, method in case.methods.items()},
        "Failed": case.failed,
        # Share of the brain that the PET measured.
        "PetCoverage": {name: round(m.normalisation.pet_coverage, 4) for name, m in case.methods.items()},
        "Table": [row._asdict() for row in rows],
        "Quality": case.verdict.to_dict(),
        "Simulated": is_simulated(paths.pet),
        "Source": {
            "pet": {"path": str(paths.pet), "sha256": case.pet.sha256, **case.pet.metadata},
            "t1": None if case.t1 is None else {"path": str(case.t1.path), "sha256": case.t1.sha256},
        },
        "Normalisation": {name: m.normalisation.record for name, m in case.methods.items()},
        "PetTemplate": _template_name(case, setup),
        "Settings": {**paths.to_dict(deciding=True), **setup.settings.to_dict()},
        "Provenance": software_versions(),
    }
    write_table(folder / files.TABLE, SuvrRow._fields, rows)
    suvr = sitk.Cast(case.pet.image, sitk.sitkFloat32) / case.first.reference_mean
    write_image(
        suvr,
        folder / files.SUVR,
        {**about, "Units": "SUVR", "UnitsMeaning": f"ratio to the mean in {reference.region}"},
        forms=case.pet.forms,
    )
    names = {str(label): name for label, name in setup.plan.atlas.names.items()}
    for name, method in case.methods.items():
        write_image(
            sitk.Cast(method.labels, sitk.sitkInt32),
            folder / files.labels_file(name),
            {**about, "Method": name, "Labels": names},
            forms=case.pet.forms,
        )
        if name == SYNTHETIC_MR and method.normalisation.mr is not None:
            write_image(
                method.normalisation.mr,
                folder / files.MR,
                {**about, "Synthetic": True, "Modality": "MR", "Units": "normalised"},
                forms=case.pet.forms,
            )
    suvr_figure(case, setup.plan, folder / files.SUVR_PICTURE, title=title, note=note(setup, case))
    write_json(folder / files.SIDECAR, content)
    viewer = suvr_viewer(suvr_images(case, setup.plan), setup.plan, note(setup, case))
    write_suvr_report(folder, title, content, rows, viewer)


def _template_name(case: CaseSuvr, setup: SuvrSetup) -> str:
    """The PET template that was used, or those that were tried."""
    if PET_TEMPLATE in case.methods:
        return str(case.methods[PET_TEMPLATE].normalisation.record["pet_template"])
    return "; ".join(setup.templates)


def note(setup: SuvrSetup, case: CaseSuvr) -> str:
    """What every picture and report of a measurement says."""
    parts = []
    correction = case.first.rows[0].correction
    if correction != "none":
        parts.append(
            f"The tables are corrected for partial volume ({correction}); the images are as measured."
        )
    if SYNTHETIC_MR in case.methods:
        parts.append(
            "The synthetic MR is computed from the PET: it serves to find regions, not to read anatomy."
        )
        if setup.bundle is not None and setup.bundle.is_demonstration:
            parts.insert(0, DEMONSTRATION_NOTE)
    return " ".join(parts)
