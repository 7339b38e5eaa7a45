"""The BIDS files around an image: its JSON sidecars, and what tables of sessions and people say of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.tables import column_name
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.participants import PARTICIPANTS, Participants, read_participants

# From the image up: pet, ses-*, sub-*, dataset; one more for a derivatives folder.
_LEVELS = 5
_KG = {
    **dict.fromkeys(("kg", "kgs", "kilogram", "kilograms", "kilo"), 1.0),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), 0.45359237),
    **dict.fromkeys(("st", "stone", "stones"), 6.35029318),
    **dict.fromkeys(("g", "gram", "grams"), 1e-3),
}
_SAME_WEIGHT = 1.02  # two columns of one weight differ by rounding
_SAME_VISIT = 1.1  # weights of a person on two days
_WEIGHT_COLUMN = re.compile(r"(?:body_?|patient_?)?weight(?:_?[(\[]?([a-z]+)[)\]]?)?")
_QUANTITY = re.compile(r"([\d.,]+)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class BodyWeight:
    """A body weight in kg, or ``None`` and the reason why it is not known; ``empty``: nothing was stated."""

    kg: float | None
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    empty: bool = False


def sidecar_files(path: Path) -> list[Path]:
    """The JSON files that apply to an image by the inheritance principle of BIDS, the least specific first.

    A file applies when it lies beside the image or in a folder above it, up to the dataset, has its suffix
    (``pet``), and no entity (``ses-01``) that the image's name has not.
    """
    path = path.absolute()
    own = sidecar_path(path)
    entities = _entities(own.stem)
    files: list[Path] = []
    for folder in reversed(_folders(path)) if entities is not None else ():
        fitting = [file for file in folder.glob("*.json") if file != own and _fits(file, entities)]
        files += sorted(fitting, key=lambda file: (file.name.count("_"), file.name))
    return [*files, own] if own.is_file() else files


def read_sidecar(path: Path) -> dict[str, Any]:
    """What the sidecars of an image say together, the nearest and most specific first; empty without any.

    :raises InputError: when one is not a JSON object, or two at one level contradict each other.
    """
    merged: dict[str, Any] = {}
    level: dict[str, Any] = {}
    before: tuple[Path, int] | None = None
    for file in sidecar_files(path):
        content = _read_json(file)
        here = (file.parent, file.name.count("_"))
        level = level if here == before else {}
        twice = sorted(key for key in content.keys() & level.keys() if content[key] != level[key])
        if twice:
            raise InputError(
                f"Two sidecars of {path.name} in {file.parent} contradict each other in {twice[0]}.",
                "Correct or remove one of them.",
            )
        merged |= content
        level, before = {**level, **content}, here
    return merged


def says_no(sidecar: dict[str, Any], field: str) -> bool:
    """Whether a sidecar says no, in the spellings that people write: false, "False", 0, "no", "none"."""
    return str(sidecar.get(field, "")).strip().lower() in {"false", "no", "none", "0", "not corrected"}


def body_weight(path: Path, sidecar: dict[str, Any]) -> BodyWeight:
    """Body weight of the subject of ``path``: PatientWeight (kg, or PatientWeightUnits) of the sidecar, else
    the column ``weight`` of ``sub-*_sessions.tsv`` for its session, else that of the nearest
    ``participants.tsv`` (kg, or the Units of the JSON file beside the table).
    """
    in_tables = _body_weight_of_tables(path)
    if sidecar.get("PatientWeight") is None:
        return in_tables
    unit = str(sidecar.get("PatientWeightUnits") or "kg")
    weight = _in_kg(str(sidecar["PatientWeight"]), unit, "PatientWeight of the sidecar")
    if weight.kg and in_tables.kg and not 1 / _SAME_VISIT < weight.kg / in_tables.kg < _SAME_VISIT:
        message = (
            f"PatientWeight of the sidecar is {weight.kg:.4g} kg, that of the tables {in_tables.kg:.4g} kg; "
        )
        message += "the sidecar is used."
        return replace(weight, findings=(Finding("warn", "weights-differ", message, "Check the weight."),))
    return weight


def _body_weight_of_tables(path: Path) -> BodyWeight:
    weight = BodyWeight(None, "no PatientWeight in the sidecar and no weight in a participants.tsv")
    for table, key, prefix, name in _tables_of(path.absolute()):
        try:
            weight = _from_table(table, key, prefix, name)
        except InputError as error:
            return BodyWeight(None, f"the weight cannot be read ({error.message})")
        if not weight.empty:
            break
    return weight


def stated_of_person(path: Path, *columns: str) -> str:
    """What the first of ``columns`` that says something says of the session of an image, else of its person,
    in the tables of its dataset; empty if none does.

    :raises InputError: if a table cannot be read or contradicts itself.
    """
    for table, key, prefix, name in _tables_of(path.absolute()):
        people = _people(table, key, prefix, table.stat().st_mtime_ns)
        if text := people.value(f"{prefix}{name}", *columns):
            return text
    return ""


@lru_cache(maxsize=8)
def _people(table: Path, key: str, prefix: str, changed_ns: int) -> Participants:
    """A table of people, which is read once for all of them."""
    return read_participants(table, key, prefix)


def _tables_of(path: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Tables that may say something of an image, the most specific first: the table, its column of names and
    their prefix, the name of the image's session or subject.
    """
    subject, session = (re.findall(rf"{entity}-([A-Za-z0-9]+)", path.as_posix()) for entity in ("sub", "ses"))
    kinds = []
    if subject and session:
        kinds.append((f"sub-{subject[-1]}_sessions.tsv", "session_id", "ses-", session[-1]))
    if subject:
        kinds.append((PARTICIPANTS, "participant_id", "sub-", subject[-1]))
    for file, key, prefix, name in kinds:
        tables = (folder / file for folder in path.parents[:_LEVELS])
        table = next((t for t in tables if t.is_file()), None)
        if table is not None:
            yield table, key, prefix, name


def _from_table(table: Path, key: str, prefix: str, name: str) -> BodyWeight:
    people, who = read_participants(table, key, prefix), f"{prefix}{name}"
    texts = {column: people.value(who, column) for column in people.columns if _is_weight(column)}
    weights = {
        column: _weight_of(table, column, text, f"{column} of {who} in {table.name}")
        for column, text in texts.items()
        if text
    }
    if not weights:
        return BodyWeight(None, f"no weight of {who} in {table.name}", people.findings, empty=True)
    in_kg = {column: weight.kg for column, weight in weights.items() if weight.kg is not None}
    if in_kg and max(in_kg.values()) > _SAME_WEIGHT * min(in_kg.values()):
        columns = " and ".join(f"{column} {kg:.4g} kg" for column, kg in in_kg.items())
        return BodyWeight(None, f"{table.name} contradicts itself for {who}: {columns}", people.findings)
    weight = next((w for w in weights.values() if w.kg is not None), next(iter(weights.values())))
    return BodyWeight(weight.kg, weight.reason, people.findings)


def _is_weight(column: str) -> bool:
    """Whether a column holds body weights: ``weight``, ``weight_lb``, not ``weight_change``."""
    match = _WEIGHT_COLUMN.fullmatch(column)
    return match is not None and (match[1] is None or match[1] in _KG)


def _weight_of(table: Path, column: str, text: str, what: str) -> BodyWeight:
    # By the inheritance principle one sessions.json of the dataset may describe the tables of all people.
    described = (table.with_suffix(".json"), table.parents[1] / f"{table.stem.split('_')[-1]}.json")
    columns = next((_read_json(file) for file in described if file.is_file()), {})
    about = next((value for name, value in columns.items() if column_name(name) == column), None)
    details = {str(key).lower(): value for key, value in about.items()} if isinstance(about, dict) else {}
    match = _WEIGHT_COLUMN.fullmatch(column)
    units = str(details.get("units") or "").strip()
    in_words = [_unit_in_words(details.get(field)) for field in ("description", "longname")]
    own = (_unit_in_words(units) or units, match and match[1], *in_words)
    unit = next((word for word in own if word), "kg")
    return _in_kg(text, unit, what)


def _unit_in_words(description: Any) -> str:
    """The one unit of weight that a description names ("weight in pounds"), else empty; "g" may be "e.g.",
    "st" may be "1st".
    """
    words = set(re.findall(r"[a-z]+", str(description).lower())) - {"g", "st"}
    named = {word for word in words if word in _KG}
    return min(named) if len({_KG[word] for word in named}) == 1 else ""


def _in_kg(text: str, unit: str, what: str) -> BodyWeight:
    match = _QUANTITY.fullmatch(text.strip())
    try:
        weight = float(match[1].replace(",", ".")) if match is not None else math.nan
    except ValueError:
        weight = math.nan
    if match is None or not math.isfinite(weight):
        return BodyWeight(None, f"{what} is '{text}', not a number")
    own_unit = str(match[2]) or unit
    factor = _KG.get(own_unit.strip().lower())
    if factor is None:
        return BodyWeight(None, f"the unit of {what} is '{own_unit}', not kg, lb, st or g")
    return BodyWeight(weight * factor)


def _read_json(file: Path) -> dict[str, Any]:
    """What other programs write as NaN is a value that they do not know."""
    return read_object(file, nan=lambda name: None)


def _folders(path: Path) -> list[Path]:
    """The folder of an image and those above it up to the one that holds the folder of its subject."""
    folders = list(path.parents)
    subject = next((n for n, folder in enumerate(folders) if re.fullmatch(r"sub-\w+", folder.name)), None)
    return folders[: 1 if subject is None else subject + 2]


def _entities(stem: str) -> tuple[frozenset[str], str] | None:
    """Entities and suffix of a BIDS name; ``None`` for another name."""
    *entities, suffix = stem.split("_")
    if not all(re.fullmatch(r"[A-Za-z]+-[A-Za-z0-9+]+", entity) for entity in entities):
        return None
    return frozenset(entities), suffix


def _fits(file: Path, image: tuple[frozenset[str], str] | None) -> bool:
    entities = _entities(file.stem)
    return entities is not None and image is not None and entities[1] == image[1] and entities[0] <= image[0]
