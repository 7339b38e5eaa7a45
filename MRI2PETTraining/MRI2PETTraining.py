"""Cross-validation on a local dataset: check it, train, watch, and use the model in MRI2PET Synthesis.

Glue only: panels are in MRI2PETTrainingUI, everything of value in MRI2PETTrainingLib.
"""

from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MRI2PETLib.jobs.child_process import child_python
from MRI2PETLib.scene.parameters import settings_of_node, show_settings
from MRI2PETSynthesisUI.running import showProgress
from MRI2PETTrainingLib.scene.session import TrainingSession
from MRI2PETTrainingLib.settings import TrainingSettings
from MRI2PETTrainingLib.training_run import default_run, missing
from MRI2PETTrainingLib.window_state import training_window

_PUMP_MS = 200
_TYPING_MS = 500  # a path that is being typed is not looked at
_AS_PRESET = "as in the preset"
_DEFAULTS = TrainingSettings("", "")


class MRI2PETTraining(ScriptedLoadableModule):
    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("MRI2PET Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["MRI2PETSynthesis"]
        parent.contributors = ["The SlicerMRI2PET contributors"]
        parent.helpText = _(
            "Trains a model on your own T1 + PET pairs by cross-validation that keeps every person on one "
            "side, evaluates it on people it has not seen beside simple baselines, and hands it to MRI2PET "
            "Synthesis. The training runs beside Slicer and can be stopped and resumed. Research use only."
        )
        parent.acknowledgementText = _(
            "Training follows Ferrante et al. 2025, with folds grouped by person. Cite it and SlicerMRI2PET "
            "(CITATION.cff)."
        )


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
    seed: Annotated[int, WithinRange(0, 2147483647), Default(_DEFAULTS.seed)]
    subjectPattern: str = ""
    excludeBad: bool = _DEFAULTS.exclude_bad
    leaveOneSiteOut: bool = _DEFAULTS.leave_one_site_out
    adjustGenotype: bool = _DEFAULTS.adjust_genotype
    workers: Annotated[int, WithinRange(1, 64), Default(_DEFAULTS.workers)]


class MRI2PETTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._settings = None
        self._layoutBefore = None

    def setup(self) -> None:
        from MRI2PETSynthesisUI.device_choice import DeviceChoice
        from MRI2PETSynthesisUI.setup_panel import SetupPanel
        from MRI2PETTrainingUI.dataset_panel import DatasetPanel
        from MRI2PETTrainingUI.norm_button import NormButton
        from MRI2PETTrainingUI.results_panel import ResultsPanel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MRI2PETTraining.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = MRI2PETTrainingLogic()
        self.session = self.logic.open(
            onState=lambda state: self.updateGUI(),
            onLog=self.ui.logText.appendPlainText,
            onFinished=self.onFinished,
        )
        self.dataset = DatasetPanel(self.ui, self.onPreset, self.onStartFrom)
        self.results = ResultsPanel(self.ui)
        self.norm = NormButton(self.ui.normButton, self.updateGUI)
        self.setupPanel = SetupPanel(
            self.ui.setupButton.layout(), onChanged=self.onSetupChanged, more=("training",)
        )
        self.devices = DeviceChoice(self.ui.deviceComboBox, self.onDeviceChanged)
        self._typing = qt.QTimer()
        self._typing.setSingleShot(True)
        self._typing.setInterval(_TYPING_MS)
        self._typing.connect("timeout()", self.look)
        self.ui.startButton.connect("clicked()", self.onStartButton)
        self.ui.checkButton.connect("clicked()", self.onCheckButton)
        self.ui.viewsButton.connect("clicked()", self.showViews)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda *_args: self.setParameterNode(None))
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The module is destroyed: leave the training, or end it."""
        self.logic.close(keepRunning=self.session.keep_running)
        self.setupPanel.cleanup()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()
        self.dataset.refreshModels()
        if self.session.is_active:
            self.showViews()

    def exit(self) -> None:
        """The training goes on and is shown again on return; the views go back to what they showed."""
        self._typing.stop()
        if self._layoutBefore is not None:
            slicer.app.layoutManager().setLayout(self._layoutBefore)
            self._layoutBefore = None

    def onSceneEndClose(self, _caller, _event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        if self._parameterNode is None:
            node = self.logic.getParameterNode()
            if self.session.is_active and not node.output:  # the scene was closed while it works
                self.logic.showSettings(node, self.session.settings)
                node.keepRunning = self.session.keep_running
            self.setParameterNode(node)

    def setParameterNode(self, node: MRI2PETTrainingParameterNode | None) -> None:
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(
                self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
        self._parameterNode = node
        self._settings = None
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.onParametersModified()

    # -- what the user does --------------------------------------------------------------------------------

    def onPreset(self, preset: str) -> None:
        self._parameterNode.preset = preset

    def onStartFrom(self, model: str) -> None:
        self._parameterNode.startFrom = model

    def onDeviceChanged(self, device: str) -> None:
        self._parameterNode.device = device

    def onSetupChanged(self) -> None:
        self.devices.setDevices(self.setupPanel.devices())
        self.updateGUI()

    def onParametersModified(self, _caller=None, _event=None) -> None:
        node = self._parameterNode
        if node is None:
            return
        self.session.keep_running = node.keepRunning
        self.dataset.setPreset(node.preset)
        self.dataset.setStartFrom(node.startFrom)
        self.devices.setDevice(node.device)
        if self._settings != (node.dataset, node.output, node.subjectPattern):
            self._typing.start()
        self.updateGUI()

    def look(self) -> None:
        """Look at the dataset and the run folder that were chosen."""
        node = self._parameterNode
        if node is None or self.session.is_active:
            return
        before = self._settings
        if node.dataset and (not node.output or (before and node.output == default_run(before[0]))):
            node.output = default_run(node.dataset)
        self._settings = (node.dataset, node.output, node.subjectPattern)
        self._typing.stop()
        self.ui.logText.clear()
        settings = self.logic.settings(node)
        choice = self.session.choose(settings)
        if choice != settings:
            self.logic.showSettings(node, choice)
            self._settings = (node.dataset, node.output, node.subjectPattern)
            self._typing.stop()
        if self.session.is_active:  # found at work
            node.keepRunning = True
        self.logic.watch()
        if self.session.view is not None:
            self.ui.casesButton.collapsed = False
        self.updateGUI()

    def onStartButton(self) -> None:
        """Start, Resume, or Stop while something runs."""
        if self.session.is_active:
            self.session.cancel()
        else:
            self._start()

    def onCheckButton(self) -> None:
        self._start(check=True)

    def _start(self, check: bool = False) -> None:
        if self._settings is None or self._typing.active or self.session.problem:
            self.look()
        if self.session.problem:
            slicer.util.errorDisplay(self.session.problem)
            return
        self.ui.logText.clear()
        with slicer.util.tryWithErrorDisplay(_("The training could not be started."), waitCursor=True):
            self.logic.start(self._parameterNode, check)
            self.showViews()
        self.updateGUI()

    def onFinished(self, outcome) -> None:
        self.updateGUI()
        if outcome.state == "failed":
            slicer.util.errorDisplay(self.session.state.message, detailedText=self.ui.logText.plainText)

    def showViews(self) -> None:
        """Curves above, cases and folds below; the views of before come back on leaving the module."""
        manager = slicer.app.layoutManager()
        if manager is not None:
            if self._layoutBefore is None:
                self._layoutBefore = manager.layout
            self.session.nodes.show()

    # -- what the window shows -----------------------------------------------------------------------------

    def updateGUI(self) -> None:
        """Everything follows from the state of the run, from its folder, and from what is missing."""
        if self._parameterNode is None:
            return
        missing = self.setupPanel.missingMessage() or self.logic.missing(self._parameterNode)
        view = training_window(self.session.state, self.session.view, missing)
        ui = self.ui
        texts = {"Start": _("Start"), "Resume": _("Resume"), "Stop": _("Stop")}
        ui.startButton.text = texts[view.primary]
        ui.startButton.enabled = view.primary_enabled
        ui.startButton.toolTip = view.primary_tip
        ui.checkButton.enabled = view.may_check
        ui.checkButton.toolTip = view.check_tip
        settings = (ui.presetComboBox, ui.foldsSpinBox, ui.datasetEdit, ui.datasetFolderButton)
        for control in (*settings, ui.datasetTableButton, ui.startFromComboBox, ui.advancedButton):
            control.enabled = view.inputs_enabled
        for control in (ui.runEdit, ui.runFolderButton, ui.deviceComboBox):
            control.enabled = view.folder_enabled
        ui.reportButton.enabled = view.has_report
        ui.useButton.enabled = view.may_use
        self.norm.update(self.session.view and self.session.view.run, view.may_use)
        showProgress(ui.progressBar, view.common)
        ui.statusLabel.text = view.common.status
        self.dataset.show(self.session)
        self.results.show(self.session)


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
        """What the parameter node says."""
        return settings_of_node(
            TrainingSettings,
            node,
            dataset=str(Path(node.dataset).expanduser()) if node.dataset else "",
            output=str(Path(node.output).expanduser()) if node.output else "",
            precision=None if node.precision == _AS_PRESET else node.precision,
        )

    @staticmethod
    def showSettings(node: MRI2PETTrainingParameterNode, settings: TrainingSettings) -> None:
        """Let the parameter node hold what a run was started with."""
        show_settings(settings, node, precision=settings.precision or _AS_PRESET)

    @staticmethod
    def missing(node: MRI2PETTrainingParameterNode) -> str:
        """Why nothing can be started, empty when it can."""
        return missing(MRI2PETTrainingLogic.settings(node))


class MRI2PETTrainingTest(ScriptedLoadableModuleTest):
    """A training on simulated people; needs neither network nor GPU, but the packages of the training."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_check_stop_resume()

    def test_check_stop_resume(self) -> None:
        """Check a dataset, train it, stop, resume; curves, report and ensemble are there."""
        from MRI2PETTrainingUI.trial import trialDataset, trialPreset, wait

        folder = slicer.util.tempDirectory()
        settings = TrainingSettings(
            trialDataset(folder), f"{folder}/run", preset=trialPreset(folder), folds=2, device="cpu"
        )
        logic = MRI2PETTrainingLogic()
        session = logic.open()
        session.choose(settings)
        session.start(settings, check=True)
        wait(session)
        self.assertEqual(session.nodes.node("cases").GetNumberOfRows(), 4)
        session.start(settings)
        wait(session, lambda: any(status.curves for status in session.view.folds))
        session.cancel()
        wait(session)
        self.assertIn("Stopped", session.state.message)
        session.start(settings)
        wait(session)
        self.assertIsNotNone(session.view.report, session.state.message)
        self.assertEqual(session.nodes.node("MRI2PETTrainingLoss").GetNumberOfPlotSeriesNodes(), 2)
        session.nodes.clear()
        self.delayDisplay("Check, stop, resume and report passed")
