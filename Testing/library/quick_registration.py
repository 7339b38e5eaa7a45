"""Registrations that look less far, of the same code: for what is about something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def warp_less(set_attribute: Callable[[Any, str, Any], object]) -> None:
    """The warp of a T1 to the template: 3 s a case less."""
    from MRI2PETLib.preprocessing import template_warp

    set_attribute(template_warp, "WARP_LEVELS", ((4, 10),))
    set_attribute(template_warp, "INVERSE_SHRINK", 4)


def look_less_far(set_attribute: Callable[[Any, str, Any], object]) -> None:
    """The poses of head and PET: 2 s a case less.

    :param set_attribute: ``setattr``, or that of a patch that ends.
    """
    from MRI2PETLib.preprocessing import pet_pose, pose_search, template_pose

    rotations = pose_search.all_rotations()[::6]
    set_attribute(pet_pose, "all_rotations", lambda: rotations)
    for name, number in {"_IMPROVED": 4, "_FINISHED": 1, "_LOOKS": 30, "_LAST_LOOKS": 60}.items():
        set_attribute(pet_pose, name, number)
    for name, value in {"_USUAL": (2, 1), "_LOOKS": 30, "_LAST_LOOKS": 60}.items():
        set_attribute(template_pose, name, value)
