"""Pre-training on MRIs without PET: each is made into a pair by giving it the style of a real PET.

The pairs are a dataset like any other (a manifest, marked as simulated), so the training knows nothing of
this; the model that it gives is then the start of another training (``--init``). The idea is that of
Theodorou et al. 2025. Two styles:

* ``histogram``: the MRI blurred like a PET, its values inside the brain replaced by those of the same rank
  in the PET;
* :class:`MRI2PETTrainingLib.vgg_style.VGGStyle`: as published, by features of a VGG19.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder, staged_folder
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.models.model_space import ModelSpace, decode, encode
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.synthesis.cases import Case
from MRI2PETTrainingLib.dataset.cache import Prepared

MANIFEST, PET, MASK = "manifest.csv", "PET.nii.gz", "brain_mask.nii.gz"
PSF_MM = 6.0  # a usual resolution of reconstructed brain PET

# MRI, its mask, PET and its mask in model space, [k, j, i], and the spacing (k, j, i): the pseudo-PET.
Style = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]], np.ndarray]


def histogram_style(
    mri: np.ndarray,
    mask: np.ndarray,
    pet: np.ndarray,
    pet_mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """The blurred MRI with the PET's distribution of values inside the brain, 0 outside.

    Blurred first: blurring afterwards would narrow the distribution again.
    """
    blurred = smooth_in_mask(mri, mask, spacing_mm, PSF_MM)
    ranks = np.linspace(0, 1, 1001)
    own, wanted = np.quantile(blurred[mask > 0], ranks), np.quantile(pet[pet_mask > 0], ranks)
    return (np.interp(blurred, own, wanted) * (mask > 0)).astype(np.float32)


def write_pairs(
    mris: Sequence[Case],
    pets: Sequence[Prepared],
    space: ModelSpace,
    folder: Path,
    style: Style = histogram_style,
    *,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Write a pseudo-PET and a brain mask for each MRI; those that are there already are kept.

    :param pets: prepared cases; each MRI takes the style of one of them, drawn by seed and name.
    :param space: of the model to train; MRI to PET.
    :returns: the manifest of the pairs, to be used as a dataset.
    :raises InputError: if there is no MRI or no PET, or the model goes from PET to MRI.
    :raises OutputError: if the folder cannot be written to.
    """
    if not mris or not pets or space.target_modality != "PET":
        raise InputError("Pre-training needs MRIs, at least one PET, and a model from MRI to PET.")
    rows = []
    for number, case in enumerate(mris):
        progress(number, len(mris), f"pseudo-PET of {case.name}")
        rng = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
        chosen = pets[int(rng.integers(len(pets)))]
        own = folder / case.name
        request = {"style": _name(style), "pet": chosen.folder.name, "space": space.to_dict()}
        if not _is_there(own, request):
            _write_pair(case, chosen, space, own, style, request)
        rows.append((case.name, case.t1.resolve(), f"{case.name}/{PET}", f"{case.name}/{MASK}"))
    progress(1, 1, "pseudo-PETs")
    return write_table(folder / MANIFEST, ("case", "t1", "pet", "mask"), rows)


def _write_pair(
    case: Case, pet: Prepared, space: ModelSpace, folder: Path, style: Style, request: dict[str, Any]
) -> None:
    t1 = read_image(case.t1, kind="t1", series_uid=case.inputs.series)
    brain = case.inputs.mask
    mask = None if brain is None else read_image(brain, kind="mask").image
    extraction = extract_brain(t1.image, mask=mask)
    if extraction.verdict.level == "refuse":
        raise InputError(f"No brain was found in {case.t1}.", "Leave it out, or look at it.")
    encoded = encode(t1.image, extraction.mask, extraction.axes, space)
    _, values, inside = np.array(pet.arrays(), dtype=np.float32)
    k, j, i = encoded.grid.spacing_mm[::-1]
    made = style(encoded.source, encoded.mask, values, inside, (k, j, i))
    about = {
        "Units": space.output_unit,
        "Simulated": True,
        "Description": "Pseudo-PET: the MRI in the style of a PET, for pre-training. It shows no tracer.",
        "Request": request,
    }
    with staged_folder(make_folder(folder), last=PET) as staging:
        write_image(extraction.mask, staging / MASK, forms=t1.forms)
        write_image(decode(made, encoded, extraction.mask), staging / PET, about, forms=t1.forms)


def _is_there(folder: Path, request: dict[str, Any]) -> bool:
    try:
        found = json.loads(sidecar_path(folder / PET).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / name).is_file() for name in (PET, MASK)) and found.get("Request") == request


def _name(style: Style) -> str:
    return getattr(style, "name", "") or getattr(style, "__name__", "style")
