"""A MRML scene without Slicer's application: what the application does at its start, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
import vtk.util.numpy_support

ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


@dataclass(frozen=True)
class Application:
    """Keep this alive as long as the scene is used: without it views show uninitialised memory."""

    scene: Any
    logic: Any
    slices: dict[str, Any]
    others: tuple[Any, ...]


def bootstrap(folder: Path) -> Application:
    """A scene with Slicer's default colours, slice views and a reader of .mrb files (cache: ``folder``)."""
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    # Without it the volume reader leaves display nodes without colours, and their views show noise.
    logic.SetModuleLogic("Colors", logic.GetColorLogic())
    colors = slicer.vtkSlicerColorLogic()  # knows colour legends, which the plain one does not
    colors.SetMRMLApplicationLogic(logic)
    colors.SetMRMLScene(scene)
    slice_logics = vtk.vtkCollection()
    logic.SetSliceLogics(slice_logics)
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(folder))
    data_io = slicer.vtkDataIOManagerLogic()
    data_io.SetMRMLApplicationLogic(logic)
    data_io.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    slices = {}
    for name, orientation in ORIENTATIONS.items():
        view = slicer.vtkMRMLSliceLogic()
        view.SetMRMLApplicationLogic(logic)
        view.SetMRMLScene(scene)
        node = view.AddSliceNode(name)
        node.SetOrientation(orientation)
        slice_logics.AddItem(view)
        slices[name] = view
    return Application(scene, logic, slices, (remote, data_io, slice_logics, colors))


def pixels(application: Application, view: str, size: int = 200, path: Path | None = None) -> np.ndarray:
    """A slice view blended on the CPU: uint8 [row, column, RGB], first row at the bottom; also as PNG."""
    logic = application.slices[view]
    logic.ResizeSliceNode(size, size)
    logic.FitSliceToBackground(size, size)
    logic.UpdatePipeline()
    producer = logic.GetImageDataConnection().GetProducer()
    producer.Update()
    image = producer.GetOutput()
    if path is not None:
        writer = vtk.vtkPNGWriter()
        writer.SetInputData(image)
        writer.SetFileName(str(path))
        writer.Write()
    columns, rows, _ = image.GetDimensions()
    values = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return np.array(values.reshape(rows, columns, -1)[..., :3])
