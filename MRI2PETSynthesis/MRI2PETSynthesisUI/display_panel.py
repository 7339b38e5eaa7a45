"""The panel *Outputs*: layout, planes, overlay, opacity, the common window of both PETs, swipe."""

import qt
import slicer
import vtk

from MRI2PETLib.scene.display import composites, pet_window, set_pet_window
from MRI2PETLib.scene.fit import corners_ras, fit_to_corners
from MRI2PETLib.scene.layout import (
    COMPARED,
    OVERLAYS,
    SLICE_PLANES,
    crosshair_to_slices,
    overlay_of,
    set_layout,
    set_opacity,
    show_crosshair,
    show_over_t1,
    show_result,
    shown_layout,
    straighten,
)
from MRI2PETLib.scene.results import result_nodes
from MRI2PETLib.scene.swipe import Swipe


class DisplayPanel:
    """Shows one result. Sliders act on the nodes' displays, which are what a saved scene keeps."""

    def __init__(self, ui) -> None:
        self._ui = ui
        self._pet_id = None
        self._overlay = "pet"  # that was chosen; what is shown may be something else
        self._isOverlay = True
        self._swipe = None
        self._view = self._observer = None
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.maximumSlider.connect("valueChanged(double)", self._onWindow)
        ui.thresholdSlider.connect("valueChanged(double)", self._onWindow)
        ui.overlayComboBox.connect("activated(int)", self._onOverlay)
        ui.swipeCheckBox.connect("toggled(bool)", self._onSwipe)
        ui.swipeSlider.connect("valueChanged(double)", self._onSwipePosition)

    def showResult(self, petId, layout: str, plane: str) -> None:
        """Show a result (ID of its synthetic PET) in the views; ``None`` shows nothing new."""
        self.endSwipe()
        self._pet_id = petId
        nodes = result_nodes(slicer.mrmlScene, petId)
        hasReal = nodes is not None and nodes.real is not None
        self._isOverlay = isOverlay = layout == "overlay"
        self._ui.swipeCheckBox.enabled = hasReal and isOverlay
        self._ui.planeComboBox.enabled = not isOverlay
        self._fillOverlays(nodes)
        for widget in (self._ui.overlayComboBox, self._ui.opacitySlider):
            widget.enabled = nodes is not None and isOverlay
        if nodes is None:
            self._onView()
            return
        set_layout(slicer.mrmlScene, layout, plane, plot=nodes.scatter is not None)
        before = _backgrounds()
        opacity = self._ui.opacitySlider.value
        show_result(slicer.mrmlScene, nodes, opacity, plane=plane, overlay=self._overlay)
        self._onView()
        new = [view for view, background in _backgrounds().items() if before.get(view) != background]
        corners = corners_ras(slicer.mrmlScene, nodes.mask)
        qt.QTimer.singleShot(0, lambda: fitViews(new, corners))  # at once, a new view would return to 0 mm
        show_crosshair(slicer.mrmlScene)
        self._readWindow(nodes)

    def nameLayout(self) -> None:
        """The list of layouts says which one is seen; nothing for one of Slicer's or of another module."""
        combo = self._ui.layoutComboBox
        if result_nodes(slicer.mrmlScene, self._pet_id) is not None:
            wasBlocked = combo.blockSignals(True)
            combo.setCurrentIndex(combo.findText(shown_layout(slicer.mrmlScene) or ""))
            combo.blockSignals(wasBlocked)

    def endSwipe(self) -> None:
        """Take the swipe away, and show what was shown before."""
        swipe, self._swipe = self._swipe, None
        self._ui.swipeSlider.enabled = False
        if self._ui.swipeCheckBox.checked:
            self._ui.swipeCheckBox.checked = False
        if swipe is not None:
            self._showOverlay()
            swipe.remove()

    def _fillOverlays(self, nodes) -> None:
        """List what this result has; what was chosen for another one stays chosen where it can."""
        combo = self._ui.overlayComboBox
        combo.clear()
        for role, name in OVERLAYS.items():
            if nodes is not None and getattr(nodes, role) is not None:
                combo.addItem(name, role)
        if combo.findData(self._overlay) < 0:
            self._overlay = "pet"

    def _onOverlay(self, index: int) -> None:
        self._overlay = str(self._ui.overlayComboBox.itemData(index))
        self.endSwipe()
        self._showOverlay()

    def _showOverlay(self) -> None:
        nodes = result_nodes(slicer.mrmlScene, self._pet_id)
        if nodes is not None:
            show_over_t1(slicer.mrmlScene, nodes, self._overlay)

    def watchView(self, on: bool) -> None:
        """Follow what the overlay's axial view shows, or stop following it."""
        if self._view is not None:
            self._view.RemoveObserver(self._observer)
        views = {c.GetLayoutName(): c for c in composites(slicer.mrmlScene)} if on else {}
        self._view = views.get("Red")
        if self._view is not None:
            self._observer = self._view.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onView)
            self._onView()

    def _onView(self, *_) -> None:
        """What is named is what lies over the T1, and the window of the PETs can be set where one is seen."""
        nodes = result_nodes(slicer.mrmlScene, self._pet_id)
        overlay = overlay_of(slicer.mrmlScene, nodes)
        combo = self._ui.overlayComboBox
        combo.setCurrentIndex(-1 if overlay is None else combo.findData(overlay))
        hasPet = not self._isOverlay or self._swipe is not None or overlay in ("pet", "real")
        for slider in (self._ui.maximumSlider, self._ui.thresholdSlider):
            slider.enabled = nodes is not None and hasPet

    def _readWindow(self, nodes) -> None:
        top, below = pet_window(slicer.mrmlScene.GetNodeByID(nodes.pet))
        maximum, threshold = self._ui.maximumSlider, self._ui.thresholdSlider
        for slider in (maximum, threshold):
            slider.blockSignals(True)
        maximum.maximum = max(2 * top, maximum.maximum)
        maximum.value = top
        self._limitThreshold()
        threshold.value = below
        for slider in (maximum, threshold):
            slider.blockSignals(False)

    def _limitThreshold(self) -> None:
        """What is transparent ends below the maximum."""
        maximum = self._ui.maximumSlider
        self._ui.thresholdSlider.maximum = max(0.0, maximum.value - maximum.singleStep)

    def _onOpacity(self, value: float) -> None:
        if self._pet_id is not None:
            set_opacity(slicer.mrmlScene, value)

    def _onWindow(self, _value: float) -> None:
        self._limitThreshold()
        nodes = result_nodes(slicer.mrmlScene, self._pet_id)
        top, below = self._ui.maximumSlider.value, self._ui.thresholdSlider.value
        if nodes is not None and top > below:
            ids = [nodes.pet, nodes.real, *(self._swipe.volumes if self._swipe else ())]
            set_pet_window(slicer.mrmlScene, ids, top, transparent_below=below)

    def _onSwipe(self, on: bool) -> None:
        if not on:
            self.endSwipe()
            return
        self._showOverlay()  # a swipe keeps the T1 that is shown
        self._swipe = Swipe(slicer.mrmlScene, slicer.mrmlScene.GetNodeByID(self._pet_id))
        self._swipe.show()
        self._ui.swipeSlider.enabled = True
        self._onSwipePosition(self._ui.swipeSlider.value)

    def _onSwipePosition(self, share: float) -> None:
        if self._swipe is not None:
            self._swipe.set_position(share)


def _backgrounds() -> dict:
    """ID of the background of every slice view, by the view's name."""
    return {c.GetLayoutName(): c.GetBackgroundVolumeID() for c in composites(slicer.mrmlScene)}


def fitViews(new, corners) -> None:
    """Show the whole brain in all views, and the crosshair where their slices cross. Views with
    a new background show its middle, compared ones the slice of the overlay's own view; others keep theirs.

    :param corners: of a box around the brain; ``None``: the whole image.
    """
    manager = slicer.app.layoutManager()
    for view in manager.sliceViewNames():
        widget = manager.sliceWidget(view)
        if widget is None or not (view in new or widget.visible):
            continue
        source = SLICE_PLANES[COMPARED[view][1]][1] if view in new and view in COMPARED else view
        offset = None if source in new else _offset(manager.sliceWidget(source))
        if view in new:
            straighten(widget.mrmlSliceNode())
        widget.sliceLogic().FitSliceToAll()
        if corners is not None:
            fit_to_corners(widget.mrmlSliceNode(), corners)
        if offset is not None:
            widget.sliceLogic().SetSliceOffset(offset)
    crosshair_to_slices(slicer.mrmlScene)


def _offset(widget):
    return None if widget is None else widget.sliceLogic().GetSliceOffset()
