"""Fixtures of the library tests."""

from __future__ import annotations

import pytest
import SimpleITK as sitk


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two threads on a busy machine were measured 20 times slower than one; torch follows where it is
    used.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
