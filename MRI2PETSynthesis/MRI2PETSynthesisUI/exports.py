"""Tables and reports of the scene taken out of Slicer: clipboard, CSV, browser, file."""

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.core.files import write_text
from MRI2PETLib.scene.tables import node_text
from MRI2PETSynthesisUI.error_display import errorDisplay


def copyTable(table) -> None:
    """Put a table node on the clipboard, with tabs, as spreadsheets take it."""
    slicer.app.clipboard().setText(node_text(table, "\t"))
    slicer.util.showStatusMessage(_("The table is on the clipboard."), 3000)


def saveTable(table) -> None:
    """Ask for a file and write a table node as CSV."""
    path = qt.QFileDialog.getSaveFileName(
        None, _("Save the table"), f"{table.GetName()}.csv", _("Comma-separated values (*.csv)")
    )
    if path:
        with errorDisplay(_("The table cannot be saved.")):
            write_text(path, node_text(table, ","))


def openReport(html: str) -> None:
    """Show a report in the browser."""
    with errorDisplay(_("The report cannot be opened.")):
        path = f"{slicer.app.temporaryPath}/MRI2PET-report.html"
        write_text(path, html)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))


def saveReport(html: str) -> None:
    """Ask for a file and write a report."""
    path = qt.QFileDialog.getSaveFileName(None, _("Save the report"), "report.html", "HTML (*.html)")
    if path:
        with errorDisplay(_("The report cannot be saved.")):
            write_text(path, html)
