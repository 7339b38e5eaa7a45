"""Which pairs of T1 and PET a dataset holds, and whose they are.

Three layouts are read:

* a manifest: a table of cases (or a folder with ``manifest.csv``), see :mod:`MRI2PETLib.images.case_table`;
* BIDS: ``sub-*/[ses-*/]anat/*_T1w``, ``sub-*/[ses-*/]pet/*_pet``, ``participants.tsv``;
* a folder a case: ``subject_001/T1.nii.gz`` and ``PET.nii.gz`` (or ``*T1*`` and ``*_suv_*``, as published).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.case_table import (
    CaseColumns,
    CaseRow,
    check_case_names,
    read_case_table,
    with_one_spelling,
)
from MRI2PETLib.images.formats import image_stem, is_image, is_output
from MRI2PETLib.images.participants import PARTICIPANTS, Participants, read_participants
from MRI2PETLib.images.subjects import joined_by_name, subject_keys


@dataclass(frozen=True)
class TrainingCase(CaseColumns):
    """One pair of scans: both images are named."""

    t1: Path
    pet: Path


@dataclass(frozen=True)
class Manifest:
    """All cases of a dataset, sorted by name, and what was noticed.

    :ivar findings: about each case, by its name.
    :ivar about: findings about the dataset as a whole.
    :ivar names_people: a column or a folder says whose scan each is; else the names of the cases were taken.
    """

    cases: tuple[TrainingCase, ...]
    findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    about: tuple[Finding, ...] = ()
    names_people: bool = True

    @property
    def used(self) -> tuple[TrainingCase, ...]:
        """The cases that are not excluded."""
        return tuple(case for case in self.cases if not case.exclude)

    def noting(self, more: Mapping[str, Sequence[Finding]]) -> Manifest:
        """The same manifest with more findings."""
        findings = {name: tuple(items) for name, items in self.findings.items()}
        for name, items in more.items():
            findings[name] = findings.get(name, ()) + tuple(items)
        return replace(self, findings=findings)

    def with_window(self, window_min: tuple[float, float]) -> Manifest:
        """The same manifest with a window for the cases that state none."""
        text = "-".join(f"{t:g}" for t in window_min)
        return replace(self, cases=tuple(replace(c, window_min=c.window_min or text) for c in self.cases))

    def excluding(self, reasons: Mapping[str, str]) -> Manifest:
        """The same manifest with more cases left out."""
        cases = tuple(
            replace(case, exclude=case.exclude or reasons.get(case.case, "")) for case in self.cases
        )
        return replace(self, cases=cases)


def read_dataset(
    dataset: Path | str, *, subject_pattern: str | None = None, overrides: Mapping[str, str] | None = None
) -> Manifest:
    """Find the cases of a dataset, whatever its layout.

    :param subject_pattern: regular expression with a group ``subject`` for case names; not used where a
        ``subject`` column or a BIDS folder names the person.
    :param overrides: case -> subject, wins over everything.
    :raises InputError: if there is no dataset, or its table is malformed.
    """
    dataset = Path(dataset)
    if not dataset.exists():
        raise InputError(f"{dataset} does not exist.", "Check the path of the dataset.")
    table = dataset if dataset.is_file() else dataset / "manifest.csv"
    if table.is_file():
        case_table = read_case_table(
            table, ("case", "t1", "pet"), subject_pattern=subject_pattern, overrides=overrides
        )
        cases = [_case(row, table.parent) for row in case_table.rows]
        return Manifest(_sorted(cases), about=case_table.findings, names_people=case_table.names_people)
    is_bids = any(dataset.glob("sub-*/anat")) or any(dataset.glob("sub-*/ses-*/anat"))
    manifest = _from_bids(dataset) if is_bids else Manifest(tuple(_from_folders(dataset)), names_people=False)
    names = [case.case for case in manifest.cases]
    if not names:
        raise InputError(
            f"{dataset} holds no case.",
            "Expected: a manifest.csv, a BIDS dataset, or folders that hold T1.nii.gz and PET.nii.gz.",
        )
    check_case_names(names, str(dataset))
    subjects = {case.case: case.subject for case in manifest.cases if case.subject} | dict(overrides or {})
    keys = subject_keys(names, subject_pattern, subjects)
    joined = joined_by_name(keys, subjects) if subject_pattern is None else ()
    cases, odd = with_one_spelling(replace(case, subject=keys[case.case]) for case in manifest.cases)
    return replace(manifest, cases=_sorted(cases), about=(*manifest.about, *joined, *odd))


def _sorted(cases: Sequence[TrainingCase]) -> tuple[TrainingCase, ...]:
    return tuple(sorted(cases, key=lambda case: case.case))


def write_manifest(
    path: Path, manifest: Manifest, prepared: Mapping[str, Mapping[str, str]] | None = None
) -> Path:
    """Write all cases with what was noticed; the file can be edited and used as a manifest.

    :param prepared: case -> further columns (for instance the unit that was found).
    """
    names = [f.name for f in fields(TrainingCase)]
    extra = sorted({column for row in (prepared or {}).values() for column in row})
    rows = []
    for case in manifest.cases:
        findings = manifest.findings.get(case.case, ())
        worst = max((f.level for f in findings), key=("ok", "warn", "refuse").index, default="ok")
        values = [getattr(case, name) for name in names]
        values = [v.resolve() if isinstance(v, Path) else v for v in values]
        text = " ".join(f"{f.message} {f.hint}".strip() for f in findings)
        row = (prepared or {}).get(case.case, {})
        rows.append([*values, worst, text, *(row.get(column) for column in extra)])
    return write_table(path, [*names, "level", "findings", *extra], rows)


def _case(row: CaseRow, folder: Path) -> TrainingCase:
    """A line of a table; a case that is left out need not have images."""
    missing = folder / "missing"
    values = {f.name: getattr(row, f.name) for f in fields(TrainingCase)}
    return TrainingCase(**{**values, "t1": row.t1 or missing, "pet": row.pet or missing})


def _from_bids(root: Path) -> Manifest:
    """One case a session with a PET; people by their folders."""
    people = read_participants(root / PARTICIPANTS) if (root / PARTICIPANTS).is_file() else None
    cases: list[TrainingCase] = []
    findings: dict[str, tuple[Finding, ...]] = {}
    for person in sorted(p for p in root.glob("sub-*") if p.is_dir()):
        about: dict[str, Any] = {} if people is None else _about(people, person.name)
        all_t1 = _images(person, "**/anat/*_T1w.*")
        sessions = sorted(p for p in person.glob("ses-*") if p.is_dir()) or [person]
        for session in sessions:
            pets, t1s = _images(session, "pet/*_pet.*"), _images(session, "anat/*_T1w.*")
            if not pets and len(sessions) > 1:
                continue  # a session without PET serves as the T1 of the others
            name = person.name if session == person else f"{person.name}_{session.name}"
            t1s = t1s or all_t1
            cases.append(
                TrainingCase(
                    name,
                    person.name,
                    t1s[0] if t1s else session / "anat" / f"{name}_T1w.nii.gz",
                    pets[0] if pets else session / "pet" / f"{name}_pet.nii.gz",
                    **about,
                    exclude=_ambiguous(t1s, "T1") or _ambiguous(pets, "PET"),
                )
            )
            if people is not None and person.name not in people:
                message = f"{PARTICIPANTS} has no line for {person.name}: its group and genotype are unknown."
                findings[name] = (Finding("warn", "no-participant", message, "Add the line, or correct it."),)
    return Manifest(tuple(cases), findings, () if people is None else people.findings)


def _about(people: Participants, person: str) -> dict[str, str]:
    """What the table says of a person; ``diagnosis`` and ``rs6971`` stand for group and genotype."""
    return {
        "group": people.value(person, "group", "diagnosis"),
        "genotype": people.value(person, "genotype", "rs6971"),
        "site": people.value(person, "site"),
        "age": people.value(person, "age"),
        "sex": people.value(person, "sex", "gender"),
        "donor": people.value(person, "donor"),
    }


def _from_folders(root: Path) -> list[TrainingCase]:
    rows = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        t1s = _pick(folder, r"T1", r"(?<![a-z])T1")
        pets = _pick(folder, r"PET", r"_suv_|(?<![a-z])pet(?![a-z])")
        if not t1s and not pets:
            continue
        masks = _pick(folder, r"brain_mask", r"brain_?mask")
        rows.append(
            TrainingCase(
                folder.name,
                "",
                t1s[0] if t1s else folder / "T1.nii.gz",
                pets[0] if pets else folder / "PET.nii.gz",
                masks[0] if len(masks) == 1 else None,
                exclude=_ambiguous(t1s, "T1") or _ambiguous(pets, "PET"),
            )
        )
    return rows


def _pick(folder: Path, exact: str, loose: str) -> list[Path]:
    """The images (or DICOM folders) whose name is ``exact``, or else those that match ``loose``."""
    entries = sorted(p for p in folder.iterdir() if p.is_dir() or (is_image(p) and not is_output(p)))
    for test in (rf"^{exact}$", loose):
        matching = [p for p in entries if re.search(test, image_stem(p), re.IGNORECASE)]
        if matching:
            return matching
    return []


def _images(folder: Path, pattern: str) -> list[Path]:
    return sorted(p for p in folder.glob(pattern) if is_image(p) and not is_output(p))


def _ambiguous(paths: Sequence[Path], what: str) -> str:
    if len(paths) < 2:
        return ""
    names = ", ".join(p.name for p in paths[:3])
    return f"{len(paths)} images could be the {what} ({names}): name one in a manifest"
