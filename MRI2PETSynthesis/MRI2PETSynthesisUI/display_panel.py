"""The panel *Outputs*: layout, opacity, the common window of both PETs, swipe."""

import qt
import slicer

from MRI2PETLib.scene.display import composites, pet_window, set_pet_window
from MRI2PETLib.scene.layout import (
    COMPARED,
    set_foreground,
    set_layout,
    set_opacity,
    show_crosshair,
    show_result,
)
from MRI2PETLib.scene.results import result_nodes
from MRI2PETLib.scene.swipe import Swipe


class DisplayPanel:
    """Shows one result. Sliders act on the nodes' displays, which are what a saved scene keeps."""

    def __init__(self, ui) -> None:
        self._ui = ui
        self._pet_id = None
        self._swipe = None
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.maximumSlider.connect("valueChanged(double)", self._onWindow)
        ui.thresholdSlider.connect("valueChanged(double)", self._onWindow)
        ui.swipeCheckBox.connect("toggled(bool)", self._onSwipe)
        ui.swipeSlider.connect("valueChanged(double)", self._onSwipePosition)

    def showResult(self, petId, layout: str) -> None:
        """Show a result (ID of its synthetic PET) in the views; ``None`` shows nothing new."""
        self.endSwipe()
        self._pet_id = petId
        nodes = result_nodes(slicer.mrmlScene, petId)
        hasReal = nodes is not None and nodes.real is not None
        self._ui.swipeCheckBox.enabled = hasReal
        for slider in (self._ui.maximumSlider, self._ui.thresholdSlider, self._ui.opacitySlider):
            slider.enabled = nodes is not None
        if nodes is None:
            return
        set_layout(slicer.mrmlScene, layout)
        before = _backgrounds()
        show_result(slicer.mrmlScene, nodes, self._ui.opacitySlider.value)
        views = [view for view, background in _backgrounds().items() if before.get(view) != background]
        qt.QTimer.singleShot(0, lambda: _fit(views))  # at once, a new view would return to 0 mm
        show_crosshair(slicer.mrmlScene)
        self._readWindow(nodes)

    def endSwipe(self) -> None:
        """Take the swipe volume away, and show what was shown before."""
        swipe, self._swipe = self._swipe, None
        self._ui.swipeSlider.enabled = False
        if self._ui.swipeCheckBox.checked:
            self._ui.swipeCheckBox.checked = False
        if swipe is not None:
            set_foreground(slicer.mrmlScene, self._pet_id)
            swipe.remove(slicer.mrmlScene)

    def _readWindow(self, nodes) -> None:
        top, below = pet_window(slicer.mrmlScene.GetNodeByID(nodes.pet))
        for slider, value in ((self._ui.maximumSlider, top), (self._ui.thresholdSlider, below)):
            slider.blockSignals(True)
            slider.maximum = max(2 * top, slider.maximum)
            slider.value = value
            slider.blockSignals(False)

    def _onOpacity(self, value: float) -> None:
        if self._pet_id is not None:
            set_opacity(slicer.mrmlScene, value)

    def _onWindow(self, _value: float) -> None:
        nodes = result_nodes(slicer.mrmlScene, self._pet_id)
        top, below = self._ui.maximumSlider.value, self._ui.thresholdSlider.value
        if nodes is not None and top > below:
            ids = [nodes.pet, nodes.real, self._swipe.node.GetID() if self._swipe else None]
            set_pet_window(slicer.mrmlScene, ids, top, transparent_below=below)

    def _onSwipe(self, on: bool) -> None:
        if not on:
            self.endSwipe()
            return
        self._swipe = Swipe(slicer.mrmlScene, slicer.mrmlScene.GetNodeByID(self._pet_id))
        set_foreground(slicer.mrmlScene, self._swipe.node.GetID())
        self._ui.swipeSlider.enabled = True
        self._onSwipePosition(self._ui.swipeSlider.value)

    def _onSwipePosition(self, share: float) -> None:
        if self._swipe is not None:
            self._swipe.set_position(share)


def _backgrounds() -> dict:
    """ID of the background of every slice view, by the view's name."""
    return {c.GetLayoutName(): c.GetBackgroundVolumeID() for c in composites(slicer.mrmlScene)}


def _fit(views) -> None:
    """Show the whole volume in these views; the compared ones show the plane of the overlay's axial view."""
    manager = slicer.app.layoutManager()
    axial = manager.sliceWidget("Red")
    for view in views:
        widget = manager.sliceWidget(view)
        if widget is None:  # of a layout that is not shown
            continue
        widget.sliceLogic().FitSliceToAll()
        if view in COMPARED and axial is not None and "Red" not in views:
            widget.sliceLogic().SetSliceOffset(axial.sliceLogic().GetSliceOffset())
