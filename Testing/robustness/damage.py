"""What can be wrong with a file: damaged bytes, hostile JSON, hostile tables. Random but repeatable."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator

# Written into JSON as they are.
_RAW = (
    "NaN", "-Infinity", "1e999", "-1e999", "1" * 400, "9" * 5000, "1e308", "-0.0", "5e-324", "[" * 100_000,
    '"\\ud800"', '"\\u0000"', '{"a":1,"a":2}', "nul", "'x'", "",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 96, 2**31, -(2**63), 0.5, -1.5, 1e-300, 1e300, "", " ", "0", "1", "-1",
    "nan", "inf", "1e999", "x", "é", "٣", "²", "\u202e", "\x00", "\x1b[2J", "../x", "/etc/passwd", "C:\\x",
    "-rf", "=1+1", "$import os", "_target_", "a" * 300, "a" * 70_000, "2024-13-45", [], {}, [[]], [None], [1],
    [1, 2, 3], ["a"], [1e300] * 3, [0] * 1000, {"": ""}, {"a": {"b": {"c": []}}}, {"_target_": "os.system"},
)  # fmt: skip
_CELLS = (
    "", " ", "0", "1", "-1", "1.0", "1e999", "nan", "inf", "NA", "n/a", "x", "é", "٣", "²", "１", "\u202e",
    "\x00", "\x1b[2J", "../x", "/etc/passwd", "~nobody/x", "~", "C:\\x", "\\\\host\\share", "-rf", "=1+1",
    "'=1", '"', '""', ",", ";", "\t", "a" * 200, "a" * 140_000, "60-90", "90-60", "60-", "1-2-3", "SUV",
    "Bq/mL", "kBq", "CON", "a/b", ".", "..", "*", "sub-01", "HAB", "(", "[", "%s", "\ud800", "\u2028",
)  # fmt: skip
_NAMES = (
    "case", "subject", "pet", "t1", "unit", "group", "fold", "exclude", "label", "name", "participant_id",
    "weight", "epoch", "val_nmse", "", "Case", "others",
)  # fmt: skip
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp037")


def pick(rng: Rng, items: Any) -> Any:
    """One of them."""
    return items[int(rng.integers(len(items)))]


def cut(rng: Rng, content: bytes) -> bytes:
    """Only the beginning."""
    return content[: int(rng.integers(0, len(content) + 1))]


def flip(rng: Rng, content: bytes) -> bytes:
    """Some bits, mostly near the beginning."""
    if not content:
        return content
    changed = bytearray(content)
    reach = len(content) if rng.random() < 0.3 else min(len(content), 540)
    for position in rng.integers(0, reach, int(rng.integers(1, 5))):
        changed[position] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def damaged(rng: Rng, content: bytes, name: str) -> bytes:
    """A text file with something wrong: JSON or a table by its name, bytes of any other."""
    if rng.random() < 0.12:
        return pick(rng, (cut, flip))(rng, content)
    if name.endswith(".json"):
        return damaged_json(rng, content)
    if name.endswith((".csv", ".tsv", ".txt")):
        return damaged_table(rng, content)
    return flip(rng, content)


def damaged_json(rng: Rng, content: bytes) -> bytes:
    """One to three values replaced, taken out, doubled or renamed; now and then another encoding."""
    tree = [json.loads(content)]
    raw: list[str] = []
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(tree))
        parent, key = pick(rng, places)
        way = rng.integers(8)
        if way < 4:
            parent[key] = copy.deepcopy(pick(rng, _VALUES))
        elif way < 5:
            raw.append(pick(rng, _RAW))
            parent[key] = f"RAW{len(raw) - 1}"
        elif way < 6 and parent is not tree:
            del parent[key]
        elif way < 7 and isinstance(parent, dict):
            parent[str(pick(rng, _NAMES))] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(pick(rng, [p[k] for p, k in places]))
    text = json.dumps(tree[0], ensure_ascii=bool(rng.random() < 0.5))
    for number, token in enumerate(raw):
        text = text.replace(f'"RAW{number}"', token)
    return text.encode(pick(rng, _ENCODINGS) if rng.random() < 0.1 else "utf-8", "replace")


def _places(value: Any) -> Any:
    """Every (container, key) in a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def damaged_table(rng: Rng, content: bytes) -> bytes:
    """Cells, rows and columns replaced, taken out or doubled; now and then another separator or encoding."""
    text = content.decode()
    separator = "\t" if "\t" in text else ","
    rows = [line.split(separator) for line in text.splitlines()]
    for _ in range(int(rng.integers(1, 4))):
        pick(rng, _TABLE_WAYS)(rng, rows)
    separator = pick(rng, (",", ";", "\t", "|", " ")) if rng.random() < 0.15 else separator
    end = pick(rng, ("\r\n", "\r", "\n\n", "\x0b")) if rng.random() < 0.15 else "\n"
    text = end.join(separator.join(row) for row in rows) + (end if rng.random() < 0.8 else "")
    return text.encode(pick(rng, _ENCODINGS) if rng.random() < 0.15 else "utf-8", "replace")


Rows = list[list[str]]


def _cell(rng: Rng, rows: Rows) -> None:
    row = pick(rng, rows)
    if row:
        row[int(rng.integers(len(row)))] = str(pick(rng, _CELLS))


def _column(rng: Rng, rows: Rows) -> None:
    """The whole column."""
    n, value = int(rng.integers(max(1, len(rows[0])))), str(pick(rng, _CELLS))
    for row in rows[1:]:
        row[n : n + 1] = [value]


def _title(rng: Rng, rows: Rows) -> None:
    if rows[0]:
        rows[0][int(rng.integers(len(rows[0])))] = str(pick(rng, _NAMES))


def _without(rng: Rng, rows: Rows) -> None:
    """One column less."""
    n = int(rng.integers(max(1, len(rows[0]))))
    for row in rows:
        del row[n : n + 1]


def _row(rng: Rng, rows: Rows) -> None:
    """A row twice, gone, empty, or longer."""
    n, way = int(rng.integers(len(rows))), rng.integers(4)
    new = ([rows[n], list(rows[n])], [], [[]], [[*rows[n], *rows[n]]])[way]
    if n or way != 1 or len(rows) > 1:
        rows[n : n + 1] = new
    if not rows:
        rows.append([""])


def _swap(rng: Rng, rows: Rows) -> None:
    """Two cells."""
    a, b = pick(rng, rows), pick(rng, rows)
    if a and b:
        i, j = int(rng.integers(len(a))), int(rng.integers(len(b)))
        a[i], b[j] = b[j], a[i]


_TABLE_WAYS: tuple[Callable[[Rng, Rows], None], ...] = (
    _cell,
    _cell,
    _cell,
    _column,
    _title,
    _without,
    _row,
    _swap,
)
