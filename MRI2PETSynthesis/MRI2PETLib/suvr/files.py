"""What a finished measurement says about itself: its request, its table, its regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.regional import RegionPlan, SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths
from MRI2PETLib.synthesis.pipeline import software_versions

TABLE, SIDECAR, PICTURE = "suvr.csv", "suvr.json", "suvr.png"


def request(paths: SuvrPaths, setup: SuvrSetup) -> dict[str, Any]:
    """What decides the result: inputs by checksum, regions, template, model."""
    plan = setup.plan
    return {
        **{
            name: None if path is None else sha256_of(path)
            for name, path in (("pet", paths.pet), ("t1", paths.t1), ("mask", paths.mask))
        },
        "unit": paths.pet_unit,
        "window": paths.window,
        "realign_frames": paths.realign_frames,
        **describe_plan(plan),
        "template": setup.template_name,
        "model": None if setup.bundle is None else setup.bundle.sha256,
        "register": setup.settings.register,
        "seed": setup.settings.seed,
        "version": software_versions()["version"],
    }


def describe_plan(plan: RegionPlan) -> dict[str, Any]:
    """Atlas and regions by name."""
    return {
        "atlas": plan.atlas.source,
        "reference": [plan.atlas.names[label] for label in plan.reference],
        "composite": [plan.atlas.names[label] for label in plan.composite],
    }


def finished(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The content of ``suvr.json`` of a complete result of the same request, if there is one."""
    try:
        found = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and found.get("Request") == json.loads(json.dumps(wanted))
    return found if same and (folder / TABLE).is_file() else None


def table_of(content: dict[str, Any]) -> list[SuvrRow]:
    """The rows of a ``suvr.json``."""
    return [SuvrRow(**row) for row in content["Table"]]
