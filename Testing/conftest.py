"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


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
    from MRI2PETLib.preprocessing import template_warp

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_warp, "WARP_LEVELS", ((4, 10),))
        patch.setattr(template_warp, "INVERSE_SHRINK", 4)
        yield


@pytest.fixture(scope="module")
def quick_registration(quick_warp: None) -> Iterator[None]:
    """Searches of the poses of head and PET that look less far, too: together 5 s a case less.

    For modules that state no fact about them: ``pytestmark = pytest.mark.usefixtures("quick_registration")``.
    """
    from MRI2PETLib.preprocessing import pet_pose, pose_search, template_pose

    with pytest.MonkeyPatch.context() as patch:
        rotations = pose_search.all_rotations()[::6]
        patch.setattr(pet_pose, "all_rotations", lambda: rotations)
        for name, number in {"_IMPROVED": 4, "_FINISHED": 1, "_LOOKS": 30, "_LAST_LOOKS": 60}.items():
            patch.setattr(pet_pose, name, number)
        for name, value in {"_USUAL": (2, 1), "_LOOKS": 30, "_LAST_LOOKS": 60}.items():
            patch.setattr(template_pose, name, value)
        yield
