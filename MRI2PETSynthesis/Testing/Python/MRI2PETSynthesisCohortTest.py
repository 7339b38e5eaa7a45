"""The section Cohort in the window: what is missing, and which report it opens."""

import tempfile
from pathlib import Path

from MRI2PETSynthesisWindow import WindowTestCase


class MRI2PETSynthesisCohortTest(WindowTestCase):
    def choose(self, path):
        self.ui.cohortPathEdit.setText(str(path))
        self.settle()

    def test_what_is_missing_is_said_and_a_report_that_is_there_can_be_opened(self):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder)
            self.choose(run / "nowhere")
            self.assertFalse(self.ui.cohortEvaluateButton.enabled or self.ui.cohortReportButton.enabled)
            self.assertIn("does not exist", self.ui.cohortEvaluateButton.toolTip)
            self.choose(run)
            self.assertIn("no predictions.csv", self.ui.cohortStatusLabel.text)
            (run / "predictions.csv").write_text("case,synthetic,pet\n", encoding="utf-8")
            (run / "cohort").mkdir()
            (run / "cohort" / "report.html").write_text("<html></html>", encoding="utf-8")
            self.choose("")
            self.choose(run)
            self.assertTrue(self.ui.cohortEvaluateButton.enabled and self.ui.cohortReportButton.enabled)
            self.choose("")

    def test_what_is_chosen_is_asked_for(self):
        self.choose("/data/run")
        panel = self.widget.cohort
        settings = panel._request().settings
        self.assertEqual((settings.reference_region, settings.mni), (None, False))
        self.ui.cohortReferenceComboBox.setCurrentText("cerebellum")
        self.ui.cohortMniCheckBox.checked = True
        settings = panel._request().settings
        self.assertEqual((settings.reference_region, settings.mni), ("cerebellum", True))
        self.ui.cohortReferenceComboBox.setCurrentIndex(0)
        self.ui.cohortMniCheckBox.checked = False
        self.choose("")
