"""Memory of images that the scene no longer holds. No Qt."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import slicer


def give_back_memory() -> None:
    """Let the C library give memory that is free back to the system.

    GNU's keeps what lies below the last block in use, after a scene is closed about 100 MB. Others give it
    back themselves.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def release_images(application_logic: slicer.vtkMRMLApplicationLogic) -> None:
    """Let the slice views give back the last image that they showed.

    A layer of a view whose volume is gone keeps its filter connected to the voxels until it shows another
    volume: after a scene is closed, these are all images that were in view.
    """
    logics = application_logic.GetSliceLogics()
    for n in range(logics.GetNumberOfItems() if logics is not None else 0):
        logic = logics.GetItemAsObject(n)
        for layer in (logic.GetBackgroundLayer(), logic.GetForegroundLayer(), logic.GetLabelLayer()):
            if layer is not None and layer.GetVolumeNode() is None:
                _disconnect(layer.GetReslice())
                _disconnect(layer.GetResliceUVW())


def _disconnect(reslice: Any) -> None:
    if reslice is not None and reslice.GetNumberOfInputConnections(0):
        reslice.RemoveAllInputConnections(0)
