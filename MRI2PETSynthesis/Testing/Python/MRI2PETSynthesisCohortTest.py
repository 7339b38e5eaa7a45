"""The section Cohort in the window: what is missing, and which report it opens."""

import csv
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from MRI2PETSynthesisWindow import WindowTestCase, slicer


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

    def test_a_run_is_evaluated_with_maps_in_mni_space(self):
        from MRI2PETSynthesisUI import cohort_panel

        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder)
            writeRun(run)
            self.choose(run)
            ui, panel = self.ui, self.widget.cohort
            ui.cohortMniCheckBox.checked = True
            ui.cohortButton.collapsed, ui.inputsButton.collapsed = False, True
            nodes = slicer.mrmlScene.GetNumberOfNodes()
            ui.cohortEvaluateButton.click()
            self.wait(lambda: panel.isBusy and ui.cohortProgressBar.value > 0, 60)
            self.assertEqual(ui.cohortEvaluateButton.text, "Cancel")
            self.assertFalse(ui.cohortPathEdit.enabled or ui.applyButton.enabled)
            self.shot("evaluating")
            self.wait(lambda: not panel.isBusy, 600)
            self.settle()
            finished = panel.run.finished
            self.assertEqual(finished.state, "done", ui.cohortStatusLabel.text)
            self.assertEqual((finished.nodes.people, finished.nodes.scans, finished.nodes.failed), (2, 2, 0))
            self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)  # the scene stays as it is
            maps = run / "cohort" / "mni"
            self.assertIn(str(maps), ui.cohortStatusLabel.text)
            self.assertTrue(list(maps.glob("*.nii.gz")))
            self.reveal(ui.cohortReportButton)
            self.shot("evaluated")
            opened = []
            open_url = SimpleNamespace(openUrl=opened.append)
            stand_in = SimpleNamespace(QDesktopServices=open_url, QUrl=cohort_panel.qt.QUrl)
            with mock.patch.object(cohort_panel, "qt", stand_in):
                ui.cohortReportButton.click()
            report = Path(opened[0].toLocalFile())
            self.assertEqual(report, run / "cohort" / "report.html")
            self.assertIn("person001", report.read_text(encoding="utf-8"))
            ui.cohortMniCheckBox.checked = False
            self.choose("")


def writeRun(folder):
    """Predictions of two simulated people, each by a fold of its own: their PETs without noise, paler."""
    import numpy as np
    import SimpleITK as sitk

    from MRI2PETLib.images.io import write_image
    from MRI2PETLib.simulation import simulate_subject

    rows = []
    for number in range(2):
        case, person = f"person{number:03d}", simulate_subject(number, spacing_mm=6.0)
        mask = sitk.GetArrayViewFromImage(person.brain_mask) > 0
        true, real = (sitk.GetArrayViewFromImage(image) for image in (person.pet_true, person.pet))
        paler = np.where(mask, 0.4 + 0.6 * true / true[mask].mean(), 0)
        images = {"T1": person.t1, "mask": person.brain_mask}
        for name, values in (("synthetic", paler), ("real", real / real[mask].mean())):
            images[name] = sitk.GetImageFromArray(values.astype(np.float32))
            images[name].CopyInformation(person.t1)
        (folder / case).mkdir()
        paths = {name: folder / case / f"{name}.nii.gz" for name in images}
        about = {"Units": "SUVR", "Simulated": True}
        for name, path in paths.items():
            write_image(images[name], path, about if name in ("synthetic", "real") else None)
        files = {
            "synthetic": paths["synthetic"],
            "pet": paths["real"],
            "t1": paths["T1"],
            "mask": paths["mask"],
        }
        rows.append({"case": case, "subject": case, "fold": number, **files})
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
