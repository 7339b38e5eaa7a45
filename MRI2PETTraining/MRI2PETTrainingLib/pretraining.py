"""Pre-training on MRIs without PET: each is made into a pair by giving it the style of a real PET.

The pairs are a dataset like any other (a manifest, marked as simulated), so the training knows nothing of
this; the models that it gives are then the start of another training (``--start-from``). The idea is that of
Theodorou et al. 2025.

The folds are those of the dataset that the PETs come from: in each fold a pair stands on the side of the
person whose PET it imitates (the column ``donor``). So the model of a fold has learnt nothing from the PETs
that the same fold of the later training tests.

Two styles:

* ``histogram``: the MRI blurred like a PET, its values inside the brain replaced by those of the same rank
  in the PET;
* :class:`MRI2PETTrainingLib.vgg_style.VGGStyle`: as published, by features of a VGG19.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.core.devices import pick_device
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder
from MRI2PETLib.core.progress import ProgressCallback, Reporter, no_progress
from MRI2PETLib.core.requests import Request, Result, Source
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.images.io import read_image, read_mask, write_image
from MRI2PETLib.images.sources import optional_source, source_of
from MRI2PETLib.images.subjects import person_key, subject_keys
from MRI2PETLib.models.model_space import ModelSpace, decode, encode
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.synthesis.cases import Case, find_cases
from MRI2PETTrainingLib.dataset.cache import DERIVED_FROM, PreparedCase
from MRI2PETTrainingLib.dataset.preflight import prepare_dataset
from MRI2PETTrainingLib.folds import SIDES, Fold, Folds, folds_of, write_folds
from MRI2PETTrainingLib.run_folder import FOLDS, STYLED_MANIFEST

if TYPE_CHECKING:
    from MRI2PETTrainingLib.plan import Plan

STYLED_PET, STYLED_MASK, PAIR_RECORD = "PET.nii.gz", "brain_mask.nii.gz", "pair.json"
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
    own, target = np.quantile(blurred[mask > 0], ranks), np.quantile(pet[pet_mask > 0], ranks)
    return (np.interp(blurred, own, target) * (mask > 0)).astype(np.float32)


def prepare_pairs(plan: Plan, reporter: Reporter) -> None:
    """Make the pairs of a plan in the style of its dataset's PETs, and their folds, see :func:`write_pairs`.

    :raises MRI2PETError: with the reason; what is finished is kept.
    """
    settings = plan.settings
    style: Style = histogram_style
    make_folder(plan.pairs)
    if settings.vgg19 is not None:
        from MRI2PETTrainingLib.vgg_style import VGGStyle, read_vgg

        style = VGGStyle(read_vgg(settings.vgg19), pick_device(settings.device))
    _, pets = prepare_dataset(
        plan.pairs,
        plan.cache,
        plan.preset.space,
        settings,
        reporter=reporter,
        check_split=lambda cases: folds_of(cases, settings),
    )
    folds = folds_of([entry.case for entry in pets.values()], settings)
    assert settings.unpaired is not None
    mris, space = find_cases([settings.unpaired], tell=reporter.warning), plan.preset.space
    write_pairs(mris, pets, folds, space, plan.pairs, style, progress=reporter.progress)


def write_pairs(
    mris: Sequence[Case],
    pets: Mapping[str, PreparedCase],
    folds: Folds,
    space: ModelSpace,
    folder: Path,
    style: Style = histogram_style,
    *,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Write a pseudo-PET and a brain mask for each MRI; those that are there already are kept. Folds of the
    pairs go to ``folds.json`` beside the manifest.

    :param pets: prepared cases by name; see :func:`assign_styles` for who imitates whom.
    :param folds: of these cases.
    :param space: of the model to train; MRI to PET.
    :returns: the manifest of the pairs, to be used as a dataset.
    :raises InputError: if there is no MRI or no PET, too few MRIs for the folds, or the model goes from PET
        to MRI.
    :raises OutputError: if the folder cannot be written to.
    """
    if not mris or not pets or space.target_modality != "PET":
        raise InputError("Pre-training needs MRIs, at least one PET, and a model from MRI to PET.")
    people = subject_keys([case.name for case in mris])
    styles = assign_styles(mris, people, pets, folds)
    rows = []
    for number, case in enumerate(mris):
        progress(number, len(mris), f"pseudo-PET of {case.name}")
        pet = pets[styles[case.name]]
        own = folder / case.name
        request = _request_of(case, pet, space, style)
        result = Result(own, PAIR_RECORD, {STYLED_PET, STYLED_MASK})
        if result.finished(request) is None:
            with result.make(request, {}) as staging:
                _write_pair(case, pet, space, staging, style)
        files = f"{case.name}/{STYLED_PET}", f"{case.name}/{STYLED_MASK}"
        rows.append((case.name, people[case.name], pet.case.subject, case.t1.resolve(), *files))
    progress(1, 1, "pseudo-PETs")
    write_folds(folder / FOLDS, follow(folds, styles))
    return write_table(folder / STYLED_MANIFEST, ("case", "subject", "donor", "t1", "pet", "mask"), rows)


def assign_styles(
    mris: Sequence[Case], people: Mapping[str, str], pets: Mapping[str, PreparedCase], folds: Folds
) -> dict[str, str]:
    """Which PET each MRI imitates, by case names.

    All MRIs of a person imitate one PET. A person who is in the dataset (the same image, or the same name)
    imitates their own; the others take the PETs in turn, fold after fold (of a fixed split: side after side),
    so that each gets some.

    :param people: subject of each MRI.
    """
    owner = {image: name for name, entry in sorted(pets.items()) for image in entry.about["images"][:1]}
    choices_before = {
        people[case.name]: owner[digest] for case in mris for digest in [_digest(case)] if digest in owner
    }
    named = {person_key(entry.case.subject): name for name, entry in sorted(pets.items(), reverse=True)}
    for subject in set(people.values()) - choices_before.keys():
        if person_key(subject) in named:
            choices_before[subject] = named[person_key(subject)]
    rng = np.random.default_rng(folds.seed)
    parts = [fold.test for fold in folds.folds]
    if folds.test_sites:
        parts += [side for fold in folds.folds for side in (fold.train, fold.validation)]
    shuffled = [list(rng.permutation(sorted(part))) for part in parts]
    in_turn = [str(name) for row in zip_longest(*shuffled) for name in row if name is not None]
    others = sorted(set(people.values()) - set(choices_before))
    styles = choices_before | {subject: in_turn[n % len(in_turn)] for n, subject in enumerate(others)}
    return {case.name: styles[people[case.name]] for case in mris}


def follow(folds: Folds, styles: Mapping[str, str]) -> Folds:
    """Folds of pairs: each on the side of the case whose style it has.

    :raises InputError: if a side of a fold is empty.
    """
    new = []
    for fold in folds.folds:
        sides = {}
        for side in SIDES:
            sides[side] = tuple(sorted(n for n, pet in styles.items() if pet in getattr(fold, side)))
            if not sides[side]:
                raise InputError(
                    f"{len(styles)} MRI(s) are too few for {len(folds.folds)} folds: in fold {fold.number} "
                    f"none imitates a PET of the {side} people.",
                    "Use fewer folds (--folds), here and for the training, or give more MRIs.",
                )
        new.append(Fold(fold.number, **sides))
    return Folds("as the dataset of the PETs", folds.seed, ("subject", "donor"), tuple(new), folds.test_sites)


def _digest(case: Case) -> str:
    t1 = read_image(case.t1, kind="t1", series_uid=case.inputs.series)
    return sha256_of_voxels(sitk.GetArrayViewFromImage(t1.image))


def _request_of(case: Case, pet: PreparedCase, space: ModelSpace, style: Style) -> Request:
    return Request(
        {"mri": source_of(case.t1, "t1")},
        {
            "mask": optional_source(case.inputs.mask, "mask"),
            "pet": Source(str(pet.case.pet), pet.folder.name),
        },
        {"style": _name(style), "series": case.inputs.series, "space": space.to_dict()},
    )


def _write_pair(case: Case, pet: PreparedCase, space: ModelSpace, folder: Path, style: Style) -> None:
    t1 = read_image(case.t1, kind="t1", series_uid=case.inputs.series)
    brain = case.inputs.mask
    mask = None if brain is None else read_mask(brain, t1.forms)
    extraction = extract_brain(t1.image, mask=mask)
    if extraction.verdict.level == "refuse":
        raise InputError(f"No brain was found in {case.t1}.", "Leave it out, or look at it.")
    encoded = encode(t1.image, extraction.mask, extraction.axes, space)
    _, values, inside = np.array(pet.arrays(), dtype=np.float32)
    k, j, i = encoded.grid.spacing_mm[::-1]
    pseudo_pet = style(encoded.source, encoded.mask, values, inside, (k, j, i))
    about = {
        "Units": space.output_unit,
        "Simulated": True,
        "Description": "Pseudo-PET: the MRI in the style of a PET, for pre-training. It shows no uptake.",
        DERIVED_FROM: pet.about["images"],
    }
    write_image(extraction.mask, folder / STYLED_MASK, forms=t1.forms)
    write_image(decode(pseudo_pet, encoded, extraction.mask), folder / STYLED_PET, about, forms=t1.forms)


def _name(style: Style) -> str:
    return getattr(style, "name", "") or getattr(style, "__name__", "style")
