"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from quick_registration import look_less_far, warp_less


@pytest.fixture(autouse=True, scope="session")
def _coarse_mni_space() -> None:
    """Evaluations compare in MNI space at 6 mm instead of 2 mm: 2 s a case less, of the same code."""
    from MRI2PETLib.evaluation import spaces

    spaces.MNI_SPACING_MM = 6.0


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images for local tests; skips where it is absent."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("MRI2PET_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"needs the real test images (set MRI2PET_TEST_DATA; not found: {folder})")
    return folder


@pytest.fixture(scope="module")
def quick_warp() -> Iterator[None]:
    """A warp that looks less far, of the same code: 3 s a case less. See :func:`quick_registration`."""
    with pytest.MonkeyPatch.context() as patch:
        warp_less(patch.setattr)
        yield


@pytest.fixture(scope="module")
def quick_registration(quick_warp: None) -> Iterator[None]:
    """Searches of the poses of head and PET that look less far, too: together 5 s a case less.

    For modules that state no fact about them: ``pytestmark = pytest.mark.usefixtures("quick_registration")``.
    """
    with pytest.MonkeyPatch.context() as patch:
        look_less_far(patch.setattr)
        yield
