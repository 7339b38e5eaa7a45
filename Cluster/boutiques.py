"""Write the Boutiques descriptor of the BIDS App from the options of the command.

python Cluster/boutiques.py        # writes Cluster/mri2pet.boutiques.json; bosh validate checks it
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.commands import bids
from MRI2PETLib.core.settings import Parser

DESCRIPTOR = Path(__file__).with_name("mri2pet.boutiques.json")
_TYPES = {int: "Number", float: "Number", Path: "File"}


def descriptor() -> dict[str, Any]:
    """The command line as Boutiques describes it (schema 0.5)."""
    parser = Parser()
    bids.add_arguments(parser)
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    keys = " ".join(f"[{action.dest.upper()}]" for action in actions)
    return {
        "name": "mri2pet",
        "tool-version": __version__,
        "schema-version": "0.5",
        "description": "Synthetic PET from T1-weighted MRI, and read-outs of real PET. Research use only.",
        "url": "https://github.com/SlicerMRI2PET/SlicerMRI2PET",
        "author": "The SlicerMRI2PET contributors",
        "tags": {"domain": ["neuroinformatics"], "modality": ["MRI", "PET"]},
        "command-line": f"mri2pet bids {keys}",
        "inputs": [_input(action) for action in actions],
        "output-files": [
            {
                "id": "output",
                "name": "The BIDS derivative",
                "path-template": "[OUTPUT_DIR]",
                "optional": False,
            }
        ],
        "error-codes": [
            {"code": 10, "description": "Some of the cases failed: *_status.csv says which and why."},
        ],
    }


def _input(action: argparse.Action) -> dict[str, Any]:
    is_positional = not action.option_strings
    entry: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "description": action.help,
        "value-key": f"[{action.dest.upper()}]",
        "optional": not is_positional,
        "type": _TYPES.get(action.type, "String"),  # type: ignore[arg-type]
    }
    if action.dest in ("output_dir", "work"):  # made by the command: no file that must be there
        entry["type"] = "String"
    if isinstance(action, argparse._StoreTrueAction):
        entry["type"] = "Flag"
    if not is_positional:
        entry["command-line-flag"] = action.option_strings[-1]
    if action.choices:
        entry["value-choices"] = list(action.choices)
    if isinstance(action, argparse._ExtendAction):
        entry |= {"list": True, "list-separator": " "}
    if isinstance(action.nargs, int) and action.nargs > 1:
        sizes = {"min-list-entries": action.nargs, "max-list-entries": action.nargs}
        entry |= {"list": True, "list-separator": " ", **sizes}
    if action.type is int:
        entry["integer"] = True
    return entry


def main() -> None:
    DESCRIPTOR.write_text(json.dumps(descriptor(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
