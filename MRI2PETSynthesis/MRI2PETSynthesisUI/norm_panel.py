"""The section *Norm*: compares the real PET with a norm of controls, and shows z over the T1."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.jobs.run_state import RunState, window_state
from MRI2PETLib.scene.layout import show_table_and_plot
from MRI2PETLib.scene.norm import jump_to_peak, missing_for_norm, norm_result, norm_summary, show_norm_result
from MRI2PETSynthesisUI.exports import openReport
from MRI2PETSynthesisUI.running import RunningPanel, showProgress

_SETTING = "MRI2PET/NormFolder"
_TABLES = ("regions", "clusters")


class NormPanel(RunningPanel):
    """Its widgets are those of ``Resources/UI/NormPanel.ui``; T1 and PET are those of *Inputs*."""

    def __init__(self, parentLayout, index, logic, onChanged) -> None:
        """
        :param index: where in the layout.
        """
        super().__init__(logic, onChanged)
        path = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "NormPanel.ui"
        self.widget = slicer.util.loadUI(str(path))
        parentLayout.insertWidget(index, self.widget)
        self._ui = ui = slicer.util.childWidgetVariables(self.widget)
        self._node, self._notReady, self._otherIsBusy = None, "", False
        ui.normPathEdit.setText(slicer.util.settingsValue(_SETTING, ""))
        ui.normPathEdit.connect("textChanged(QString)", self._onPath)
        ui.normBrowseButton.connect("clicked()", self._onBrowse)
        ui.normCompareButton.connect("clicked()", self._onCompare)
        ui.normMapComboBox.connect("currentIndexChanged(int)", self._show)
        ui.normTableComboBox.connect("currentIndexChanged(int)", self._show)
        ui.normPeakButton.connect("clicked()", lambda: jump_to_peak(slicer.mrmlScene, self._nodes()))
        ui.normReportButton.connect("clicked()", self._onReport)

    def update(self, node, notReady: str, otherIsBusy: bool) -> None:
        """Show the state of everything.

        :param node: the parameter node; ``notReady``: why nothing can run, from the set-up.
        """
        self._node, self._notReady, self._otherIsBusy = node, notReady, otherIsBusy
        self._onInputs(*(n.GetID() if n is not None else None for n in (node.t1, node.pet)), node.window)
        ui = self._ui
        missing = notReady or missing_for_norm(self._path(), node.t1, node.pet)
        window = window_state(self._state, missing)
        ui.normCompareButton.text = _("Cancel") if self._state.is_busy else _("Compare with norm")
        ui.normCompareButton.enabled = (window.may_start and not otherIsBusy) or window.may_cancel
        ui.normCompareButton.toolTip = missing or _("How far the real PET lies from what controls show.")
        for widget in (ui.normPathEdit, ui.normBrowseButton, ui.normCovariatesEdit):
            widget.enabled = window.inputs_enabled
        showProgress(ui.normProgressBar, window)
        nodes = self._nodes()
        self._fillTable(nodes)
        hasResult = nodes is not None and not self._state.is_busy
        for widget in (ui.normMapComboBox, ui.normTableComboBox, ui.normPeakButton, ui.normReportButton):
            widget.enabled = hasResult
            widget.toolTip = "" if hasResult else _("Nothing was compared yet.")
        summary = norm_summary(slicer.mrmlScene, nodes) if hasResult else ""
        ui.normStatusLabel.text = f"{window.status} {summary}".strip()

    def _path(self):
        text = str(self._ui.normPathEdit.text).strip()
        return Path(text) if text else None

    def _nodes(self):
        node = self._node
        return None if node is None else norm_result(slicer.mrmlScene, node.t1, node.pet)

    # -- what the user does --------------------------------------------------------------------------------

    def _onPath(self, _text="") -> None:
        self._state = self._state if self._state.is_busy else RunState()
        if self._node is not None:
            self.update(self._node, self._notReady, self._otherIsBusy)

    def _onBrowse(self) -> None:
        start = slicer.util.settingsValue(_SETTING, "")
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of a norm"), start)
        if folder:
            qt.QSettings().setValue(_SETTING, folder)
            self._ui.normPathEdit.setText(folder)

    def _onCompare(self) -> None:
        """Compare, or Cancel while it runs."""
        self._startOrCancel(
            lambda: self._logic.normRequest(self._node, self._path(), str(self._ui.normCovariatesEdit.text)),
            _("The comparison could not be started."),
        )

    def _onFinished(self, finished) -> None:
        super()._onFinished(finished)
        if finished.nodes is not None:
            self._show()
            jump_to_peak(slicer.mrmlScene, finished.nodes)
            self._onChanged()

    def _show(self, _index=0) -> None:
        nodes = self._nodes()
        if nodes is not None:
            self._node.layout = "overlay"
            conditional = self._ui.normMapComboBox.currentIndex == 0
            show_norm_result(slicer.mrmlScene, nodes, conditional=conditional, opacity=self._node.opacity)
            show_table_and_plot(slicer.mrmlScene, self._tableId(nodes), None)
            self._fillTable(nodes)

    def _tableId(self, nodes):
        return getattr(nodes, _TABLES[max(0, self._ui.normTableComboBox.currentIndex)])

    def _fillTable(self, nodes) -> None:
        """Show the table that is chosen, of the comparison of what is chosen."""
        tableId = None if nodes is None else self._tableId(nodes)
        table = slicer.mrmlScene.GetNodeByID(tableId) if tableId else None
        view = self._ui.normTable
        if table is not view.mrmlTableNode():
            view.setMRMLTableNode(table)
            view.resizeColumnsToContents()

    def _onReport(self) -> None:
        node = slicer.mrmlScene.GetNodeByID(self._nodes().report)
        if node is not None:
            openReport(node.GetText())
