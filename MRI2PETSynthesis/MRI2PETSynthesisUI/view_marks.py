"""Writes the person's sides and the name of the image into the slice views, while the module is open."""

import slicer
import vtk

from MRI2PETLib.scene.view_marks import view_marks

_FONT_SIZE = 15
# Four views of 335 pixels beside each other, which is what Slicer wants, would widen the whole window.
_CONTROLLER_WIDTH = 100
# In a narrower one the slider, which cannot be gripped there, and a button leave no room for the position.
_WIDTH_OF_SLIDER = 260
# Where a text lies (share of the view's width and height), and how it is justified there.
_PLACES = {
    "left": (0.01, 0.5, "Left", "Centered"),
    "right": (0.99, 0.5, "Right", "Centered"),
    "top": (0.5, 0.99, "Centered", "Top"),
    "bottom": (0.51, 0.01, "Left", "Bottom"),  # beside the line of a crosshair, which looks like an I
}


class ViewMarks:
    """The texts of all slice views; a view gets its own when a layout shows it first."""

    def __init__(self) -> None:
        self._views = {}

    def show(self, on: bool) -> None:
        """Write the texts, or take them away."""
        manager = slicer.app.layoutManager()
        manager.disconnect("layoutChanged(int)", self._add)
        if on:
            manager.connect("layoutChanged(int)", self._add)
            self._add()
            return
        for view in self._views.values():
            view.remove()
        self._views = {}

    def _add(self, _layout=0) -> None:
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames():
            widget = manager.sliceWidget(name)
            if widget is not None and name not in self._views:
                self._views[name] = _MarkedView(widget)


class _MarkedView:
    def __init__(self, widget) -> None:
        self._view, self._composite = widget.sliceView(), widget.mrmlSliceCompositeNode()
        self._actors = {edge: _actor(*place) for edge, place in _PLACES.items()}
        for actor in self._actors.values():
            self._renderer().AddViewProp(actor)
        event = vtk.vtkCommand.ModifiedEvent
        nodes = (self._composite, widget.mrmlSliceNode())
        self._observers = [(node, node.AddObserver(event, self._update)) for node in nodes]
        controller = widget.sliceController()
        label = slicer.util.findChild(controller, "ViewLabel")
        label.setMinimumWidth(label.sizeHint.width())  # else a narrow view cuts its name
        controller.setMinimumWidth(_CONTROLLER_WIDTH)
        self._roomy = [
            slicer.util.findChild(controller.sliceOffsetSlider(), "Slider"),
            slicer.util.findChild(controller, "FitToWindowToolButton"),
        ]
        self._update()

    def remove(self) -> None:
        for node, observer in self._observers:
            node.RemoveObserver(observer)
        for actor in self._actors.values():
            self._renderer().RemoveViewProp(actor)
        for widget in self._roomy:
            widget.visible = True
        self._view.scheduleRender()

    def _renderer(self):
        return self._view.renderWindow().GetRenderers().GetFirstRenderer()

    def _update(self, *_) -> None:
        for widget in self._roomy:
            widget.visible = self._view.width >= _WIDTH_OF_SLIDER
        texts = view_marks(slicer.mrmlScene, self._composite)._asdict()
        changed = {edge: text for edge, text in texts.items() if self._actors[edge].GetInput() != text}
        for edge, text in changed.items():
            self._actors[edge].SetInput(text)
        if changed:
            self._view.scheduleRender()


def _actor(x, y, horizontal, vertical):
    actor = vtk.vtkTextActor()
    actor.SetInput("")
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(x, y)
    style = actor.GetTextProperty()
    style.SetFontSize(_FONT_SIZE)
    style.ShadowOn()
    getattr(style, f"SetJustificationTo{horizontal}")()
    getattr(style, f"SetVerticalJustificationTo{vertical}")()
    return actor
