"""Bundles with random weights for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from MRI2PETLib.models import unet
from MRI2PETLib.models.bundle import Bundle, save_bundle
from MRI2PETLib.models.model_space import ModelSpace


def tiny_metadata(**changes: Any) -> dict[str, Any]:
    return {
        "id": "tiny",
        "name": "Random weights",
        "version": "0",
        "description": "for tests",
        "family": "unet",
        "network": {"n_channels": 8, "n_levels": 2},
        "model_space": ModelSpace(size=(32, 32, 32), spacing_mm=6.0).to_dict(),
        "source": {"modality": "MR"},
        "target": {"modality": "PET", "tracer": "PBR28", "unit": "SUVR"},
        "intended_use": "demonstration",
        "training_data": "none",
        "license": "Apache-2.0",
        **changes,
    }


def tiny_bundle(folder: Path, **changes: Any) -> Bundle:
    """A U-Net of 8 channels with random weights on a 32^3 grid of 6 mm."""
    torch.manual_seed(0)
    metadata = tiny_metadata(**changes)
    return save_bundle(folder, unet.build(metadata["network"]), metadata, "# tiny\n")
