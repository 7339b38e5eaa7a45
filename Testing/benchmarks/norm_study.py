"""What the studies of norms share: how they are called, a coarse MNI space, a small network."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

from MRI2PETLib.core.files import make_folder, write_json
from MRI2PETLib.evaluation import spaces
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETTrainingLib.presets import Preset, read_preset

SPACING_MM, MAPS_MM, PET_FWHM_MM = 6.0, 4.0, 6.0  # of the people, in MNI space, of the scanner
SPACE = ModelSpace(size=(24, 24, 24), spacing_mm=8.0)


def small_preset(**changes: Any) -> Preset:
    """The preset ``smoke`` with fewer channels on a coarser grid."""
    network = {"n_channels": 8, "n_levels": 2}
    return replace(read_preset("smoke"), network=network, space=SPACE, learning_rate=0.01, **changes)


def run_study(description: str, study: Callable[[Path, int, int], dict[str, Any]]) -> None:
    """``WORK [--controls 40] [--people 20]``: one thread; what the study finds is printed and kept in WORK.

    :param study: of a folder, the number of controls and that of the other people.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0], allow_abbrev=False)
    parser.add_argument("work", type=Path)
    parser.add_argument("--controls", type=int, default=40)
    parser.add_argument("--people", type=int, default=20)
    args = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
    spaces.MNI_SPACING_MM = MAPS_MM
    results = study(make_folder(args.work), args.controls, args.people)
    write_json(args.work / "results.json", results)
    print(json.dumps(results, indent=1))
