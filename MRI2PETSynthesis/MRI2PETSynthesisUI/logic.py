"""What the module MRI2PETSynthesis does and remembers, without its window: parameter node and logic."""

from pathlib import Path
from typing import Annotated, Union

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.jobs.child_process import child_python
from MRI2PETLib.normative.settings import ScoreSettings
from MRI2PETLib.preprocessing.frame_window import parse_window
from MRI2PETLib.scene.cohort import CohortRequest, CohortRun
from MRI2PETLib.scene.files import chosen_unit
from MRI2PETLib.scene.inputs import stop_of_pet
from MRI2PETLib.scene.layout import ALL_PLANES, SLICE_PLANES
from MRI2PETLib.scene.norm import (
    NormBuild,
    NormBuildRequest,
    NormRequest,
    NormRun,
    covariates_of,
)
from MRI2PETLib.scene.parameters import settings_of_node
from MRI2PETLib.scene.run import SceneRun, SynthesisRequest
from MRI2PETLib.scene.suvr import DEFAULT_REFERENCE, SuvrRequest, SuvrRun
from MRI2PETLib.suvr.settings import SuvrSettings
from MRI2PETLib.synthesis.settings import SynthesisSettings
from MRI2PETLib.templates import CORTICAL_SPHERES

_PUMP_MS = 50
SUVR_TASK = "PET to MR and SUVR"
_OTHER_OUTPUT = _("The output is the result of another T1, {name}: choose a new one, or one of this T1.")
_DEFAULTS = SynthesisSettings()
# Slicer 5.10 knows typing.Union only.
LabelsNode = Union[slicer.vtkMRMLLabelMapVolumeNode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007
RegionNode = Union[slicer.vtkMRMLMarkupsROINode, slicer.vtkMRMLSegmentationNode, None]  # noqa: UP007


@parameterNodeWrapper
class MRI2PETSynthesisParameterNode:
    """What the user chose for this scene; saved with it.

    ``output``: the synthetic PET that is overwritten; ``result``: the one that is shown; ``suvrResult``: the
    table of regions that is shown.
    """

    task: Annotated[str, Choice(["T1 to PET", SUVR_TASK])] = "T1 to PET"
    t1: slicer.vtkMRMLScalarVolumeNode
    pet: slicer.vtkMRMLScalarVolumeNode
    window: str = ""
    mask: LabelsNode
    atlas: LabelsNode
    atlasInMni: bool = False
    model: str = _DEFAULTS.model
    output: slicer.vtkMRMLScalarVolumeNode
    result: slicer.vtkMRMLScalarVolumeNode
    layout: Annotated[str, Choice(["overlay", "side by side", "readouts"])] = "overlay"
    plane: Annotated[str, Choice([*SLICE_PLANES, ALL_PLANES])] = "axial"
    opacity: Annotated[float, WithinRange(0, 1), Default(0.5)]
    roi: RegionNode
    device: str = _DEFAULTS.device
    precision: Annotated[str, Choice([*SynthesisSettings.choices("precision")])] = _DEFAULTS.precision
    samples: Annotated[int, WithinRange(1, 100), Default(_DEFAULTS.samples)]
    steps: Annotated[int, WithinRange(0, 1000), Default(_DEFAULTS.steps)]
    seed: Annotated[int, WithinRange(0, 2147483647), Default(_DEFAULTS.seed)]
    suvrPet: slicer.vtkMRMLScalarVolumeNode
    suvrWindow: str = ""
    suvrT1: slicer.vtkMRMLScalarVolumeNode
    suvrModel: str = ""
    suvrAtlas: LabelsNode
    suvrReference: str = DEFAULT_REFERENCE
    suvrComposite: str = ""
    suvrGreyMatter: bool = False
    suvrTemplate: slicer.vtkMRMLScalarVolumeNode
    suvrResult: slicer.vtkMRMLTableNode


class MRI2PETSynthesisLogic(ScriptedLoadableModuleLogic):
    """Runs the library on nodes. Works without the widget:

    >>> logic = slicer.util.getModuleLogic("MRI2PETSynthesis")  # doctest: +SKIP
    >>> nodes = logic.synthesize(t1Node, petNode=petNode)  # doctest: +SKIP
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runs = []
        self._timer = None
        self.courses = {}  # what the steps of earlier runs took, for the time left

    def getParameterNode(self) -> MRI2PETSynthesisParameterNode:
        return MRI2PETSynthesisParameterNode(super().getParameterNode())

    def synthesize(
        self,
        t1Node,
        *,
        petNode=None,
        petUnit=None,
        window=None,
        maskNode=None,
        atlasNode=None,
        atlasSpace="native",
        outputNode=None,
        onFinished=None,
        **settings,
    ):
        """Make a synthetic PET, and compare it when there is a real one.

        :param petUnit: unit of the real PET; overrides what its node states.
        :param window: start and end in min after the injection, as for ``--window``.
        :param outputNode: an earlier synthetic PET to overwrite; default: new nodes.
        :param settings: fields of :class:`MRI2PETLib.synthesis.settings.SynthesisSettings`, such as
            ``device="cpu"``.
        :param onFinished: called with a :class:`MRI2PETLib.scene.job.RunEnd` when all is done; then this
            returns the run at once. Without it this waits.
        :return: IDs of the result's nodes (:class:`MRI2PETLib.scene.results.ResultNodes`), or the run.
        :raises MRI2PETError: (when waiting) why there is no result.
        """
        request = SynthesisRequest(
            t1Node.GetID(),
            SynthesisSettings(**settings),
            mask=_nodeId(maskNode),
            pet=_nodeId(petNode),
            pet_unit=petUnit,
            window=window,
            atlas=_nodeId(atlasNode),
            atlas_space=atlasSpace,
            output=_nodeId(outputNode),
        )
        return self._startOrWait(request, onFinished)

    def measureSuvr(
        self,
        petNode,
        *,
        petUnit=None,
        window=None,
        t1Node=None,
        maskNode=None,
        atlasNode=None,
        templateNode=None,
        onFinished=None,
        **settings,
    ):
        """Measure SUVR by region: by the T1 and by a synthetic MR, if there is a T1 or a model, and by a PET
        template.

        :param window: start and end in min after the injection, as for ``--window``.
        :param atlasNode: label map or segmentation in MNI space; default: the built-in spheres.
        :param templateNode: mean PET of the same tracer in MNI space; default: the built-in pattern that
            fits best.
        :param settings: fields of :class:`MRI2PETLib.suvr.settings.SuvrSettings`, such as
            ``model="my-pet-to-mr"`` or ``reference="*cerebellum*"``.
        :param onFinished: as for :meth:`synthesize`.
        :return: IDs of the result's nodes (:class:`MRI2PETLib.scene.suvr.SuvrNodes`), or the run.
        :raises MRI2PETError: (when waiting) why there is no result.
        """
        request = SuvrRequest(
            petNode.GetID(),
            SuvrSettings(**{"atlas": CORTICAL_SPHERES, "reference": DEFAULT_REFERENCE, **settings}),
            t1=_nodeId(t1Node),
            mask=_nodeId(maskNode),
            atlas=_nodeId(atlasNode),
            template=_nodeId(templateNode),
            pet_unit=petUnit,
            window=window,
        )
        return self._startOrWait(request, onFinished)

    def _startOrWait(self, request, onFinished):
        if onFinished is not None:
            return self.start(request, onFinished=onFinished)
        finished = self._run(request).start().wait()
        if finished.error is not None:
            raise finished.error
        return finished.nodes

    def _run(self, request, **callbacks) -> SceneRun | SuvrRun | CohortRun | NormRun:
        kinds = {
            SuvrRequest: SuvrRun,
            CohortRequest: CohortRun,
            NormRequest: NormRun,
            NormBuildRequest: NormBuild,
        }
        return kinds.get(type(request), SceneRun)(
            slicer.mrmlScene, request, python=child_python(), courses=self.courses, **callbacks
        )

    def start(
        self,
        request: SynthesisRequest | SuvrRequest | CohortRequest | NormRequest,
        onState=None,
        onLog=None,
        onFinished=None,
    ) -> SceneRun | SuvrRun | CohortRun | NormRun:
        """Start a run and return at once; a timer of the main thread delivers what it tells."""
        callbacks = {"on_state": onState, "on_log": onLog, "on_finished": onFinished}
        listeners = {name: call for name, call in callbacks.items() if call is not None}
        run = self._run(request, **listeners)
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
    def request(node: MRI2PETSynthesisParameterNode, compareOnly=False, checkOnly=False) -> SynthesisRequest:
        """What the parameter node asks for."""
        return SynthesisRequest(
            t1=_nodeId(node.t1),
            settings=settings_of_node(SynthesisSettings, node),
            mask=_nodeId(node.mask),
            pet=_nodeId(node.pet),
            pet_unit=chosen_unit(node.pet),
            window=parse_window(node.window),
            atlas=_nodeId(node.atlas),
            atlas_space="mni" if node.atlasInMni else "native",
            synthetic=_nodeId(node.result) if compareOnly else None,
            output=_nodeId(node.output),
            check_only=checkOnly,
        )

    @staticmethod
    def missing(node: MRI2PETSynthesisParameterNode, compareOnly=False) -> str:
        """Why nothing can be started, empty when it can."""
        if node.t1 is None:
            return _("Choose a T1.")
        if compareOnly and node.result is None:
            return _("There is no synthetic PET yet.")
        if compareOnly and node.pet is None:
            return _("Choose a real PET to compare with.")
        other = MRI2PETSynthesisLogic.otherT1(node.result if compareOnly else node.output, node.t1)
        if other:
            what = _("The result is of another T1: {name}.") if compareOnly else _OTHER_OUTPUT
            return what.format(name=other)
        stop = stop_of_pet(node.t1, node.pet)
        if stop is not None:
            return stop.message
        return _wrongWindow(node.window)

    @staticmethod
    def otherT1(result, t1) -> str:
        """Name of the T1 that a result is of, if that is another one; else empty."""
        own = None if result is None else result.GetNodeReference("MRI2PET.t1")
        return "" if own is None or t1 is None or own.GetID() == t1.GetID() else own.GetName()

    @staticmethod
    def leaveT1(node: MRI2PETSynthesisParameterNode) -> None:
        """Let go the brain mask and the atlas that were chosen for a T1; an atlas in MNI space is of all."""
        node.mask = None
        if not node.atlasInMni:
            node.atlas = None

    @staticmethod
    def keepImages(node: MRI2PETSynthesisParameterNode) -> None:
        """Where the task has just changed, and has neither PET nor result: PET and T1 of the other one."""
        if node.task == SUVR_TASK and node.suvrPet is None and node.pet is not None:
            node.suvrT1, node.suvrPet = node.t1, node.pet
        elif node.task != SUVR_TASK and not (node.pet or node.result) and node.suvrT1 is not None:
            node.t1, node.pet = node.suvrT1, node.suvrPet

    @staticmethod
    def suvrRequest(node: MRI2PETSynthesisParameterNode) -> SuvrRequest:
        """What the parameter node asks to measure."""
        return SuvrRequest(
            pet=_nodeId(node.suvrPet),
            settings=settings_of_node(SuvrSettings, node, "suvr", atlas=CORTICAL_SPHERES),
            t1=_nodeId(node.suvrT1),
            atlas=_nodeId(node.suvrAtlas),
            template=_nodeId(node.suvrTemplate),
            pet_unit=chosen_unit(node.suvrPet),
            window=parse_window(node.suvrWindow),
        )

    @staticmethod
    def missingForSuvr(node: MRI2PETSynthesisParameterNode) -> str:
        """Why nothing can be measured, empty when it can."""
        if node.suvrPet is None:
            return _("Choose a PET.")
        if not node.suvrReference.strip():
            return _("Name a reference region.")
        if node.suvrT1 is not None and node.suvrT1.GetID() == node.suvrPet.GetID():
            return _("T1 and PET are the same volume.")
        return _wrongWindow(node.suvrWindow)

    @staticmethod
    def normRequest(node: MRI2PETSynthesisParameterNode, norm, covariates: str = "") -> NormRequest:
        """What the parameter node asks to compare with the norm in a folder.

        :param covariates: such as ``age=67, sex=F``.
        """
        window = parse_window(node.window)
        settings = ScoreSettings(covariate=covariates_of(covariates), device=node.device, window=window)
        unit = chosen_unit(node.pet)
        return NormRequest(
            _nodeId(node.t1), _nodeId(node.pet), norm, settings, mask=_nodeId(node.mask), pet_unit=unit
        )

    def compareWithNorm(
        self, t1Node, petNode, norm, *, petUnit=None, maskNode=None, onFinished=None, **settings
    ):
        """Compare a real PET with the norm in a folder.

        :param settings: fields of :class:`MRI2PETLib.normative.settings.ScoreSettings`, such as
            ``covariate=("age=67",)``.
        :param onFinished: as for :meth:`synthesize`.
        :return: IDs of the result's nodes (:class:`MRI2PETLib.scene.norm.NormNodes`), or the run.
        :raises MRI2PETError: (when waiting) why there is no result.
        """
        own = ScoreSettings(**settings)
        mask = _nodeId(maskNode)
        request = NormRequest(t1Node.GetID(), petNode.GetID(), Path(norm), own, mask, petUnit)
        return self._startOrWait(request, onFinished)

    @staticmethod
    def inputs(node: MRI2PETSynthesisParameterNode) -> tuple:
        """T1, brain mask, PET and the unit of the PET, ``None`` where it is the stated one."""
        return node.t1, node.mask, node.pet, chosen_unit(node.pet)


def _wrongWindow(text):
    """Why a text is no window of frames, empty where it is one."""
    try:
        parse_window(text)
    except InputError as error:
        return f"{error.message} {error.hint}"
    return ""


def _nodeId(node):
    return node.GetID() if node is not None else None
