"""The files of one synthesis: BIDS-derivatives style names, JSON sidecars that say synthetic, resume."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object, write_json
from MRI2PETLib.core.names import LONGEST_NAME
from MRI2PETLib.core.requests import Result
from MRI2PETLib.images.bids_names import name_of_pet
from MRI2PETLib.images.formats import GENERATED_BY, STATES_SD, sidecar_path
from MRI2PETLib.images.io import LoadedImage, write_image
from MRI2PETLib.models.bundle import DEMONSTRATION, DEMONSTRATION_NOTE, Bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.models.scale_end import SCALE_END_KEY
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.pipeline import SynthesisResult

STATUS = "_desc-synthetic_status.json"
REFERENCE_KEY = "ReferenceRegion"
SIMULATED_PERSON = "The person is SIMULATED: nobody was scanned."
_UNPREDICTED = {"Type": "NotPredicted", "Description": "Brain outside of the model's field of view."}
_BIDS = {"MR": "T1w", "PET": "pet"}


def reference_of(space: ModelSpace) -> dict[str, str]:
    """What a sidecar says of the reference region of a model's SUVR, where that is a named one."""
    return {REFERENCE_KEY: space.named_reference} if space.named_reference else {}


def scale_of(space: ModelSpace) -> dict[str, float]:
    """What the sidecar of a prediction says of the end of the model's scale, where that has one."""
    end = space.largest_suvr if space.target_modality == "PET" else None
    return {} if end is None else {SCALE_END_KEY: end}


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of one case go: names in ``folder``. Those that are there stand in :attr:`status`.

    :ivar suffix: of the synthetic image, as BIDS names its kind: ``pet`` or ``T1w``.
    :ivar pets: the folder of PETs in ``folder``; ``mris`` that of what has the T1's name.
    """

    folder: Path
    space: str
    traced: str
    suffix: str = "pet"
    pets: str = ""
    mris: str = ""

    @property
    def _synthetic_folder(self) -> Path:
        return self.folder / (self.pets if self.suffix == "pet" else self.mris)

    @property
    def pet(self) -> Path:
        return self._synthetic_folder / f"{self.traced}_desc-synthetic_{self.suffix}.nii.gz"

    @property
    def sd(self) -> Path:
        return self._synthetic_folder / f"{self.traced}_desc-syntheticSD_{self.suffix}.nii.gz"

    @property
    def error_sd(self) -> Path:
        return self._synthetic_folder / f"{self.traced}_desc-syntheticErrorSD_{self.suffix}.nii.gz"

    @property
    def mask(self) -> Path:
        return self.folder / self.mris / f"{self.space}_desc-brain_mask.nii.gz"

    @property
    def unpredicted(self) -> Path:
        return self.folder / self.mris / f"{self.space}_desc-notpredicted_mask.nii.gz"

    @property
    def picture(self) -> Path:
        return self._synthetic_folder / f"{self.traced}_desc-synthetic_{self.suffix}.png"

    @property
    def thumbnail(self) -> Path:
        return self._synthetic_folder / f"{self.traced}_desc-synthetic_thumbnail.png"

    @property
    def real(self) -> Path:
        return self.folder / self.pets / f"{self.traced}_desc-real_pet.nii.gz"

    @property
    def metrics(self) -> Path:
        return self._synthetic_folder / f"{self.traced}_desc-comparison_metrics.json"

    @property
    def dicom(self) -> Path:
        """The folder of the DICOM series."""
        return self._synthetic_folder / f"{self.traced}_desc-synthetic_{self.suffix}_dicom"

    @property
    def warp(self) -> Path:
        """The warp of the T1 to the template that a comparison leaves, see :mod:`.warp_file`."""
        return self._synthetic_folder / f"{self.traced}_desc-synthetic_{self.suffix}_warp.npz"

    @property
    def sidecar(self) -> Path:
        return sidecar_path(self.pet)

    @property
    def status(self) -> Path:
        """The record of the result, see :mod:`MRI2PETLib.core.requests`."""
        return self.folder / f"{self.traced}{STATUS}"

    def check_names(self) -> None:
        """:raises InputError: if a name would be too long for a file system."""
        names = [path.name for path in (*self.by_role().values(), self.status)]
        longest = max(len(name.encode("utf-8")) for name in names)
        if longest > LONGEST_NAME:
            raise InputError(
                f"The name of {self.space[:60]}... is too long: names of its results would have {longest} "
                f"bytes, {LONGEST_NAME} are possible.",
                "Rename the T1.",
            )

    def by_role(self) -> dict[str, Path]:
        """All that a synthesis may write, by the names of the properties."""
        roles = "pet sidecar mask sd error_sd unpredicted picture thumbnail real metrics dicom".split()
        return {role: getattr(self, role) for role in roles}

    def result(self) -> Result:
        """The result that these files are."""
        files = [path for path in self.by_role().values() if path != self.dicom]
        images = [path for path in files if path.name.endswith(".nii.gz")]
        every = (*files, *map(sidecar_path, images), *self.dicom.glob("*.dcm"))
        return Result(
            self.folder,
            self.status.name,
            set(map(self.name_of, every)),
            {self.pets, self.mris} - {""},
            {self.name_of(self.warp)},
        )

    def name_of(self, path: Path) -> str:
        """Of one of the files, as its record names it."""
        return path.relative_to(self.folder).as_posix()

    def make_folders(self) -> None:
        """Those of the files."""
        for folder in (self.pets, self.mris):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)


def case_files(case: Case, bundle: Bundle, output: Path) -> CaseFiles:
    """Names of a case's files below ``output``; in a BIDS dataset in its folders."""
    source, target = (_BIDS[m] for m in (bundle.space.source_modality, bundle.space.target_modality))
    space = f"space-{case.space or source}"
    folders = ("", "") if case.dataset is None else ("pet", "anat")
    traced = name_of_pet(case.name, bundle.tracer)
    return CaseFiles(output / case.folder, f"{case.name}_{space}", f"{traced}_{space}", target, *folders)


def is_simulated(path: Path) -> bool:
    """Whether an image's own sidecar says that it was simulated."""
    return _says(path, "Simulated")


def is_synthetic(path: Path) -> bool:
    """Whether an image's own sidecar says that a model made it."""
    return _says(path, "Synthetic")


def _says(path: Path, what: str) -> bool:
    try:
        return bool(read_object(sidecar_path(path), nan=lambda name: None).get(what))
    except InputError:
        return False


def synthetic_note(intended_use: str, source: str = "MR", target: str = "PET") -> str:
    """What every picture, sidecar and report says about a synthetic image.

    :param intended_use: of the model; ``source`` and ``target``: its modalities.
    """
    start, end = {"MR": "T1", "PET": "PET"}[source], {"MR": "MRI", "PET": "PET"}[target]
    note = f"Synthetic {end}, computed from the {start}: not a measurement. Research use only."
    return f"{DEMONSTRATION_NOTE} {note}" if intended_use == DEMONSTRATION else note


def _sd_of(bundle: Bundle) -> str:
    if len(bundle.weights) == 1:
        return "SD between the samples that were drawn"
    return "SD between the networks of an ensemble, which is not that of the error"


def bundle_note(bundle: Bundle) -> str:
    """:func:`synthetic_note` of an image that this model made."""
    space = bundle.space
    return synthetic_note(bundle.metadata["intended_use"], space.source_modality, space.target_modality)


def note_of_synthesis(bundle: Bundle, t1: Path) -> str:
    """:func:`bundle_note`, and whether the person of the T1 was simulated."""
    return f"{bundle_note(bundle)} {SIMULATED_PERSON}" if is_simulated(t1) else bundle_note(bundle)


def write_case(
    files: CaseFiles,
    case: Case,
    t1: LoadedImage,
    bundle: Bundle,
    result: SynthesisResult,
) -> dict[str, Any]:
    """Write a case's images and sidecars. Returns the sidecar of the PET."""
    files.make_folders()
    write = partial(write_image, forms=t1.forms)
    address = case.address(case.t1)
    derived = {**GENERATED_BY, "Sources": [address], "SpatialReference": address}
    common = {**derived, "Synthetic": True, "SkullStripped": True, "Description": bundle_note(bundle)}
    about_mask = {**derived, "Type": "Brain", "Description": "Brain mask of the T1."}
    write(result.mask, files.mask, about_mask)
    if result.sd is not None:
        about = {"Description": f"{_sd_of(bundle)}. {common['Description']}", "Units": result.unit}
        write(result.sd, files.sd, {**common, **about, **STATES_SD})
    if result.error_sd is not None and bundle.error_sd is not None:
        about = {"Description": f"{bundle.error_sd.what}. {common['Description']}", "Units": result.unit}
        write(result.error_sd, files.error_sd, {**common, **about, **STATES_SD})
    if result.unpredicted is not None:
        write(result.unpredicted, files.unpredicted, {**derived, **_UNPREDICTED})
    write(result.pet, files.pet)
    sidecar = {
        **common,
        "Modality": bundle.space.target_modality,
        "TracerName": bundle.tracer,
        "Units": result.unit,
        "UnitsMeaning": bundle.space.unit_meaning,
        **reference_of(bundle.space),
        **scale_of(bundle.space),
        "IntendedUse": bundle.metadata["intended_use"],
        "Quality": (t1.verdict + result.verdict).to_dict(),
        "Simulated": is_simulated(case.t1),
        "Source": {"path": str(case.t1), "sha256": t1.sha256, **t1.metadata},
        "Provenance": result.provenance,
    }
    write_json(files.sidecar, sidecar)
    return sidecar
