"""Cross-validation on a local dataset: check it, train, watch, and use the model in MRI2PET Synthesis.

Glue only: panels and logic are in MRI2PETTrainingUI, everything of value in MRI2PETTrainingLib.
"""

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from MRI2PETLib.core.errors import InputError
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETSynthesisUI.parameters import ParameterNodeMixin
from MRI2PETSynthesisUI.running import showProgress
from MRI2PETTrainingLib.settings import TrainingSettings
from MRI2PETTrainingLib.training_run import run_for
from MRI2PETTrainingLib.window_state import training_window
from MRI2PETTrainingUI.logic import MRI2PETTrainingLogic, MRI2PETTrainingParameterNode

_TYPING_MS = 500  # a path that is being typed is not looked at


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


class MRI2PETTrainingWidget(ScriptedLoadableModuleWidget, ParameterNodeMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        ParameterNodeMixin.__init__(self)
        self.logic = None
        self._settings = None
        self._layoutBefore = None

    def setup(self) -> None:
        from MRI2PETSynthesisUI.device_choice import DeviceChoice
        from MRI2PETSynthesisUI.room import RoomForTexts
        from MRI2PETSynthesisUI.setup_panel import SetupPanel
        from MRI2PETTrainingUI.dataset_panel import DatasetPanel
        from MRI2PETTrainingUI.norm_button import NormButton
        from MRI2PETTrainingUI.results_panel import ResultsPanel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MRI2PETTraining.ui"))
        self.layout.addWidget(widget)
        self.room = RoomForTexts(widget)
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
        self.norm = NormButton(self.ui.normButton, self.ui.normGroupComboBox, self.updateGUI)
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
        self._settings = None
        super().setParameterNode(node)

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
        if self._settings != self._watched(node):
            self._typing.start()
        self.updateGUI()

    @staticmethod
    def _watched(node: MRI2PETTrainingParameterNode) -> tuple:
        """What decides which cases and which run are shown."""
        return node.dataset, node.output, node.subjectPattern, node.window

    def look(self) -> None:
        """Look at the dataset and the run folder that were chosen."""
        node = self._parameterNode
        if node is None or self.session.is_active:
            return
        node.output = run_for(node.dataset, node.output, self._settings and self._settings[:2])
        self._settings = self._watched(node)
        self._typing.stop()
        self.ui.logText.clear()
        try:
            settings = self.logic.settings(node)
        except InputError:  # said beside the button, see missing
            self.updateGUI()
            return
        choice = self.session.choose(settings)
        if choice != settings:
            self.logic.showSettings(node, choice)
            self._settings = self._watched(node)
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
        with errorDisplay(_("The training could not be started."), waitCursor=True):
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
        self.dataset.enable(view)
        ui.reportButton.enabled = view.has_report
        ui.useButton.enabled = view.may_use
        self.norm.update(self.session.view and self.session.view.run, view.may_use)
        common = (None if self.session.is_active else self.norm.window) or view.common
        showProgress(ui.progressBar, common)
        ui.statusLabel.text = common.status
        self.dataset.show(self.session)
        self.results.show(self.session)


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
