"""Fixtures of the library tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import SimpleITK as sitk


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two threads on a busy machine were measured 20 times slower than one; torch follows where it is
    used.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images for local tests; skips where it is absent."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("MRI2PET_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"needs the real test images (set MRI2PET_TEST_DATA; not found: {folder})")
    return folder
