"""Synthetic PET from a T1-weighted MRI, shown over the T1 and compared with the real PET.

Glue only: panels are in MRI2PETSynthesisUI, everything of value in MRI2PETLib.
"""

from typing import Annotated, Union

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

from MRI2PETLib.jobs import child_python
from MRI2PETLib.run_state import RunState, shown
from MRI2PETLib.scene_run import Finished, Request, SceneRun

_PUMP_MS = 50
# Slicer 5.10 knows typing.Union only.
LabelsNode = Union[slicer.vtkMRMLLabelMapVolumeNode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007
RegionNode = Union[slicer.vtkMRMLMarkupsROINode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007


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
            "measurement. Research use only, not for clinical use."
        )
        parent.acknowledgementText = _(
            "The network and its readouts follow Ferrante et al. 2025 (T1 to TSPO PET). Template: ICBM 152 "
            "2009a, Fonov et al. 2011. Cite these works and SlicerMRI2PET (CITATION.cff)."
        )
        slicer.app.connect("startupCompleted()", _registerSampleData)


def _registerSampleData() -> None:
    from MRI2PETSynthesisUI.sample_data import registerSampleData

    registerSampleData()


@parameterNodeWrapper
class MRI2PETSynthesisParameterNode:
    """What the user chose for this scene; saved with it. ``result``: the synthetic PET that is shown."""

    t1: slicer.vtkMRMLScalarVolumeNode
    realPet: slicer.vtkMRMLScalarVolumeNode
    realUnit: Annotated[str, Choice(["as stated", "SUV", "SUVR", "Bq/mL", "normalised"])] = "as stated"
    mask: LabelsNode
    atlas: LabelsNode
    atlasInMni: bool = False
    model: str = "tspo-demo"
    result: slicer.vtkMRMLScalarVolumeNode
    layout: Annotated[str, Choice(["overlay", "compare", "readouts"])] = "overlay"
    opacity: Annotated[float, WithinRange(0, 1), Default(0.5)]
    roi: RegionNode
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3", "mps"])] = (
        "auto"
    )
    precision: Annotated[str, Choice(["fp32", "bf16"])] = "fp32"
    samples: Annotated[int, WithinRange(1, 100), Default(1)]
    seed: Annotated[int, WithinRange(0, 2147483647), Default(0)]


class MRI2PETSynthesisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.run = None
        self._parameterNode = None
        self._guiTag = None
        self._state = RunState()
        self._shownResult = None

    def setup(self) -> None:
        from MRI2PETSynthesisUI.display_panel import DisplayPanel
        from MRI2PETSynthesisUI.inputs_panel import InputsPanel
        from MRI2PETSynthesisUI.readout_panel import ReadoutPanel
        from MRI2PETSynthesisUI.setup_panel import SetupPanel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MRI2PETSynthesis.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = MRI2PETSynthesisLogic()
        self.inputs = InputsPanel(self.ui, self.onModelChanged)
        self.display = DisplayPanel(self.ui)
        self.readouts = ReadoutPanel(self.ui)
        self.setupPanel = SetupPanel(self.ui.setupButton.layout(), onChanged=self.updateGUI)
        self.ui.resultSelector.addAttribute("vtkMRMLScalarVolumeNode", "MRI2PET.Result")
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
        self.logic.cleanup()
        self.setupPanel.cleanup()
        self.readouts.watchCrosshair(False)
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()
        self.inputs.refreshModels()
        self.readouts.watchCrosshair(True)

    def exit(self) -> None:
        self.readouts.watchCrosshair(False)
        self.setParameterNode(None)

    def onSceneStartClose(self, _caller, _event) -> None:
        self.display.endSwipe()
        self.readouts.watchCrosshair(False)
        self.setParameterNode(None)

    def onSceneEndClose(self, _caller, _event) -> None:
        if self.parent.isEntered:
            self.enter()

    def initializeParameterNode(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.t1 is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            measured = [v for v in volumes if v.GetAttribute("MRI2PET.Unit") is None]
            if measured:
                self._parameterNode.t1 = measured[0]

    def setParameterNode(self, node: MRI2PETSynthesisParameterNode | None) -> None:
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(
                self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            event = vtk.vtkCommand.ModifiedEvent
            self.addObserver(node.parameterNode, event, self.onParametersModified)
            self.inputs.setModel(node.model)
            self.onParametersModified()

    # -- what the user does --------------------------------------------------------------------------------

    def onModelChanged(self, model: str) -> None:
        self._parameterNode.model = model

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

    def _start(self, request: Request) -> None:
        self.ui.logText.clear()
        with slicer.util.tryWithErrorDisplay(_("The run could not be started."), waitCursor=True):
            self.run = self.logic.start(
                request,
                onState=self.onState,
                onLog=self.ui.logText.appendPlainText,
                onFinished=self.onFinished,
            )

    def onState(self, state: RunState) -> None:
        self._state = state
        self.updateGUI()

    def onFinished(self, finished: Finished) -> None:
        if finished.checks:
            self.inputs.showChecks(finished.checks)
        if finished.nodes is not None and self._parameterNode is not None:
            if finished.nodes.real is not None and self._parameterNode.layout == "overlay":
                self._parameterNode.layout = "compare"
            self._shownResult = None  # the same result may have got a comparison
            self._parameterNode.result = slicer.mrmlScene.GetNodeByID(finished.nodes.pet)
            self.onParametersModified()
            self.ui.displayButton.collapsed = False
            self.ui.readoutsButton.collapsed = finished.nodes.real is None
        if finished.state == "failed" and self.run is not None:
            slicer.util.errorDisplay(self._state.message, detailedText=self.ui.logText.plainText)

    def onParametersModified(self, _caller=None, _event=None) -> None:
        node = self._parameterNode
        if node is None:
            return
        result = (node.result.GetID() if node.result else None, node.layout)
        if result != self._shownResult:
            self._shownResult = result
            self.display.showResult(*result)
            self.readouts.showResult(result[0])
        if not self._state.is_busy:
            self.inputs.showChecks(self.logic.quickChecks(node))
        self.updateGUI()

    # -- what the window shows -----------------------------------------------------------------------------

    def updateGUI(self) -> None:
        """Everything follows from the state of the run and from what is missing."""
        if self._parameterNode is None:
            return
        missing = self.setupPanel.missingMessage() or self.logic.missing(self._parameterNode)
        window = shown(self._state, missing)
        apply, compare = self.ui.applyButton, self.ui.compareButton
        apply.text = _("Cancel") if self._state.is_busy else _("Apply")
        apply.enabled = window.may_start or window.may_cancel
        apply.toolTip = missing or (
            _("End the run; the scene stays as it is.")
            if self._state.is_busy
            else _("Make the synthetic PET.")
        )
        why = missing or self.logic.missing(self._parameterNode, compareOnly=True)
        compare.enabled = window.may_start and not why
        compare.toolTip = why or _("Compare the result with the real PET, without synthesising again.")
        self.ui.checkButton.enabled = window.may_start
        for widget in (self.ui.inputsButton, self.ui.advancedButton, self.ui.setupButton):
            for child in slicer.util.findChildren(widget, className="QWidget"):
                if child.parent() is widget:
                    child.enabled = window.inputs_enabled
        self.ui.checkButton.enabled = window.may_start
        self.ui.progressBar.visible = window.bar_visible
        self.ui.progressBar.maximum = 0 if window.percent is None else 100
        self.ui.progressBar.value = window.percent or 0
        self.ui.statusLabel.text = window.status


class MRI2PETSynthesisLogic(ScriptedLoadableModuleLogic):
    """Runs the library on nodes. Works without the widget:

    >>> logic = slicer.util.getModuleLogic("MRI2PETSynthesis")  # doctest: +SKIP
    >>> nodes = logic.synthesize(t1Node, realNode=petNode)  # doctest: +SKIP
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runs = []
        self._timer = None

    def getParameterNode(self) -> MRI2PETSynthesisParameterNode:
        return MRI2PETSynthesisParameterNode(super().getParameterNode())

    def synthesize(
        self, t1Node, *, realNode=None, maskNode=None, atlasNode=None, onFinished=None, **settings
    ):
        """Make a synthetic PET, and compare it when there is a real one.

        :param settings: further fields of :class:`MRI2PETLib.scene_run.Request`, such as ``device="cpu"``.
        :param onFinished: called with a :class:`MRI2PETLib.scene_run.Finished` when all is done; then this
            returns the run at once. Without it this waits.
        :return: IDs of the result's nodes (:class:`MRI2PETLib.scene.ResultNodes`), or the run.
        :raises MRI2PETError: (when waiting) why there is no result.
        """
        ids = {"real": realNode, "mask": maskNode, "atlas": atlasNode}
        given = {name: node.GetID() for name, node in ids.items() if node is not None}
        request = Request(t1Node.GetID(), **given, **settings)
        if onFinished is not None:
            return self.start(request, onFinished=onFinished)
        finished = SceneRun(slicer.mrmlScene, request, python=child_python()).start().wait()
        if finished.error is not None:
            raise finished.error
        return finished.nodes

    def start(self, request: Request, onState=None, onLog=None, onFinished=None) -> SceneRun:
        """Start a run and return at once; a timer of the main thread delivers what it tells."""
        callbacks = {"on_state": onState, "on_log": onLog, "on_finished": onFinished}
        given = {name: call for name, call in callbacks.items() if call is not None}
        run = SceneRun(slicer.mrmlScene, request, python=child_python(), **given)
        self._runs.append(run)
        if self._timer is None:
            self._timer = qt.QTimer()
            self._timer.setInterval(_PUMP_MS)
            self._timer.connect("timeout()", self.pump)
        run.start()
        self._timer.start()
        return run

    def pump(self) -> None:
        for run in list(self._runs):
            if not run.pump():
                self._runs.remove(run)
        if not self._runs and self._timer is not None:
            self._timer.stop()

    def cleanup(self) -> None:
        """End all runs now."""
        for run in self._runs:
            run.abandon()
        self._runs.clear()
        if self._timer is not None:
            self._timer.stop()

    @staticmethod
    def request(node: MRI2PETSynthesisParameterNode, compareOnly=False, checkOnly=False) -> Request:
        """What the parameter node asks for."""

        def nodeId(chosen):
            return chosen.GetID() if chosen is not None else None

        return Request(
            t1=nodeId(node.t1),
            model=node.model,
            mask=nodeId(node.mask),
            real=nodeId(node.realPet),
            real_unit=None if node.realUnit == "as stated" else node.realUnit,
            atlas=nodeId(node.atlas),
            atlas_space="mni" if node.atlasInMni else "native",
            device=node.device,
            precision=node.precision,
            samples=node.samples,
            seed=node.seed,
            synthetic=nodeId(node.result) if compareOnly else None,
            check_only=checkOnly,
        )

    @staticmethod
    def missing(node: MRI2PETSynthesisParameterNode, compareOnly=False) -> str:
        """Why nothing can be started, empty when it can."""
        if node.t1 is None:
            return _("Choose a T1.")
        if compareOnly and node.result is None:
            return _("There is no synthetic PET yet.")
        if compareOnly and node.realPet is None:
            return _("Choose a real PET to compare with.")
        if node.realPet is not None and node.realPet.GetID() == node.t1.GetID():
            return _("T1 and PET are the same volume.")
        return ""

    @staticmethod
    def quickChecks(node: MRI2PETSynthesisParameterNode):
        """Checks that need no brain extraction, for the traffic light."""
        from MRI2PETLib.scene_checks import checks_of_nodes

        unit = None if node.realUnit == "as stated" else node.realUnit
        return checks_of_nodes(node.t1, node.realPet, unit)


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
        nodes = logic.synthesize(t1, realNode=pet, device="cpu")
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
