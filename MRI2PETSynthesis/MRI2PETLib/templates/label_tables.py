"""Names of the labels of a map, in the formats that atlases and segmentations come with.

* CSV and TSV with or without a line of column names, such as BIDS ``dseg.tsv`` (``index, name``);
* lines of a number, a name and a colour in either order: FreeSurfer, Slicer, ITK-SNAP, MRIcron;
* JSON: ``{"10": "Left-Thalamus"}``, ``{"Left-Thalamus": 10}``, a list of objects, or one of these in a field
  of a sidecar (``Labels`` of our own label maps, ``LabelMap`` of BIDS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_json
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.tables import read_lines, read_text

_LABEL_COLUMNS = ("label", "labelvalue", "index", "idx", "value", "id", "no", "number", "key")
_NAME_COLUMNS = ("name", "region", "structure", "labelname", "label", "description", "abbreviation")
_SIDE_COLUMNS = ("hemisphere", "hemi", "side")
_NUMBER = re.compile(r"-?\d+(\.\d*)?")

NumberedNames = list[tuple[int, str]]


@dataclass(frozen=True)
class LabelTable:
    """Label -> name, without label 0, and what had to be guessed to read it."""

    names: dict[int, str]
    findings: tuple[Finding, ...] = ()


def read_label_table(path: Path | str) -> LabelTable:
    """Read a table of labels.

    :raises InputError: missing, unreadable, without a single label, or naming a label twice.
    """
    path = Path(path)
    findings: tuple[Finding, ...] = ()
    if path.suffix.lower() == ".json":
        pairs = _from_json(path)
    else:
        text, findings = read_text(path)
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        is_spaced = bool(lines) and re.match(r"\s*\d+ +[^\s,;]", lines[0]) is not None
        pairs = [] if is_spaced else _from_table(path)
        pairs = pairs or _from_spaced(lines)
    names: dict[int, str] = {}
    for label, name in pairs:
        if names.setdefault(label, name) != name:
            raise InputError(
                f"The label table {path} names label {label} twice: {names[label]!r} and {name!r}.",
                "Keep one row for each label.",
            )
    names.pop(0, None)
    if not names:
        raise InputError(
            f"The label table {path} holds no label.", "Expected rows such as: 10, Left-Thalamus."
        )
    return LabelTable(names, findings)


def _whole(text: str) -> bool:
    return bool(re.fullmatch(r"\s*\d{1,9}(\.0*)?\s*", text))


def _from_table(path: Path) -> NumberedNames:
    lines, _ = read_lines(path)
    rows = [line.cells for line in lines if len(line.cells) > 1 and not line.cells[0].startswith("#")]
    if not rows:
        return []
    titles = [_plain(cell) for cell in rows[0]]
    if set(titles) & {*_LABEL_COLUMNS, *_NAME_COLUMNS}:
        return _from_rows([dict(zip(titles, row)) for row in rows[1:]])
    pairs = []
    for row in rows:  # without titles: the first number is the label, the first other text its name
        label = next((cell for cell in row if _whole(cell)), None)
        name = next((cell for cell in row if cell and not _NUMBER.fullmatch(cell)), None)
        if label is not None and name is not None:
            pairs.append((int(float(label)), name))
    return pairs


def _from_rows(rows: Sequence[Mapping[str, str]]) -> NumberedNames:
    """Rows by plain column title. ``label`` may be the number or the name: its values say which."""
    titles = list(rows[0]) if rows else []
    numbers = {t: sum(_whole(row.get(t, "")) for row in rows) for t in _LABEL_COLUMNS if t in titles}
    label = max(numbers, key=lambda title: numbers[title], default=None)
    name = next((t for t in _NAME_COLUMNS if t in titles and t != label), None)
    if label is None or name is None:
        return []
    rows = [row for row in rows if _whole(row.get(label, "")) and row.get(name, "").strip()]
    side = next((t for t in _SIDE_COLUMNS if t in titles), None)
    if side is not None and len({row[name] for row in rows}) < len(rows):  # one name on both sides
        rows = [{**row, name: f"{row.get(side, '')} {row[name]}"} for row in rows]
    return [(int(float(row[label])), row[name].strip()) for row in rows]


def _plain(title: str) -> str:
    return re.sub(r"[^a-z]", "", title.lower())


def _from_spaced(lines: Sequence[str]) -> NumberedNames:
    """Number, then name and other numbers (a colour, a code) in either order.

    As many numbers as all lines have before or behind their names are none of the name, unless names would
    be equal without them (Area 44, Area 45).
    """
    rows: list[tuple[int, list[str]]] = []
    for line in lines:
        match = re.match(r"\s*(\d{1,9})\s+(\S.*)", line)
        if match:
            words = re.findall(r'"[^"]*"|\S+', match[2])
            rows.append((int(match[1]), words))
    rows = [(label, words) for label, words in rows if not all(map(_NUMBER.fullmatch, words))]
    before = min((_numbers(words) for _, words in rows), default=0)
    behind = min((_numbers(words[::-1]) for _, words in rows), default=0)
    whole = [(label, _joined(words)) for label, words in rows]
    cut = [(label, _joined(words[before : len(words) - behind])) for label, words in rows]
    unique = [len({name for _, name in pairs}) for pairs in (whole, cut)]
    return cut if unique[0] == unique[1] or before else whole


def _numbers(words: Sequence[str]) -> int:
    """How many numbers the words begin with."""
    return next((n for n, word in enumerate(words) if not _NUMBER.fullmatch(word)), len(words))


def _joined(words: Sequence[str]) -> str:
    return " ".join(word.strip('"') for word in words).strip()


def _from_json(path: Path) -> NumberedNames:
    content: Any = read_json(path, nan=lambda name: None)
    if isinstance(content, list):
        rows = [{_plain(str(k)): str(v) for k, v in row.items()} for row in content if isinstance(row, dict)]
        return _from_rows(rows)
    if not isinstance(content, dict):
        return []
    return _from_mapping(content) or next(
        (pairs for value in content.values() if isinstance(value, dict) and (pairs := _from_mapping(value))),
        [],
    )


def _from_mapping(content: Mapping[str, Any]) -> NumberedNames:
    """A mapping of which every item is a label and a name: else it is a sidecar, with numbers of its own."""
    pairs = []
    for key, value in content.items():
        if _whole(key) and isinstance(value, str):
            pairs.append((int(float(key)), value))
        elif isinstance(value, (int, str)) and _whole(str(value)):
            pairs.append((int(float(value)), key))
        else:
            return []
    return pairs
