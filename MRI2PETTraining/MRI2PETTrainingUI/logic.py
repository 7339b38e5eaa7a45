"""What the module MRI2PETTraining does and remembers, without its window: parameter node and logic."""

from pathlib import Path
from typing import Annotated

import qt
import slicer
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.jobs.child_process import child_python
from MRI2PETLib.preprocessing.frame_window import parse_window, window_text
from MRI2PETLib.scene.parameters import settings_of_node, show_settings
from MRI2PETTrainingLib.scene.session import TrainingSession
from MRI2PETTrainingLib.settings import TrainingSettings
from MRI2PETTrainingLib.training_run import missing

_PUMP_MS = 200
_AS_PRESET = "as in the preset"
_DEFAULTS = TrainingSettings("", "")


@parameterNodeWrapper
class MRI2PETTrainingParameterNode:
    """What the user chose; saved with the scene. A parameter that is called like a field of
    ``TrainingSettings`` is that setting; 0 and empty leave the preset's choice.
    """

    dataset: str = _DEFAULTS.dataset
    output: str = _DEFAULTS.output
    preset: str = "tspo-unet"
    folds: Annotated[int, WithinRange(2, 50), Default(_DEFAULTS.folds)]
    device: str = _DEFAULTS.device
    keepRunning: bool = False
    epochs: Annotated[int, WithinRange(0, 100000), Default(0)]
    batchSize: Annotated[int, WithinRange(0, 256), Default(0)]
    precision: Annotated[str, Choice([_AS_PRESET, *TrainingSettings.choices("precision")])] = _AS_PRESET
    startFrom: str = ""
    unpaired: str = ""
    vgg19: str = ""
    window: str = ""
    referenceRegion: Annotated[str, Choice([_AS_PRESET, *TrainingSettings.choices("reference_region")])] = (
        _AS_PRESET
    )
    seed: Annotated[int, WithinRange(0, 2147483647), Default(_DEFAULTS.seed)]
    subjectPattern: str = ""
    excludeBad: bool = _DEFAULTS.exclude_bad
    leaveOneSiteOut: bool = _DEFAULTS.leave_one_site_out
    adjustGenotype: bool = _DEFAULTS.adjust_genotype
    workers: Annotated[int, WithinRange(1, 64), Default(_DEFAULTS.workers)]
    foldsAtOnce: Annotated[int, WithinRange(1, 64), Default(_DEFAULTS.folds_at_once)]


class MRI2PETTrainingLogic(ScriptedLoadableModuleLogic):
    """Runs the training beside Slicer. Works without the widget:

    >>> logic = slicer.util.getModuleLogic("MRI2PETTraining")  # doctest: +SKIP
    >>> session = logic.open()  # doctest: +SKIP
    >>> session.start(TrainingSettings("/data/pairs", "/data/run", preset="smoke"))  # doctest: +SKIP
    >>> logic.watch()  # doctest: +SKIP   delivers what it tells, by a timer
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.session = None
        self._timer = None

    def getParameterNode(self) -> MRI2PETTrainingParameterNode:
        return MRI2PETTrainingParameterNode(super().getParameterNode())

    def open(self, onState=None, onLog=None, onFinished=None) -> TrainingSession:
        """The session that this logic watches."""
        callbacks = {"on_state": onState, "on_log": onLog, "on_finished": onFinished}
        listeners = {name: call for name, call in callbacks.items() if call is not None}
        self.session = TrainingSession(slicer.mrmlScene, python=child_python(), **listeners)
        return self.session

    def start(self, node: MRI2PETTrainingParameterNode, check: bool = False) -> None:
        """Start or go on with the training, or only check the dataset."""
        self.session.start(self.settings(node), check=check)
        self.watch()

    def watch(self) -> None:
        """Let a timer of the main thread deliver what the child tells, as long as there is one."""
        if not self.session.is_active:
            return
        if self._timer is None:
            self._timer = qt.QTimer()
            self._timer.setInterval(_PUMP_MS)
            self._timer.connect("timeout()", self.pump)
        self._timer.start()

    def pump(self) -> None:
        if not self.session.pump():
            self._timer.stop()

    def close(self, *, keepRunning: bool) -> None:
        """Leave the child, or end it."""
        if self._timer is not None:
            self._timer.stop()
        if self.session is not None:
            self.session.close(keep_running=keepRunning)

    @staticmethod
    def settings(node: MRI2PETTrainingParameterNode) -> TrainingSettings:
        """What the parameter node says.

        :raises InputError: for a text that is no window of frames.
        """
        return settings_of_node(
            TrainingSettings,
            node,
            dataset=str(Path(node.dataset).expanduser()) if node.dataset else "",
            output=str(Path(node.output).expanduser()) if node.output else "",
            precision=_or_preset(node.precision),
            reference_region=_or_preset(node.referenceRegion),
            window=parse_window(node.window),
        )

    @staticmethod
    def showSettings(node: MRI2PETTrainingParameterNode, settings: TrainingSettings) -> None:
        """Let the parameter node hold what a run was started with."""
        show_settings(
            settings,
            node,
            precision=settings.precision or _AS_PRESET,
            reference_region=settings.reference_region or _AS_PRESET,
            window=window_text(settings.window),
        )

    @staticmethod
    def missing(node: MRI2PETTrainingParameterNode) -> str:
        """Why nothing can be started, empty when it can."""
        try:
            return missing(MRI2PETTrainingLogic.settings(node))
        except InputError as error:
            return f"{error.message} {error.hint}"


def _or_preset(choice: str) -> str | None:
    return None if choice == _AS_PRESET else choice
