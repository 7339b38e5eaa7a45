"""What windows and panels that run something share: start and cancel, progress, the reason of a failure."""

import json

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.jobs.pace import courses_of
from MRI2PETLib.jobs.run_state import RunState
from MRI2PETSynthesisUI.error_display import errorDisplay

_SETTING = "MRI2PET/ModelFolder"
_COURSES = "MRI2PET/Courses"


def showProgress(bar, window) -> None:
    """Show in a progress bar how far a run is.

    :param window: a :class:`MRI2PETLib.jobs.run_state.WindowState`.
    """
    bar.visible = window.bar_visible
    bar.maximum = 0 if window.percent is None else 100
    bar.value = window.percent or 0


def readCourses(logic) -> None:
    """Let the logic know what the steps of runs took in earlier sessions."""
    logic.courses.update(courses_of(json.loads(slicer.util.settingsValue(_COURSES, "{}"))))


def keepCourses(logic) -> None:
    """Keep what the steps of runs took for the next session."""
    content = {step: course.to_list() for step, course in logic.courses.items()}
    qt.QSettings().setValue(_COURSES, json.dumps(content))


def chooseModelFolder(check) -> str:
    """Ask for the folder of a model; empty if there is none to use.

    :param check: called with the folder, raises what is wrong with it.
    """
    start = slicer.util.settingsValue(_SETTING, "")
    folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of a model"), start)
    if not folder:
        return ""
    with errorDisplay(_("This is not a model that can be used.")):
        check(folder)
        qt.QSettings().setValue(_SETTING, folder)
        return folder
    return ""


class RunningPanel:
    """A panel with runs of its own."""

    def __init__(self, logic, onChanged) -> None:
        """
        :param onChanged: called when the state of the run has changed.
        """
        self._logic, self._onChanged = logic, onChanged
        self.run = None
        self._state = RunState()
        self._statusOf = None  # the inputs that the status is about
        self._log = []

    @property
    def isBusy(self) -> bool:
        return self._state.is_busy

    def _onInputs(self, *inputs) -> None:
        """What the status says goes when other inputs are chosen."""
        if inputs != self._statusOf and not self._state.is_busy:
            self._statusOf, self._state = inputs, RunState()

    def _startOrCancel(self, request, failure: str) -> None:
        """Start what ``request()`` says, or cancel what runs.

        :param failure: what is said if it cannot be started.
        """
        if self._state.is_busy:
            self.run.cancel()
            return
        self._log.clear()
        with errorDisplay(failure, waitCursor=True):
            self.run = self._logic.start(
                request(), onState=self._onState, onLog=self._log.append, onFinished=self._onFinished
            )

    def _onState(self, state: RunState) -> None:
        self._state = state
        self._onChanged()

    def _onFinished(self, finished) -> None:
        keepCourses(self._logic)
        if finished.state == "failed":  # shown later: a run may fail while it is being started
            message, details = self._state.message, "\n".join(self._log)
            qt.QTimer.singleShot(0, lambda: slicer.util.errorDisplay(message, detailedText=details))
