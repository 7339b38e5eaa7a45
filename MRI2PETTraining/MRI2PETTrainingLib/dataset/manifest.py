"""Which pairs of T1 and PET a dataset holds, and whose they are.

Three layouts are read:

* a manifest: a CSV (or a folder with ``manifest.csv``), columns ``case, t1, pet`` and optionally ``subject,
  mask, unit, group, genotype, site, donor, exclude``; paths are relative to the CSV;
* BIDS: ``sub-*/[ses-*/]anat/*_T1w``, ``sub-*/[ses-*/]pet/*_pet``, ``participants.tsv``;
* a folder a case: ``subject_001/T1.nii.gz`` and ``PET.nii.gz`` (or ``*T1*`` and ``*_suv_*``, as published).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import write_text
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.formats import image_stem, is_image
from MRI2PETTrainingLib.dataset.subjects import subject_keys

_OPTIONAL = ("mask", "unit", "group", "genotype", "site", "donor", "exclude")
_PATHS = ("t1", "pet", "mask")


@dataclass(frozen=True)
class TrainingCase:
    """One pair of scans.

    :ivar subject: the person; repeated scans of a person share it.
    :ivar mask: brain mask on the grid of the T1, or ``None``.
    :ivar unit: unit of the PET when its files do not say, or empty.
    :ivar group: stratum that folds balance (a diagnosis).
    :ivar donor: what else must not be on two sides of a split, for example whose anatomy a simulation used.
    :ivar exclude: why the case is left out; empty for a case in use.
    """

    case: str
    subject: str
    t1: Path
    pet: Path
    mask: Path | None = None
    unit: str = ""
    group: str = ""
    genotype: str = ""
    site: str = ""
    donor: str = ""
    exclude: str = ""


@dataclass(frozen=True)
class Manifest:
    """All cases of a dataset, sorted by name, and what was noticed about each (by case name)."""

    cases: tuple[TrainingCase, ...]
    findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)

    @property
    def used(self) -> tuple[TrainingCase, ...]:
        """The cases that are not excluded."""
        return tuple(case for case in self.cases if not case.exclude)

    def noting(self, more: Mapping[str, Sequence[Finding]]) -> Manifest:
        """The same manifest with more findings."""
        found = {name: tuple(items) for name, items in self.findings.items()}
        for name, items in more.items():
            found[name] = found.get(name, ()) + tuple(items)
        return replace(self, findings=found)

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
        rows = _from_table(table)
    elif any(dataset.glob("sub-*/anat")) or any(dataset.glob("sub-*/ses-*/anat")):
        rows = _from_bids(dataset)
    else:
        rows = _from_folders(dataset)
    if not rows:
        raise InputError(
            f"{dataset} holds no case.",
            "Expected: a manifest.csv, a BIDS dataset, or folders that hold T1.nii.gz and PET.nii.gz.",
        )
    named = {row.case: row.subject for row in rows if row.subject}
    keys = subject_keys([row.case for row in rows], subject_pattern, {**named, **(overrides or {})})
    cases = [replace(row, subject=keys[row.case]) for row in rows]
    return Manifest(tuple(sorted(cases, key=lambda case: case.case)))


def write_manifest(
    path: Path, manifest: Manifest, prepared: Mapping[str, Mapping[str, str]] | None = None
) -> Path:
    """Write all cases with what was noticed; the file can be edited and used as a manifest.

    :param prepared: case -> further columns (for instance the unit that was found).
    """
    names = [f.name for f in fields(TrainingCase)]
    extra = sorted({column for row in (prepared or {}).values() for column in row})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "level", "findings", *extra])
    for case in manifest.cases:
        found = manifest.findings.get(case.case, ())
        worst = max((f.level for f in found), key=("ok", "warn", "refuse").index, default="ok")
        values = [getattr(case, name) for name in names]
        values = [str(v.resolve()) if isinstance(v, Path) else v or "" for v in values]
        told = " ".join(f"{f.message} {f.hint}".strip() for f in found)
        row = (prepared or {}).get(case.case, {})
        writer.writerow([*values, worst, told, *(row.get(column, "") for column in extra)])
    return write_text(path, text.getvalue())


def _from_table(table: Path) -> list[TrainingCase]:
    try:
        text = table.read_text(encoding="utf-8-sig")
        dialect = "excel-tab" if table.suffix.lower() == ".tsv" else _dialect(text)
        reader = csv.DictReader(io.StringIO(text), dialect=dialect)
        rows = [{(k or "").strip(): (v or "").strip() for k, v in row.items() if k} for row in reader]
        columns = [(name or "").strip() for name in reader.fieldnames or []]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The manifest {table} cannot be read: {error}.", "Save it as UTF-8 CSV.") from error
    missing = [name for name in ("case", "t1", "pet") if name not in columns]
    if missing:
        raise InputError(
            f"The manifest {table} lacks the column(s) {', '.join(missing)}.",
            f"Needed: case, t1, pet; optional: subject, {', '.join(_OPTIONAL)}.",
        )
    for number, row in enumerate(rows, start=2):
        empty = [name for name in ("case", "t1", "pet") if not row.get(name)]
        if empty and not row.get("exclude"):
            raise InputError(f"Line {number} of {table} has no {', '.join(empty)}.", "Fill it in.")
        if "subject" in columns and not row.get("subject"):
            raise InputError(
                f"Line {number} of {table} has no subject.",
                "Fill in the column for every case, or remove it to read subjects from the names.",
            )
    twice = [name for name, n in Counter(row["case"] for row in rows).items() if n > 1]
    if twice:
        raise InputError(
            f"{table} lists the case {twice[0]!r} twice: two scans, perhaps of two people, under one id.",
            "Give every scan a case name of its own; scans of one person share the subject column.",
        )
    return [_case(row, table.parent) for row in rows]


def _dialect(text: str) -> type[csv.Dialect] | str:
    """Spreadsheets of half the world separate columns by semicolons."""
    first = text.partition("\n")[0]
    return _Semicolons if first.count(";") > first.count(",") else "excel"


class _Semicolons(csv.excel):
    delimiter = ";"


def _case(row: Mapping[str, str], folder: Path) -> TrainingCase:
    paths = {name: folder / Path(row[name]).expanduser() for name in _PATHS if row.get(name)}
    rest = {name: row.get(name, "") for name in ("subject", *_OPTIONAL) if name not in _PATHS}
    missing = folder / "missing"
    return TrainingCase(
        case=row["case"],
        t1=paths.get("t1", missing),
        pet=paths.get("pet", missing),
        mask=paths.get("mask"),
        **rest,
    )


def _from_bids(root: Path) -> list[TrainingCase]:
    people = _participants(root)
    rows = []
    for person in sorted(p for p in root.glob("sub-*") if p.is_dir()):
        about: dict[str, Any] = {
            k: people.get(person.name, {}).get(k, "") for k in ("group", "genotype", "site")
        }
        all_t1 = _images(person, "**/anat/*_T1w.*")
        sessions = sorted(p for p in person.glob("ses-*") if p.is_dir()) or [person]
        for session in sessions:
            pets, t1s = _images(session, "pet/*_pet.*"), _images(session, "anat/*_T1w.*")
            if not pets and len(sessions) > 1:
                continue  # a session without PET serves as the T1 of the others
            name = person.name if session == person else f"{person.name}_{session.name}"
            t1s = t1s or all_t1
            rows.append(
                TrainingCase(
                    name,
                    person.name,
                    t1s[0] if t1s else session / "anat" / f"{name}_T1w.nii.gz",
                    pets[0] if pets else session / "pet" / f"{name}_pet.nii.gz",
                    **about,
                    exclude=_ambiguous(t1s, "T1") or _ambiguous(pets, "PET"),
                )
            )
    return rows


def _participants(root: Path) -> dict[str, dict[str, str]]:
    """participants.tsv: columns in lower case; ``diagnosis`` and ``rs6971`` stand for group and genotype."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    found = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for line in csv.DictReader(stream, delimiter="\t"):
            row = {(k or "").lower(): (v or "").strip() for k, v in line.items() if k}
            row = {k: "" if v.lower() == "n/a" else v for k, v in row.items()}
            row["group"] = row.get("group") or row.get("diagnosis", "")
            row["genotype"] = row.get("genotype") or row.get("rs6971", "")
            found[row.get("participant_id", "")] = row
    return found


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
    entries = sorted(p for p in folder.iterdir() if is_image(p) or p.is_dir())
    for test in (rf"^{exact}$", loose):
        found = [p for p in entries if re.search(test, image_stem(p), re.IGNORECASE)]
        if found:
            return found
    return []


def _images(folder: Path, pattern: str) -> list[Path]:
    return sorted(p for p in folder.glob(pattern) if is_image(p))


def _ambiguous(found: Sequence[Path], what: str) -> str:
    if len(found) < 2:
        return ""
    names = ", ".join(p.name for p in found[:3])
    return f"{len(found)} images could be the {what} ({names}): name one in a manifest"
