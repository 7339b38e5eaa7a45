"""The task *PET to MR and SUVR*: its inputs, its run, its tables and plots; and the choice of the task."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.jobs.run_state import window_state
from MRI2PETLib.models.store import find_bundle, list_bundles
from MRI2PETLib.scene.fit import corners_ras
from MRI2PETLib.scene.layout import SLICE_PLANES, show_table_and_plot
from MRI2PETLib.scene.suvr import hide_suvr, labels_of, plots_of, show_suvr, suvr_nodes, suvr_summary
from MRI2PETLib.scene.tables import report_html
from MRI2PETSynthesisUI.display_panel import fitViews
from MRI2PETSynthesisUI.exports import copyTable, openReport, saveReport, saveTable
from MRI2PETSynthesisUI.logic import SUVR_TASK
from MRI2PETSynthesisUI.running import RunningPanel, chooseModelFolder, showProgress

_TABLES = ("regions", "methods")


class SuvrPanel(RunningPanel):
    """Measures and shows SUVR. Its widgets are in ``ui`` of the window, too, which binds the parameters."""

    def __init__(self, parentLayout, logic, onChanged) -> None:
        super().__init__(logic, onChanged)
        path = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "SuvrPanel.ui"
        self.widget = slicer.util.loadUI(str(path))
        parentLayout.insertWidget(0, self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._ui = ui = slicer.util.childWidgetVariables(self.widget)
        self._node = None
        self._result = None
        self._inputs = (
            ui.suvrPetSelector,
            ui.suvrT1Selector,
            ui.suvrModelComboBox,
            ui.suvrModelBrowseButton,
            ui.suvrAtlasSelector,
            ui.suvrReferenceEdit,
            ui.suvrCompositeEdit,
            ui.suvrGreyMatterCheckBox,
            ui.suvrTemplateSelector,
        )
        ui.suvrResultSelector.addAttribute("vtkMRMLTableNode", "MRI2PET.Suvr")
        ui.suvrModelComboBox.connect("activated(int)", self._onModel)
        ui.suvrModelBrowseButton.connect("clicked()", self._onBrowse)
        ui.measureButton.connect("clicked()", self._onMeasure)
        ui.suvrTableComboBox.connect("currentIndexChanged(int)", self._showTable)
        ui.suvrPlotComboBox.connect("currentIndexChanged(int)", self._showTable)
        ui.suvrCopyButton.connect("clicked()", lambda: copyTable(self._table()))
        ui.suvrCsvButton.connect("clicked()", lambda: saveTable(self._table()))
        ui.suvrReportButton.connect("clicked()", lambda: openReport(self._report()))
        ui.suvrSaveReportButton.connect("clicked()", lambda: saveReport(self._report()))

    @property
    def isChosen(self) -> bool:
        """Whether this is the task."""
        return self._node is not None and self._node.task == SUVR_TASK

    def update(self, node, notReady: str, otherIsBusy: bool) -> None:
        """Show the state of everything.

        :param node: the parameter node; ``notReady``: why nothing can run, from the set-up.
        """
        isNew, self._node = node is not self._node, node
        if isNew:
            self._fillModels(node.suvrModel)
        nodes = (node.suvrPet, node.suvrT1, node.suvrAtlas, node.suvrTemplate)
        settings = (node.suvrWindow, node.suvrModel, node.suvrReference, node.suvrComposite)
        self._onInputs(*(n.GetID() if n is not None else None for n in nodes), *settings)
        ui, missing = self._ui, notReady or self._logic.missingForSuvr(node)
        window = window_state(self._state, missing)
        ui.suvrBox.visible = self.isChosen
        ui.taskComboBox.enabled = not (self._state.is_busy or otherIsBusy)
        ui.measureButton.text = _("Cancel") if self._state.is_busy else _("Measure SUVR")
        ui.measureButton.enabled = window.may_start or window.may_cancel
        ui.measureButton.toolTip = missing or _("By each of T1, model and PET template that is chosen.")
        for widget in self._inputs:
            widget.enabled = window.inputs_enabled
        showProgress(ui.suvrProgressBar, window)
        ui.suvrStatusLabel.text = window.status
        result = node.suvrResult.GetID() if node.suvrResult and self.isChosen else None
        if result != self._result:
            self._result = result
            self._showResult()

    # -- what the user does --------------------------------------------------------------------------------

    def _onMeasure(self) -> None:
        """Measure, or Cancel while it runs."""
        self._startOrCancel(
            lambda: self._logic.suvrRequest(self._node), _("The measurement could not be started.")
        )

    def _onFinished(self, finished) -> None:
        if finished.nodes is not None:
            node = self._logic.getParameterNode()  # another module may be shown now
            node.suvrResult = slicer.mrmlScene.GetNodeByID(finished.nodes.regions)
            self._ui.suvrResultsButton.collapsed = False
            self._onChanged()
        super()._onFinished(finished)

    def _onModel(self, _index) -> None:
        combo = self._ui.suvrModelComboBox
        self._node.suvrModel = str(combo.itemData(combo.currentIndex) or "")

    def _onBrowse(self) -> None:
        from MRI2PETLib.suvr.normalisation import check_pet_to_mr

        folder = chooseModelFolder(lambda path: check_pet_to_mr(find_bundle(path)))
        if folder:
            self._node.suvrModel = folder
            self._fillModels(folder)

    # -- what is shown -------------------------------------------------------------------------------------

    def _fillModels(self, current: str) -> None:
        """List the models from PET to MR; one that is not among them is added."""
        models = {"": _("none: without a synthetic MR")}
        for bundle in list_bundles()[0]:
            if bundle.space.source_modality == "PET":
                models[bundle.id] = bundle.metadata["name"]
        models.setdefault(current, current)
        combo = self._ui.suvrModelComboBox
        combo.clear()
        for model, name in models.items():
            combo.addItem(name, model)
        combo.setCurrentIndex(list(models).index(current))

    def _nodes(self):
        return suvr_nodes(slicer.mrmlScene, self._result)

    def _showResult(self) -> None:
        nodes = self._nodes()
        self._ui.suvrSummaryLabel.text = "" if nodes is None else suvr_summary(slicer.mrmlScene, nodes)
        if nodes is not None:
            show_suvr(slicer.mrmlScene, nodes)
            corners = corners_ras(slicer.mrmlScene, labels_of(slicer.mrmlScene, nodes))
            qt.QTimer.singleShot(0, lambda: fitViews([view for _, view in SLICE_PLANES.values()], corners))
        plots = {} if nodes is None else plots_of(nodes)
        combo = self._ui.suvrPlotComboBox
        combo.clear()
        for method, chart in plots.items():
            combo.addItem(method, chart)
        combo.enabled = bool(plots)
        self._showTable()

    def leaveViews(self, t1) -> None:
        """Show a T1 (its node, or ``None``) where a measurement is shown."""
        nodes, self._result = self._nodes(), None
        if nodes is not None:
            hide_suvr(slicer.mrmlScene, nodes, t1.GetID() if t1 is not None else None)
            self._showResult()

    def _table(self):
        nodes = self._nodes()
        tableId = getattr(nodes, _TABLES[self._ui.suvrTableComboBox.currentIndex]) if nodes else None
        return slicer.mrmlScene.GetNodeByID(tableId) if tableId else None

    def _report(self) -> str:
        return report_html(slicer.mrmlScene, self._nodes())

    def _showTable(self, _index=0) -> None:
        ui, nodes, table = self._ui, self._nodes(), self._table()
        ui.suvrTable.setMRMLTableNode(table)
        if table is not None:
            ui.suvrTable.resizeColumnsToContents()
            chartId = ui.suvrPlotComboBox.itemData(ui.suvrPlotComboBox.currentIndex)
            show_table_and_plot(slicer.mrmlScene, table.GetID(), chartId)
        for button in (ui.suvrCopyButton, ui.suvrCsvButton):
            button.enabled = table is not None
        for button in (ui.suvrReportButton, ui.suvrSaveReportButton):
            button.enabled = nodes is not None and nodes.report is not None
