"""The panel *Tables and report*: tables, plots, the region under the crosshair, an own region, the report."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.scene.dicom import export_series, is_from_dicom
from MRI2PETLib.scene.layout import TABLE_VIEW, show_table_and_plot
from MRI2PETLib.scene.readout import (
    compared_title,
    jump_to,
    missing_for_roi,
    readout_at_point,
    readout_of_roi,
)
from MRI2PETLib.scene.results import result_nodes
from MRI2PETLib.scene.tables import region_point_ras, report_html
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETSynthesisUI.exports import copyTable, openReport, saveReport, saveTable

_TABLES = ("regions", "metrics")
_PLOTS = ("scatter", "bland_altman")
_POINT_INTERVAL_MS = 100


class ReadoutPanel:
    """Shows the figures of one result."""

    def __init__(self, ui) -> None:
        self._ui = ui
        self._petId = None
        self._crosshair = None
        self._observer = None
        self._watched = []
        # The crosshair moves with every pixel of the mouse; a readout ten times a second is enough.
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_POINT_INTERVAL_MS)
        self._timer.connect("timeout()", self._showPoint)
        ui.tableComboBox.connect("currentIndexChanged(int)", self._showTable)
        ui.plotComboBox.connect("currentIndexChanged(int)", self._showTable)
        ui.readoutTable.connect("clicked(QModelIndex)", self._onCell)
        ui.copyButton.connect("clicked()", self._onCopy)
        ui.csvButton.connect("clicked()", self._onCsv)
        ui.reportButton.connect("clicked()", self._onReport)
        ui.saveReportButton.connect("clicked()", self._onSaveReport)
        ui.dicomButton.connect("clicked()", self._onDicom)
        ui.roiButton.connect("clicked()", self._onRoi)
        ui.roiSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onOtherRoi)

    def showResult(self, petId) -> None:
        """Show the tables and plots of a result (ID of its synthetic PET), or nothing."""
        self._petId = petId
        self._ui.comparedLabel.text = compared_title(slicer.mrmlScene, petId)
        self._ui.pointText.clear()
        self._ui.roiResultLabel.text = ""
        self._showTable()

    def watchCrosshair(self, on: bool) -> None:
        """Follow the crosshair, or stop following it."""
        if self._observer is not None and self._crosshair is not None:
            self._crosshair.RemoveObserver(self._observer)
        self._observer = None
        self._crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") if on else None
        if self._crosshair is not None:
            event = slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent
            self._observer = self._crosshair.AddObserver(event, self._onCrosshair)
        if not on:
            self._timer.stop()

    def _nodes(self):
        return result_nodes(slicer.mrmlScene, self._petId)

    def _table(self):
        nodes = self._nodes()
        tableId = getattr(nodes, _TABLES[self._ui.tableComboBox.currentIndex]) if nodes else None
        return slicer.mrmlScene.GetNodeByID(tableId) if tableId else None

    def _showTable(self, _index=0) -> None:
        nodes, table = self._nodes(), self._table()
        self._ui.readoutTable.setMRMLTableNode(table)
        if table is not None:
            self._ui.readoutTable.resizeColumnsToContents()
        chartId = getattr(nodes, _PLOTS[self._ui.plotComboBox.currentIndex]) if nodes else None
        show_table_and_plot(slicer.mrmlScene, table.GetID() if table else None, chartId)
        self._watchTableView()
        for button in (self._ui.copyButton, self._ui.csvButton):
            button.enabled = table is not None
        for button in (self._ui.reportButton, self._ui.saveReportButton):
            button.enabled = nodes is not None and nodes.report is not None
        self._ui.dicomButton.enabled = nodes is not None
        self._updateRoi()

    def _watchTableView(self) -> None:
        """Regions are jumped to from the table of the layout *readouts*, too, once that exists."""
        manager = slicer.app.layoutManager()
        for n in range(manager.tableViewCount):
            view = manager.tableWidget(n).tableView()
            if view.mrmlTableViewNode().GetSingletonTag() == TABLE_VIEW and view not in self._watched:
                view.connect("clicked(QModelIndex)", self._onCell)
                self._watched.append(view)

    def _onCell(self, index) -> None:
        table = self._table()
        point = region_point_ras(table, index.row()) if table is not None else None
        if point is not None:
            jump_to(slicer.mrmlScene, point)
            self._ui.pointText.setPlainText(readout_at_point(slicer.mrmlScene, self._petId, point))

    def _onCrosshair(self, *_) -> None:
        if not self._timer.active:
            self._timer.start()

    def _showPoint(self) -> None:
        point = [0.0, 0.0, 0.0]
        if self._crosshair is not None and self._crosshair.GetCursorPositionRAS(point):
            text = readout_at_point(slicer.mrmlScene, self._petId, point)
            if text:
                self._ui.pointText.setPlainText(text)

    def _updateRoi(self) -> None:
        missing = missing_for_roi(self._nodes(), self._ui.roiSelector.currentNode())
        self._ui.roiButton.enabled = not missing
        self._ui.roiButton.toolTip = missing or _("The figures of this region.")

    def _onOtherRoi(self, _roi) -> None:
        self._updateRoi()
        self._ui.roiResultLabel.text = ""

    def _onRoi(self) -> None:
        roi = self._ui.roiSelector.currentNode()
        self._ui.roiResultLabel.text = ""  # of a former region
        with errorDisplay(_("The region cannot be measured."), waitCursor=True):
            self._ui.roiResultLabel.text = readout_of_roi(slicer.mrmlScene, self._petId, roi.GetID())

    def _onCopy(self) -> None:
        copyTable(self._table())

    def _onCsv(self) -> None:
        saveTable(self._table())

    def _onReport(self) -> None:
        openReport(report_html(slicer.mrmlScene, self._nodes()))

    def _onSaveReport(self) -> None:
        saveReport(report_html(slicer.mrmlScene, self._nodes()))

    def _onDicom(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the DICOM series"))
        nodes = self._nodes()
        if not folder or nodes is None:
            return
        with errorDisplay(_("The DICOM series cannot be written."), waitCursor=True):
            study, find = None, None
            if is_from_dicom(slicer.mrmlScene, nodes):
                find = slicer.dicomDatabase.fileForInstance  # a Slicer without DICOM has no such T1
            else:
                study = qt.QFileDialog.getExistingDirectory(None, _("DICOM folder of this person's study"))
            path = export_series(slicer.mrmlScene, nodes, Path(folder), find, Path(study) if study else None)
            slicer.util.showStatusMessage(_("DICOM series: {path}").format(path=path), 5000)
