"""Fixtures of all tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _coarse_mni_space() -> None:
    """Evaluations compare in MNI space at 6 mm instead of 2 mm: 2 s a case less, of the same code."""
    from MRI2PETLib.evaluation import spaces

    spaces.MNI_SPACING_MM = 6.0
