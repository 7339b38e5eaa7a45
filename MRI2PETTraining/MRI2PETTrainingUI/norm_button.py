"""The button *Build norm*: what the controls of a finished run are like."""

import slicer
from slicer.i18n import tr as _

from MRI2PETLib.jobs.run_state import RunState, window_state
from MRI2PETLib.scene.norm import NormBuildRequest, missing_for_build, norm_of_run
from MRI2PETSynthesisUI.running import RunningPanel


class NormButton(RunningPanel):
    """Builds into the folder ``norm`` of the run; Cancel while it works."""

    def __init__(self, button, onChanged) -> None:
        super().__init__(slicer.util.getModuleLogic("MRI2PETSynthesis"), onChanged)
        self._button, self._run = button, None
        button.connect("clicked()", self._onClick)

    def update(self, run, mayUse: bool) -> None:
        """Show the state.

        :param run: the folder of the run, or ``None``; ``mayUse``: it is complete and nothing trains.
        """
        self._run = run
        self._onInputs(run)
        missing = missing_for_build(run)
        busy, button = self._state.is_busy, self._button
        button.text = _("Cancel the norm") if busy else _("Build norm")
        button.enabled = busy or (mayUse and not missing)
        norm = norm_of_run(run)
        about = _("What the controls of this run are like, to compare others with.")
        button.toolTip = missing or (about if norm is None else str(norm))

    @property
    def window(self):
        """What the window says of the norm; ``None`` where there is nothing to say."""
        return window_state(self._state) if self._state.is_busy or self._state.message else None

    def _onClick(self) -> None:
        self._startOrCancel(lambda: NormBuildRequest(self._run), _("The norm could not be built."))

    def _onFinished(self, finished) -> None:
        super()._onFinished(finished)
        if finished.nodes is not None:
            people, folder = finished.nodes.people, finished.nodes.folder
            message = _("Norm of {people} controls: {folder}. Section Norm of MRI2PET Synthesis uses it.")
            self._onState(RunState(message=message.format(people=people, folder=folder)))
