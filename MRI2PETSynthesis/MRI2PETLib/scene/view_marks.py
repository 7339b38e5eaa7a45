"""What is written into a slice view: the person's sides at its edges, and what lies on top. No Qt."""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

import numpy as np
import slicer
import slicer.util

from MRI2PETLib.scene.display import NORMDIFF_TABLE, slice_node
from MRI2PETLib.scene.nodes import PREFIX

_POSITIVE, _NEGATIVE = "RAS", "LPI"
_SIDE = PREFIX + "Side."
# What a colour table says, where a legend's numbers do not.
_COLORS = {NORMDIFF_TABLE: "red: synthetic higher"}
# Room for a character of a text in the view; a name is broken into lines of at least so many.
_CHARACTER_PX, _LEAST_CHARACTERS = 9, 10


class EdgeTexts(NamedTuple):
    """Texts at the edges of a slice view; ``top`` begins with the name of its uppermost image."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""


def view_sides(view: Any) -> EdgeTexts:
    """The side of the person (R, L, A, P, S, I) that is nearest to what each edge of a slice node shows."""
    to_ras = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
    right, up = to_ras[:3, 0], to_ras[:3, 1]
    return EdgeTexts(_side(-right), _side(right), _side(up), _side(-up))


def name_sides(volume: Any, sides: dict[str, str]) -> None:
    """Say what a volume shows on which side of the person, such as ``{"R": "real PET"}``."""
    for side, what in sides.items():
        volume.SetAttribute(_SIDE + side, what)


def view_marks(scene: slicer.vtkMRMLScene, composite: Any) -> EdgeTexts:
    """What to write into the view of a composite node; nothing where there is no image."""
    view, volume = slice_node(scene, composite.GetLayoutName()), _uppermost(scene, composite)
    if view is None or volume is None:
        return EdgeTexts()
    sides = view_sides(view)
    parts = {side: volume.GetAttribute(_SIDE + side) for side in sides}
    marks = EdgeTexts(*(f"{side}\n{parts[side]}" if parts[side] else side for side in sides))
    width = max(_LEAST_CHARACTERS, view.GetDimensions()[0] // _CHARACTER_PX)
    return marks._replace(top=f"{textwrap.fill(_title(volume), width)}\n{marks.top}")


def _side(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return (_POSITIVE if direction[axis] > 0 else _NEGATIVE)[axis]


def _uppermost(scene: slicer.vtkMRMLScene, composite: Any) -> Any:
    ids = [composite.GetBackgroundVolumeID()]
    if composite.GetForegroundOpacity() > 0:
        ids.insert(0, composite.GetForegroundVolumeID())
    volumes = [scene.GetNodeByID(i) for i in ids if i]
    return next((v for v in volumes if v is not None), None)


def _title(volume: Any) -> str:
    """What a volume is, without the name of its T1 (:func:`MRI2PETLib.scene.results.named`); its colours."""
    name = str(volume.GetName()).rsplit(" of ", 1)[0]
    display = volume.GetDisplayNode()
    table = display.GetColorNode() if display is not None else None
    colors = _COLORS.get(table.GetName()) if table is not None else None
    return f"{name} ({colors})" if colors else name
