"""The BIDS files around a PET image: its JSON sidecar and the subject's row of ``participants.tsv``."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.formats import sidecar_path

# From the image up: pet, ses-*, sub-*, dataset; one more for a derivatives folder.
_LEVELS = 5


def read_sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside ``path``; empty when there is none.

    :raises InputError: when it is not a JSON object.
    """
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return {}
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The sidecar {sidecar} cannot be read ({error}).", "Correct or remove it."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"The sidecar {sidecar} is not a JSON object.", "Correct or remove it.")
    return content


def body_weight_kg(path: Path) -> float | None:
    """Weight (column ``weight``, kg) of the subject of ``path`` in the nearest ``participants.tsv``."""
    subject = re.findall(r"sub-[A-Za-z0-9]+", path.as_posix())
    tables = (folder / "participants.tsv" for folder in path.resolve().parents[:_LEVELS])
    table = next((t for t in tables if t.is_file()), None)
    if not subject or table is None:
        return None
    with table.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            if row.get("participant_id") == subject[-1]:
                try:
                    weight = float(row.get("weight") or "nan")
                except ValueError:
                    return None
                return weight if math.isfinite(weight) else None
    return None
