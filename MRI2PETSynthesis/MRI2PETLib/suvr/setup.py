"""Read what the settings of a SUVR measurement name: atlas, regions, PET template, model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.store import find_bundle
from MRI2PETLib.preprocessing.pet_template import built_in_pet_templates, read_pet_template
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.normalisation import check_pet_to_mr
from MRI2PETLib.suvr.regional import plan_regions
from MRI2PETLib.suvr.settings import SuvrSettings
from MRI2PETLib.templates import CORTICAL_SPHERES
from MRI2PETLib.templates.atlases import read_parcellation
from MRI2PETLib.templates.regions import check_sides, cortical_spheres


def read_setup(settings: SuvrSettings) -> tuple[SuvrSetup, tuple[Finding, ...]]:
    """Read atlas, regions, PET template and model, and say what was noticed about them.

    :raises InputError: if a file cannot be used, or a region is not in the atlas.
    :raises BundleError: if there is no such model, or it does not make an MRI from a PET.
    """
    if settings.atlas == CORTICAL_SPHERES:
        if settings.labels is not None:
            raise InputError("--labels belongs to an atlas file.", "Leave it out.")
        atlas = cortical_spheres()
    else:
        atlas = read_parcellation(Path(settings.atlas), settings.labels, space="mni")
    findings = (*atlas.findings, *check_sides(atlas))
    plan = plan_regions(atlas, settings.reference, settings.composite, grey_matter=settings.grey_matter)
    bundle = None
    if settings.model is not None:
        bundle = find_bundle(settings.model)
        check_pet_to_mr(bundle)
        if bundle.is_demonstration:
            findings += (Finding("warn", "demonstration", bundle.demonstration_warning),)
    templates = _user_templates(settings.pet_template) or built_in_pet_templates()
    return SuvrSetup(settings, plan, templates, bundle), findings


def _user_templates(paths: Sequence[Path]) -> dict[str, sitk.Image]:
    """PET templates of the user by name and checksum."""
    templates = {}
    for path in paths:
        image = read_image(path, kind="pet")
        templates[f"{path.name} (sha256 {image.sha256[:12]})"] = read_pet_template(image.image)
    return templates
