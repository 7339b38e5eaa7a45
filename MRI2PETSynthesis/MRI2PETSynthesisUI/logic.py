"""What the module MRI2PETSynthesis does and remembers, without its window: parameter node and logic."""

from typing import Annotated, Union

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MRI2PETLib.jobs import child_python
from MRI2PETLib.scene_run import Request, SceneRun

_PUMP_MS = 50
# Slicer 5.10 knows typing.Union only.
LabelsNode = Union[slicer.vtkMRMLLabelMapVolumeNode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007
RegionNode = Union[slicer.vtkMRMLMarkupsROINode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007


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
    device: str = "auto"
    precision: Annotated[str, Choice(["fp32", "bf16"])] = "fp32"
    samples: Annotated[int, WithinRange(1, 100), Default(1)]
    seed: Annotated[int, WithinRange(0, 2147483647), Default(0)]


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
        t1OfResult = node.result.GetNodeReference("MRI2PET.t1") if compareOnly else None
        if t1OfResult is not None and t1OfResult.GetID() != node.t1.GetID():
            return _("The result is of another T1: {name}.").format(name=t1OfResult.GetName())
        return ""

    @staticmethod
    def quickChecks(node: MRI2PETSynthesisParameterNode):
        """Checks that need no brain extraction, for the traffic light."""
        from MRI2PETLib.scene_checks import checks_of_nodes

        unit = None if node.realUnit == "as stated" else node.realUnit
        return checks_of_nodes(node.t1, node.realPet, unit)
