"""What is wrong with a dataset before any image is processed: missing, repeated files, contradicting ids.

A finding of level ``refuse`` concerns one case, which can be left out. What concerns the dataset as a whole
(one person under two ids) is raised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from MRI2PETLib.core.errors import Cancelled, InputError, MRI2PETError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.core.requests import Source
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.case_table import check_people
from MRI2PETLib.images.image_checks import ImageKind
from MRI2PETLib.images.io import open_image
from MRI2PETLib.images.similar_subjects import similar_subjects
from MRI2PETLib.images.sources import files_checksum, source_of
from MRI2PETTrainingLib.dataset.manifest import Manifest, TrainingCase

Sources = dict[str, Source]  # the images of a case by role: t1, pet and, where there is one, mask


def check_manifest(
    manifest: Manifest, progress: ProgressCallback = no_progress
) -> tuple[Manifest, dict[str, Sources]]:
    """Check that the files exist, can be opened, and are whose they are said to be.

    :returns: the manifest with findings and repeated cases excluded, and the images of every usable case.
    :raises InputError: one image under two subjects, or a subject with two genotypes, donors or groups.
    """
    check_people(manifest.used)
    hashes: dict[str, dict[str, str]] = {}
    sources: dict[str, Sources] = {}
    findings: dict[str, list[Finding]] = defaultdict(list)
    for number, case in enumerate(manifest.used):
        progress(number, len(manifest.used), f"checking {case.case}")
        try:
            hashes[case.case], sources[case.case] = _open(case)
        except Cancelled:
            raise
        except MRI2PETError as error:
            findings[case.case].append(Finding("refuse", "unreadable", error.message, error.hint))
    manifest = noting_similar(manifest).noting(findings)
    return manifest.excluding(_repeats(manifest.used, hashes)), sources


def noting_similar(manifest: Manifest) -> Manifest:
    """The manifest with a warning at each case whose subject may be another one too."""
    keys = {case.case: case.subject for case in manifest.used}
    similar = similar_subjects(keys, by_name=not manifest.names_people)
    return manifest.noting({case: [similar[subject]] for case, subject in keys.items() if subject in similar})


def _open(case: TrainingCase) -> tuple[dict[str, str], Sources]:
    """Open all headers and sidecars of a case. Returns the checksums of its files, and its images."""
    images: dict[ImageKind, Path] = {"t1": case.t1, "pet": case.pet}
    if case.mask is not None:
        images["mask"] = case.mask
    for kind, path in images.items():
        open_image(path, kind=kind)
    read_sidecar(case.pet)
    hashes = {str(kind): files_checksum(path, kind) for kind, path in images.items()}
    return hashes, {str(kind): source_of(path, kind, hashes[kind]) for kind, path in images.items()}


def _repeats(cases: Sequence[TrainingCase], hashes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Cases whose PET is another case's PET, with the reason.

    :raises InputError: if two subjects share an image.
    """
    repeats: dict[str, str] = {}
    for kind in ("t1", "pet"):
        owner: dict[str, TrainingCase] = {}
        for case in cases:
            if case.case not in hashes:
                continue
            first = owner.setdefault(hashes[case.case][kind], case)
            if first.subject != case.subject:
                raise InputError(
                    f"{case.case!r} (subject {case.subject!r}) and {first.case!r} (subject "
                    f"{first.subject!r}) have the same {kind.upper()} file content: one person under "
                    "two ids.",
                    "Give both cases one subject, or remove the copy; otherwise training and test would "
                    "share a person.",
                )
            if kind == "pet" and first is not case:
                repeats[case.case] = f"its PET is the same file as that of {first.case}"
    return repeats
