"""The section *Cohort*: evaluates a cross-validation run, or a table of pairs, and opens its report."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.jobs.run_state import RunState, window_state
from MRI2PETLib.scene.cohort import CohortRequest, cohort_report, missing_for_cohort
from MRI2PETSynthesisUI.running import RunningPanel, showProgress

_SETTING = "MRI2PET/RunFolder"


class CohortPanel(RunningPanel):
    """Its widgets are those of ``Resources/UI/CohortPanel.ui``. Nothing of it is saved with the scene."""

    def __init__(self, parentLayout, index, logic, onChanged) -> None:
        """
        :param index: where in the layout.
        """
        super().__init__(logic, onChanged)
        path = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "CohortPanel.ui"
        self.widget = slicer.util.loadUI(str(path))
        parentLayout.insertWidget(index, self.widget)
        self._ui = ui = slicer.util.childWidgetVariables(self.widget)
        self._notReady, self._otherIsBusy = "", False
        ui.cohortReferenceComboBox.addItem(_("as the PETs are"), "")
        for region in EvaluationSettings.choices("reference_region"):
            ui.cohortReferenceComboBox.addItem(region, region)
        ui.cohortPathEdit.connect("textChanged(QString)", self._onPath)
        ui.cohortBrowseButton.connect("clicked()", self._onBrowse)
        ui.cohortEvaluateButton.connect("clicked()", self._onEvaluate)
        ui.cohortReportButton.connect("clicked()", self._onReport)

    def update(self, notReady: str, otherIsBusy: bool) -> None:
        """Show the state of everything.

        :param notReady: why nothing can run, from the set-up.
        """
        self._notReady, self._otherIsBusy = notReady, otherIsBusy
        ui, path = self._ui, self._path()
        missing = notReady or missing_for_cohort(path)
        window = window_state(self._state, missing)
        ui.cohortEvaluateButton.text = _("Cancel") if self._state.is_busy else _("Evaluate")
        ui.cohortEvaluateButton.enabled = (window.may_start and not otherIsBusy) or window.may_cancel
        ui.cohortEvaluateButton.toolTip = missing or _("Compare all synthetic PETs with the real ones.")
        choices = (ui.cohortReferenceComboBox, ui.cohortMniCheckBox)
        for widget in (ui.cohortPathEdit, ui.cohortBrowseButton, *choices):
            widget.enabled = window.inputs_enabled
        showProgress(ui.cohortProgressBar, window)
        ui.cohortStatusLabel.text = window.status
        report = cohort_report(path)
        ui.cohortReportButton.enabled = report is not None and not self._state.is_busy
        ui.cohortReportButton.toolTip = _("Not evaluated yet.") if report is None else str(report)

    def _path(self):
        text = str(self._ui.cohortPathEdit.text).strip()
        return Path(text) if text else None

    # -- what the user does --------------------------------------------------------------------------------

    def _onPath(self, _text="") -> None:
        self._state = self._state if self._state.is_busy else RunState()
        self.update(self._notReady, self._otherIsBusy)

    def _onBrowse(self) -> None:
        start = slicer.util.settingsValue(_SETTING, "")
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of a cross-validation run"), start)
        if folder:
            qt.QSettings().setValue(_SETTING, folder)
            self._ui.cohortPathEdit.setText(folder)

    def _onEvaluate(self) -> None:
        """Evaluate, or Cancel while it runs."""
        self._startOrCancel(self._request, _("The evaluation could not be started."))

    def _request(self) -> CohortRequest:
        combo = self._ui.cohortReferenceComboBox
        region = str(combo.itemData(combo.currentIndex) or "") or None
        own = EvaluationSettings(reference_region=region, mni=self._ui.cohortMniCheckBox.checked)
        return CohortRequest(self._path(), own)

    def _onReport(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(cohort_report(self._path()))))
