"""The lights of the inputs: checked when one is chosen or changes; what a run finds out replaces them, and
comes back with its result.
"""

import qt
import slicer
from slicer.util import VTKObservationMixin

from MRI2PETLib.scene.inputs import checks_of_nodes, content_events, content_state, lights_html
from MRI2PETLib.scene.verdict import verdict_on
from MRI2PETLib.synthesis.checks import MODEL_CHECK, refusal
from MRI2PETLib.synthesis.run_checks import checks_after, checks_of_new_inputs

_QUIET_MS = 300  # a transform that is dragged changes its volume many times a second


class InputLights(VTKObservationMixin):
    """Shown in ``label``."""

    def __init__(self, label, onInputChanged) -> None:
        """
        :param onInputChanged: called when the voxels or the place of an input have changed.
        """
        super().__init__()
        self._label = label
        self._checks = []
        self._t1Inputs = self._petInputs = self._result = None
        self._states = {}  # of the volumes among the inputs
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_QUIET_MS)
        self._timer.connect("timeout()", onInputChanged)
        slicer.app.connect("paletteChanged(QPalette)", self._write)

    def refusal(self) -> str:
        """Why a run would be refused; empty where no light is red."""
        return str(refusal(self._checks) or "")

    def show(self, t1, mask, pet, unit, tracer, result) -> bool:
        """Check the inputs if they are others than before, and say what the run of another result found out
        about them; whether one is another.

        :param unit: of the PET; ``None``: as it states. ``tracer``: of the model, empty for none.
        """
        t1Inputs, petInputs = (_id(t1), _id(mask)), (_id(pet), unit, tracer)
        areOther = (t1Inputs, petInputs) != (self._t1Inputs, self._petInputs)
        isOtherResult = _id(result) != self._result
        if areOther or isOtherResult:
            quick = checks_of_nodes(t1, pet, unit, tracer)
            t1Changed = isOtherResult or t1Inputs != self._t1Inputs
            checks = checks_of_new_inputs(self._checks, quick, t1_changed=t1Changed)
            if isOtherResult:  # inputs that were edited since its run are checked anew
                checks = checks_after(checks, verdict_on(slicer.mrmlScene, _id(result), t1, pet))
            self._show(checks)
        self._t1Inputs, self._petInputs, self._result = t1Inputs, petInputs, _id(result)
        if areOther:
            self.removeObservers()
            self._states = {}
            for node in {_id(n): n for n in (t1, mask, pet) if n is not None}.values():
                if node.IsA("vtkMRMLVolumeNode"):
                    self._states[node.GetID()] = content_state(node)
                for event in content_events(node):
                    self.addObserver(node, event, self._onModified)
        return areOther or isOtherResult

    def add(self, checks) -> None:
        """A run has found out more."""
        self._show(checks_after(self._checks, checks))

    def modelChanged(self) -> None:
        """What a run said of the former model is no longer of interest."""
        self._show([check for check in self._checks if check.name != MODEL_CHECK])

    def forget(self) -> None:
        """The inputs and the result are no longer there."""
        self._forgetInputs()
        self._result = None

    def _forgetInputs(self) -> None:
        self._t1Inputs = self._petInputs = None
        self._timer.stop()
        self.removeObservers()

    def cleanup(self) -> None:
        """The module is destroyed."""
        self.forget()
        slicer.app.disconnect("paletteChanged(QPalette)", self._write)

    def _show(self, checks) -> None:
        self._checks = checks
        self._write()

    def _write(self, *_) -> None:
        """In colours for Slicer's present style."""
        onDark, tipOnDark = (
            slicer.app.palette().color(role).lightness() < 128
            for role in (qt.QPalette.Window, qt.QPalette.ToolTipBase)
        )
        self._label.text = lights_html(self._checks, brief=True, on_dark=onDark)
        self._label.toolTip = lights_html(self._checks, on_dark=tipOnDark)

    def _onModified(self, caller, event) -> None:
        if event == "ModifiedEvent" and content_state(caller) == self._states.get(caller.GetID()):
            return  # its name, or what is said of it
        self._forgetInputs()
        self._timer.start()


def _id(node):
    return node.GetID() if node is not None else None
