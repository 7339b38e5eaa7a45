"""The panel *Outputs*: the table of folds, the report, and the model's way into MRI2PET Synthesis."""

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.core.errors import BundleError
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETTrainingLib.training_run import register_model


class ResultsPanel:
    """Shows what a run has given so far."""

    def __init__(self, ui) -> None:
        self._ui = ui
        self._view = None
        self._rows = None
        ui.reportButton.connect("clicked()", self._onReport)
        ui.folderButton.connect("clicked()", self._onFolder)
        ui.useButton.connect("clicked()", self.useInSynthesis)

    def show(self, session) -> None:
        """Show the folds of a session."""
        self._view = session.view
        table = session.nodes.node("folds")
        if self._ui.foldsTable.mrmlTableNode() != table:
            self._ui.foldsTable.setMRMLTableNode(table)
        # Epochs by their digits, not with every one: widths are the user's, too.
        folds = [(s.finished, len(str(len(s.curves)))) for s in self._view.folds] if self._view else []
        rows = self._view and [self._view.cases, *folds]
        if rows != self._rows:
            self._rows = rows
            self._fitColumns((table, session.nodes.node("cases")))
        self._ui.folderButton.enabled = self._view is not None and self._view.run.is_dir()

    def _fitColumns(self, nodes) -> None:
        """Tables of these nodes, here and in the views, get columns as wide as what is in them."""
        manager = slicer.app.layoutManager()
        count = manager.tableViewCount if manager is not None else 0
        views = [manager.tableWidget(number).tableView() for number in range(count)]
        for table in (self._ui.foldsTable, self._ui.casesTable, *views):
            if table.mrmlTableNode() is not None and table.mrmlTableNode() in nodes:
                table.resizeColumnsToContents()

    def useInSynthesis(self) -> None:
        """Add the ensemble to the user's models, and choose it in the module MRI2PETSynthesis."""
        with errorDisplay(_("The model cannot be added."), waitCursor=True):
            try:
                model = register_model(self._view.ensemble)
            except BundleError as error:
                question = _("{error} Replace it?").format(error=error.message)
                if not slicer.util.confirmOkCancelDisplay(question):
                    return
                model = register_model(self._view.ensemble, replace_other=True)
            slicer.util.selectModule("MRI2PETSynthesis")
            slicer.util.getModuleLogic("MRI2PETSynthesis").getParameterNode().model = model
            # The window shows the parameter when it is entered.
            slicer.util.getModuleWidget("MRI2PETSynthesis").enter()

    def _onReport(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._view.report)))

    def _onFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._view.run)))
