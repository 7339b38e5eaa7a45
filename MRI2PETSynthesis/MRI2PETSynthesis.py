"""Synthetic PET from a T1-weighted MRI, shown over the T1 and compared with the real PET.

Glue only: panels and logic are in MRI2PETSynthesisUI, everything of value in MRI2PETLib.
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

from MRI2PETLib.jobs.run_state import RunState, window_state
from MRI2PETLib.scene.inputs import may_be_t1
from MRI2PETLib.scene.job import RunEnd
from MRI2PETLib.scene.layout import leave_results
from MRI2PETLib.scene.memory import give_back_memory, release_images
from MRI2PETLib.scene.run import SynthesisRequest
from MRI2PETLib.scene.verdict import verdict_in_words
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETSynthesisUI.logic import SUVR_TASK, MRI2PETSynthesisLogic, MRI2PETSynthesisParameterNode
from MRI2PETSynthesisUI.parameters import ParameterNodeMixin
from MRI2PETSynthesisUI.running import keepCourses, readCourses, showProgress

# Those of the task T1 to PET; the other task has a panel of its own.
_SYNTHESIS_WIDGETS = (
    "checksLabel",
    "noticeLabel",
    "inputsButton",
    "outputLabel",
    "outputSelector",
    "applyButton",
    "compareButton",
    "displayButton",
    "readoutsButton",
)


class MRI2PETSynthesis(ScriptedLoadableModule):
    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("MRI2PET Synthesis")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["The SlicerMRI2PET contributors"]
        parent.helpText = _(
            "Turns a T1-weighted MRI into a synthetic PET, shows it over the T1, and compares it with the "
            "real PET: NormDiff, CNR, regions, beside what anatomy alone reaches. A synthetic PET is not a "
            "measurement. A second task measures SUVR by region, also without an MRI of the person. Research "
            "use only, not for clinical use."
        )
        parent.acknowledgementText = _(
            "The network and its readouts follow Ferrante et al. 2025 (T1 to TSPO PET), SUVR without an MRI "
            "Choi & Lee 2018, diffusion Theodorou et al. 2025. Template: ICBM 152 "
            "2009a, Fonov et al. 2011. Cite these works and SlicerMRI2PET (CITATION.cff)."
        )
        slicer.app.connect("startupCompleted()", self._onStartupCompleted)

    def _onStartupCompleted(self) -> None:
        from MRI2PETLib.scene.display import LegendWatch
        from MRI2PETLib.scene.origin import OriginWatch
        from MRI2PETSynthesisUI.sample_data import registerSampleData

        registerSampleData()
        self.legendWatch = LegendWatch(slicer.mrmlScene)
        self.originWatch = OriginWatch(slicer.mrmlScene)  # also of what is loaded before the module is opened


class MRI2PETSynthesisWidget(ScriptedLoadableModuleWidget, ParameterNodeMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        ParameterNodeMixin.__init__(self)
        self.logic = None
        self.run = None
        self._state = RunState()
        self._shownResult = self._t1Id = None

    def setup(self) -> None:
        from MRI2PETSynthesisUI.cohort_panel import CohortPanel
        from MRI2PETSynthesisUI.device_choice import DeviceChoice
        from MRI2PETSynthesisUI.display_panel import DisplayPanel
        from MRI2PETSynthesisUI.input_lights import InputLights
        from MRI2PETSynthesisUI.inputs_panel import InputsPanel
        from MRI2PETSynthesisUI.norm_panel import NormPanel
        from MRI2PETSynthesisUI.readout_panel import ReadoutPanel
        from MRI2PETSynthesisUI.room import RoomForTexts
        from MRI2PETSynthesisUI.setup_panel import SetupPanel
        from MRI2PETSynthesisUI.suvr_panel import SuvrPanel
        from MRI2PETSynthesisUI.view_marks import ViewMarks

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MRI2PETSynthesis.ui"))
        self.layout.addWidget(widget)
        self.room = RoomForTexts(widget)
        self.logic = MRI2PETSynthesisLogic()
        readCourses(self.logic)
        self.suvr = SuvrPanel(widget.layout(), self.logic, self.updateGUI)
        ui = slicer.util.childWidgetVariables(widget)
        place = widget.layout().indexOf(ui.advancedButton)
        self.norm = NormPanel(widget.layout(), place, self.logic, self.updateGUI)
        self.cohort = CohortPanel(widget.layout(), place + 1, self.logic, self.updateGUI)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.inputs = InputsPanel(self.ui, self.onModelChanged, self.onParametersModified)
        self.lights = InputLights(self.ui.checksLabel, self.onParametersModified)
        self.display = DisplayPanel(self.ui)
        self.marks = ViewMarks()
        self.readouts = ReadoutPanel(self.ui)
        self.setupPanel = SetupPanel(self.ui.setupButton.layout(), onChanged=self.onSetupChanged)
        self.devices = DeviceChoice(self.ui.deviceComboBox, self.onDeviceChanged)
        for selector in (self.ui.outputSelector, self.ui.resultSelector):
            selector.addAttribute("vtkMRMLScalarVolumeNode", "MRI2PET.Result")
        self.ui.taskComboBox.connect("activated(int)", lambda _: self.logic.keepImages(self._parameterNode))
        self.ui.layoutComboBox.connect("activated(int)", self.onLayoutChosen)
        slicer.app.layoutManager().connect("layoutChanged(int)", self.onLayoutChanged)
        self.ui.applyButton.connect("clicked()", self.onApplyButton)
        self.ui.compareButton.connect("clicked()", self.onCompareButton)
        self.ui.checkButton.connect("clicked()", self.onCheckButton)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The module is destroyed: end what runs."""
        slicer.app.layoutManager().disconnect("layoutChanged(int)", self.onLayoutChanged)
        self.logic.cleanup()
        self.lights.cleanup()
        self.setupPanel.cleanup()
        self.readouts.watchCrosshair(False)
        self.display.watchView(False)
        self.marks.show(False)
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()
        self.inputs.refreshModels()
        self.readouts.watchCrosshair(True)
        self.display.watchView(True)
        self.marks.show(True)

    def exit(self) -> None:
        self.readouts.watchCrosshair(False)
        self.display.watchView(False)
        self.marks.show(False)
        self.setParameterNode(None)

    def onSceneStartClose(self, _caller, _event) -> None:
        self.display.endSwipe()
        self.readouts.watchCrosshair(False)
        self.display.watchView(False)
        self.setParameterNode(None)
        self._shownResult = None  # another scene may use the same IDs
        self.lights.forget()

    def onSceneEndClose(self, _caller, _event) -> None:
        self._state = RunState()  # of a run of the former scene
        qt.QTimer.singleShot(0, self._leaveScene)  # views and layout learn a little later what is gone
        if self.parent.isEntered:
            self.enter()

    def _leaveScene(self) -> None:
        if not slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"):
            leave_results(slicer.mrmlScene)
        release_images(slicer.app.applicationLogic())
        give_back_memory()

    def initializeParameterNode(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.t1 is None:
            self.logic.leaveT1(self._parameterNode)  # it may have been deleted in another module
            for volume in filter(may_be_t1, slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")):
                self._parameterNode.t1 = volume
                break

    def setParameterNode(self, node: MRI2PETSynthesisParameterNode | None) -> None:
        if node is not None:
            self.inputs.setModel(node.model)
            self.devices.setDevice(node.device)
        self._t1Id = None  # mask and T1 of a scene that is opened belong together
        super().setParameterNode(node)

    # -- what the user does --------------------------------------------------------------------------------

    def onModelChanged(self, model: str) -> None:
        self._parameterNode.model = model
        self.lights.modelChanged()

    def onDeviceChanged(self, device: str) -> None:
        self._parameterNode.device = device

    def onSetupChanged(self) -> None:
        self.devices.setDevices(self.setupPanel.devices())
        self.updateGUI()

    def onLayoutChosen(self, _index: int) -> None:
        """Also the one that was chosen before: the views may show something else meanwhile."""
        self._shownResult = None
        self.onParametersModified()

    def onLayoutChanged(self, _layout: int) -> None:
        if self._parameterNode is not None:
            self.display.nameLayout()

    def onApplyButton(self) -> None:
        """Apply, or Cancel while something runs."""
        if self.run is not None and self.run.is_active:
            self.run.cancel()
            return
        self._start(self.logic.request(self._parameterNode))

    def onCompareButton(self) -> None:
        self._start(self.logic.request(self._parameterNode, compareOnly=True))

    def onCheckButton(self) -> None:
        self._start(self.logic.request(self._parameterNode, checkOnly=True))

    def _start(self, request: SynthesisRequest) -> None:
        self.ui.logText.clear()
        with errorDisplay(_("The run could not be started."), waitCursor=True):
            self.run = self.logic.start(
                request,
                onState=self.onState,
                onLog=self.ui.logText.appendPlainText,
                onFinished=self.onFinished,
            )

    def onState(self, state: RunState) -> None:
        self._state = state
        self.updateGUI()

    def onFinished(self, finished: RunEnd) -> None:
        keepCourses(self.logic)
        state = self._state
        if finished.nodes is not None:
            node = self._parameterNode or self.logic.getParameterNode()  # another module may be shown now
            if finished.nodes.real is not None and node.layout == "overlay":
                node.layout = "side by side"
            self._shownResult = None  # the same result may have got a comparison
            node.result = slicer.mrmlScene.GetNodeByID(finished.nodes.pet)
            self.onParametersModified()
            self.ui.displayButton.collapsed = False
            self.ui.readoutsButton.collapsed = finished.nodes.real is None
        self._state = state  # it says more than the result
        self.lights.add(finished.checks)
        if finished.state == "failed":  # shown later: a run may fail while it is being started
            message = self._state.message
            qt.QTimer.singleShot(0, lambda: self.showFailure(message))
        self.updateGUI()

    def showFailure(self, message: str) -> None:
        slicer.util.errorDisplay(message, detailedText=self.ui.logText.plainText)

    def onParametersModified(self, _caller=None, _event=None) -> None:
        node = self._parameterNode
        if node is None:
            return
        self._followT1(node)
        self.inputs.showUnit(node.pet)
        content = None  # the other task shows its own
        if node.task != SUVR_TASK:
            content = (node.result.GetID() if node.result else None, node.layout, node.plane)
        if content != self._shownResult:
            self._shownResult = content
            if content is None:
                self.display.endSwipe()
            else:
                self.suvr.leaveViews(node.t1)
                self.display.showResult(*content)
                self.readouts.showResult(content[0])
        if not self._state.is_busy and self.lights.show(
            *self.logic.inputs(node), self.inputs.tracer, node.result
        ):
            # What it said was about the former inputs, or about another result.
            resultId = node.result.GetID() if node.result else None
            self._state = RunState(message=verdict_in_words(slicer.mrmlScene, resultId))
        self.updateGUI()

    def _followT1(self, node: MRI2PETSynthesisParameterNode) -> None:
        """What was chosen for the former T1 is another person's now."""
        former, self._t1Id = self._t1Id, node.t1.GetID() if node.t1 else None
        if self._t1Id == former:
            return
        if former and not slicer.mrmlScene.IsImporting():  # a scene brings T1 and mask one after the other
            self.logic.leaveT1(node)
        if self.logic.otherT1(node.output, node.t1):
            node.output = None

    # -- what the window shows -----------------------------------------------------------------------------

    def updateGUI(self) -> None:
        """Everything follows from the state of the run and from what is missing."""
        if self._parameterNode is None:
            return
        node, notReady = self._parameterNode, self.setupPanel.missingMessage()
        missing = notReady or self.logic.missing(node) or self.lights.refusal()
        window = window_state(self._state, missing)
        apply, compare = self.ui.applyButton, self.ui.compareButton
        apply.text = _("Cancel") if self._state.is_busy else _("Apply")
        apply.enabled = window.may_start or window.may_cancel
        apply.toolTip = missing or (
            _("End the run; the scene stays as it is.")
            if self._state.is_busy
            else _("Make the synthetic PET, and compare it with the real PET.")
            if node.pet is not None
            else _("Make the synthetic PET.")
        )
        why = notReady or self.logic.missing(node, compareOnly=True) or self.lights.refusal()
        compare.enabled = not (why or self._state.is_busy)
        compare.toolTip = why or _("Compare the result with the real PET, without synthesising again.")
        self.ui.outputSelector.enabled = window.inputs_enabled
        for widget in (self.ui.inputsButton, self.ui.advancedButton, self.ui.setupButton):
            for child in widget.children():
                if hasattr(child, "enabled"):
                    child.enabled = window.inputs_enabled and not self.suvr.isBusy
        self.ui.petUnitComboBox.enabled = window.inputs_enabled and node.pet is not None
        self.ui.checkButton.enabled = not (notReady or self.logic.missing(node) or self._state.is_busy)
        self.display.nameLayout()
        self.suvr.update(self._parameterNode, notReady, self._state.is_busy)
        otherIsBusy = self._state.is_busy or self.suvr.isBusy
        self.norm.update(self._parameterNode, notReady, otherIsBusy or self.cohort.isBusy)
        self.cohort.update(notReady, otherIsBusy or self.norm.isBusy)
        for name in _SYNTHESIS_WIDGETS:
            getattr(self.ui, name).visible = not self.suvr.isChosen
        showProgress(self.ui.progressBar, window)
        self.ui.progressBar.visible = window.bar_visible and not self.suvr.isChosen
        self.ui.statusLabel.text = window.status
        self.ui.statusLabel.visible = bool(window.status) and not self.suvr.isChosen


class MRI2PETSynthesisTest(ScriptedLoadableModuleTest):
    """The main job on a simulated person; needs neither network nor GPU."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_phantom()
        self.setUp()
        self.test_cancel()

    def test_phantom(self) -> None:
        """T1 and PET of a phantom: result, comparison, tables, and the geometry of the T1."""
        t1, pet = self._phantom()
        logic = MRI2PETSynthesisLogic()
        nodes = logic.synthesize(t1, petNode=pet, device="cpu")
        synthetic = slicer.mrmlScene.GetNodeByID(nodes.pet)
        self.assertEqual(synthetic.GetImageData().GetDimensions(), t1.GetImageData().GetDimensions())
        self.assertIn("not a measurement", synthetic.GetDescription())
        regions = slicer.mrmlScene.GetNodeByID(nodes.regions)
        self.assertGreater(regions.GetNumberOfRows(), 10)
        self.assertIsNotNone(nodes.report)
        self.delayDisplay("Synthesis and comparison passed")

    def test_cancel(self) -> None:
        """A cancelled run leaves the scene as it was."""
        t1, _pet = self._phantom()
        before = slicer.mrmlScene.GetNumberOfNodes()
        finished = []
        run = MRI2PETSynthesisLogic().synthesize(t1, onFinished=finished.append, device="cpu")
        run.cancel()
        run.wait()
        self.assertEqual([f.state for f in finished], ["cancelled"])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.delayDisplay("Cancel passed")

    def _phantom(self):
        from MRI2PETSynthesisUI.sample_data import loadPhantom

        return loadPhantom()
