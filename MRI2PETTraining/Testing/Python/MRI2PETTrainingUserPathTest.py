"""A user's paths through the window of MRI2PETTraining, driven in Slicer: choose, check, start, stop, resume;
the scene is closed while a training works; datasets that cannot be used; cases that are edited.

With the environment variable MRI2PET_SCREENSHOTS set to a folder, the window is saved there at each step. The
folder of MRI2PET_TRIAL_DATASET, if set, is trained instead of four simulated people, with the preset smoke.
"""

import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

try:
    import qt
except ImportError:  # plain Python
    qt = None

sys.path.append(str(Path(__file__).resolve().parents[3] / "MRI2PETSynthesis" / "Testing" / "Python"))
from MRI2PETSynthesisWindow import HAS_WINDOW, HEIGHT, WIDTH, WindowDriver, slicer  # noqa: E402

FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


@unittest.skipUnless(HAS_WINDOW, "needs Slicer's application")
class MRI2PETTrainingUserPathTest(WindowDriver, unittest.TestCase):
    def setUp(self):
        slicer.util.mainWindow().resize(WIDTH, HEIGHT)
        slicer.mrmlScene.Clear()
        slicer.app.layoutManager().setLayout(FOUR_UP)
        self.errors = []
        self.errorDisplay = slicer.util.errorDisplay
        slicer.util.errorDisplay = lambda text, **_more: self.errors.append(text)
        slicer.util.selectModule("MRI2PETTraining")
        self.widget = slicer.util.getModuleWidget("MRI2PETTraining")
        self.ui, self.session = self.widget.ui, self.widget.session
        # Not Slicer's own temporary folder: a child of a stopped test may still write there.
        self.folder = tempfile.mkdtemp(prefix="mri2pet-training-")
        self.models = os.environ.get("MRI2PET_MODELS")
        os.environ["MRI2PET_MODELS"] = f"{self.folder}/models"

    def tearDown(self):
        slicer.util.errorDisplay = self.errorDisplay
        self.session.close(keep_running=False)
        if self.models is None:
            del os.environ["MRI2PET_MODELS"]
        else:
            os.environ["MRI2PET_MODELS"] = self.models

    def test_path(self):
        from MRI2PETTrainingUI.trial import trialDataset, trialPreset

        ui, own = self.ui, os.environ.get("MRI2PET_TRIAL_DATASET")
        dataset = own or trialDataset(self.folder)
        self.assertFalse(ui.startButton.enabled)
        self.assertIn("Choose a dataset.", ui.startButton.toolTip)
        self.shot("empty")

        # Choose: the cases are listed at once
        ui.datasetEdit.text = dataset
        self.wait(lambda: self.session.view is not None, 20)
        self.assertTrue(ui.runEdit.text.endswith("-training"))
        ui.runEdit.text = f"{self.folder}/run"
        self.widget.onPreset("smoke" if own else trialPreset(self.folder, 20))
        ui.foldsSpinBox.value = 3 if own else 2
        ui.deviceComboBox.currentText = "cpu"
        self.settle(1)
        self.assertTrue(ui.startButton.enabled)
        cases = ui.casesTable.model().rowCount()
        self.assertGreaterEqual(cases, 4)
        self.shot("chosen")

        # Check: folds are made, nothing is trained
        ui.checkButton.click()
        self.finish()
        self.assertIn("Checked", ui.statusLabel.text)
        self.assertEqual(ui.foldsTable.model().rowCount(), ui.foldsSpinBox.value)
        self.shot("checked")

        # Start, watch the curves, stop
        ui.startButton.click()
        self.assertEqual(ui.startButton.text, "Stop")
        self.assertFalse(ui.datasetEdit.enabled)
        self.wait(lambda: self.curve() > 3, 900)
        self.shot("training")
        ui.startButton.click()
        self.finish(30)
        self.assertEqual(ui.startButton.text, "Resume")
        self.assertIn("Stopped", ui.statusLabel.text)
        reached = self.curve()

        # Another folder and back: the run is recognised, with its settings
        run = ui.runEdit.text
        ui.runEdit.text = f"{run}-other"
        self.wait(lambda: ui.startButton.text == "Start", 10)
        ui.runEdit.text = run
        self.wait(lambda: ui.startButton.text == "Resume", 10)
        self.assertEqual(ui.foldsSpinBox.value, 3 if own else 2)
        self.shot("stopped")

        # Resume; leave the training alone and follow it again
        ui.startButton.click()
        self.wait(lambda: self.curve() > reached, 900)
        self.session.close(keep_running=True)
        self.widget.look()
        self.assertTrue(ui.keepRunningCheckBox.checked)  # whoever watches a run does not end it by closing
        self.wait(lambda: ui.startButton.text == "Stop" and self.session.state.phase == "running", 60)
        self.finish(3600)
        self.assertTrue(ui.reportButton.enabled, ui.logText.plainText)
        self.assertTrue(ui.useButton.enabled)
        ui.casesButton.collapsed = True
        ui.logButton.collapsed = False
        self.shot("finished")

        # Use in Synthesis
        ui.useButton.click()
        self.settle()
        self.assertEqual(slicer.util.selectedModule(), "MRI2PETSynthesis")
        node = slicer.util.getModuleLogic("MRI2PETSynthesis").getParameterNode()
        self.assertEqual(node.model, "run-ensemble")
        self.assertTrue((Path(self.folder) / "models" / "run-ensemble").is_dir())
        self.assertEqual(slicer.app.layoutManager().layout, FOUR_UP)
        self.shot("synthesis")

        # The scene keeps what was chosen; closing it leaves nothing of the training
        slicer.util.selectModule("MRI2PETTraining")
        slicer.mrmlScene.Clear()
        self.settle()
        self.assertEqual(ui.datasetEdit.text, "")

    def test_scene_is_closed_while_it_works(self):
        """The training goes on; what came to the scene meanwhile is left alone; the window shows it again."""
        ui = self.ui
        self.choose(people=4, epochs=200)
        dataset = ui.datasetEdit.text
        ui.startButton.click()
        self.wait(lambda: self.curve() > 2, 900)
        ui.keepRunningCheckBox.checked = True
        slicer.util.selectModule("Data")
        self.assertEqual(slicer.app.layoutManager().layout, FOUR_UP)
        slicer.mrmlScene.Clear()
        others = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "somebody's") for _ in range(12)]
        reached = self.curve()
        self.wait(lambda: self.curve() > reached + 1, 300)
        self.assertTrue(all(node.GetNumberOfRows() == 0 for node in others))
        slicer.util.selectModule("MRI2PETTraining")
        self.settle()
        self.assertEqual((ui.datasetEdit.text, ui.startButton.text), (dataset, "Stop"))
        self.assertEqual(ui.foldsTable.model().rowCount(), 2)
        self.assertTrue(ui.keepRunningCheckBox.checked)
        self.shot("back-in-another-scene")
        slicer.mrmlScene.Clear()  # this time while the module is shown
        self.wait(lambda: ui.foldsTable.model().rowCount() == 2, 30)
        self.assertEqual((ui.datasetEdit.text, ui.startButton.text), (dataset, "Stop"))
        self.assertTrue(ui.keepRunningCheckBox.checked)
        self.shot("scene-closed")
        ui.startButton.click()
        self.finish(60)
        self.assertEqual(ui.startButton.text, "Resume")

    def test_datasets_that_cannot_be_used(self):
        ui = self.ui
        good = Path(self.choose(people=4))

        empty = Path(self.folder, "empty")
        empty.mkdir()
        ui.datasetEdit.text = str(empty)
        self.wait(lambda: "holds no case" in ui.datasetSummaryLabel.text, 10)
        ui.startButton.click()
        self.assertIn("holds no case", self.errors[-1])
        self.shot("empty-dataset")

        missing = Path(shutil.copytree(good, Path(self.folder, "missing")))
        (missing / "subject_002" / "PET.nii.gz").unlink()
        ui.datasetEdit.text = str(missing)
        self.wait(lambda: "1 cannot be used" in ui.datasetSummaryLabel.text, 10)
        self.shot("missing-file-listed")
        ui.checkButton.click()
        self.finish()
        self.assertIn("1 of 4 cases cannot be used. subject_002", self.errors[-1])
        self.assertIn("subject_002", ui.statusLabel.text)
        self.shot("missing-file-checked")

        twins = Path(shutil.copytree(good, Path(self.folder, "twins")))
        for name in ("T1.nii.gz", "PET.nii.gz"):
            shutil.copy(twins / "subject_001" / name, twins / "subject_002" / name)
        self.check(twins)
        self.assertIn("one person under two ids", self.errors[-1])

        count = len(self.errors)
        bare = Path(shutil.copytree(good, Path(self.folder, "bare")))
        sidecar = bare / "subject_003" / "PET.json"
        about = json.loads(sidecar.read_text())
        del about["Units"]
        sidecar.write_text(json.dumps(about))
        self.check(bare)
        self.assertIn(
            "The PETs are in different units: 3 in SUV, 1 without a stated unit.", self.errors[count]
        )
        self.shot("unit-missing")

    def test_another_dataset_beside_a_run_gets_a_folder_of_its_own(self):
        from MRI2PETTrainingLib.presets import read_preset
        from MRI2PETTrainingLib.settings import TrainingSettings

        ui = self.ui
        dataset = Path(self.choose(people=4))
        run = Path(self.folder, "begun")
        (run / "fold_0").mkdir(parents=True)
        settings = TrainingSettings(str(dataset), str(run), preset="smoke", folds=3)
        record = {"settings": settings.to_dict(), "content": {"preset": read_preset("smoke").to_dict()}}
        (run / "run.json").write_text(json.dumps(record))
        ui.runEdit.text = str(run)
        self.wait(lambda: ui.startButton.text == "Resume", 20)
        self.assertEqual(ui.foldsSpinBox.value, 3)
        self.assertFalse(ui.presetComboBox.enabled or ui.windowEdit.enabled)
        self.assertIn("Choose another run folder", ui.presetComboBox.toolTip)
        self.assertTrue(
            ui.datasetEdit.enabled and ui.workersSpinBox.enabled and ui.foldsAtOnceSpinBox.enabled
        )
        self.assertIn("Measured on", ui.presetSummaryLabel.text)
        other = Path(shutil.copytree(dataset, Path(self.folder, "other")))
        ui.datasetEdit.text = str(other)
        self.wait(lambda: ui.startButton.text == "Start", 20)
        self.assertEqual(ui.runEdit.text, f"{other}-training")
        self.assertTrue(ui.presetComboBox.enabled and ui.startButton.enabled)
        self.assertNotIn("Choose another", ui.presetComboBox.toolTip)
        self.shot("another-dataset")

    def test_edited_cases_are_what_is_trained(self):
        from MRI2PETTrainingUI import dataset_panel

        ui = self.ui
        self.choose(people=6)
        table = self.session.nodes.node("cases")
        table.SetCellText(0, table.GetColumnIndex("exclude"), "moved")
        table.SetCellText(2, table.GetColumnIndex("subject"), "subject_002")
        table.SetCellText(
            2, table.GetColumnIndex("group"), table.GetCellText(1, table.GetColumnIndex("group"))
        )
        saved = f"{self.folder}/édité.csv"
        before = dataset_panel.qt
        answer = SimpleNamespace(getSaveFileName=lambda *_arguments: saved)
        dataset_panel.qt = SimpleNamespace(QFileDialog=answer)
        try:
            ui.editedButton.click()
        finally:
            dataset_panel.qt = before
        self.wait(lambda: "left out" in ui.datasetSummaryLabel.text, 10)
        self.assertIn("5 cases of 4 people", ui.datasetSummaryLabel.text)
        self.assertEqual(ui.datasetEdit.text, saved)
        ui.checkButton.click()
        self.finish()
        self.assertEqual(self.errors, [])
        self.assertIn("Checked: 5 cases", ui.statusLabel.text)
        tested = [status.fold.test for status in self.session.view.folds]
        sides = [{"subject_002", "subject_003"} & set(names) for names in tested]
        self.assertTrue(all(len(side) in (0, 2) for side in sides), tested)
        self.assertNotIn("subject_001", [name for names in tested for name in names])
        self.shot("edited")

    def test_what_is_chosen_reaches_the_training(self):
        """Pre-training, frames and reference region, as the command line has them."""
        from MRI2PETTrainingUI import dataset_panel

        ui, node = self.ui, self.widget._parameterNode
        dataset = self.choose(people=4)
        settings = self.widget.logic.settings(node)
        names = ("start_from", "unpaired", "vgg19", "window", "reference_region", "epochs", "batch_size")
        self.assertEqual([getattr(settings, name) for name in names], [None] * len(names))
        answers = [f"{self.folder}/mris", f"{self.folder}/vgg19.pth", f"{self.folder}/before"]
        dialogs = SimpleNamespace(
            getExistingDirectory=lambda *_arguments: answers.pop(0),
            getOpenFileName=lambda *_arguments: answers.pop(0),
        )
        stand_in = SimpleNamespace(QFileDialog=dialogs, QSettings=dataset_panel.qt.QSettings, Qt=qt.Qt)
        with mock.patch.object(dataset_panel, "qt", stand_in):
            for button in (ui.unpairedButton, ui.vgg19Button, ui.startFromButton):
                button.click()
        ui.windowEdit.text = "60 90"
        ui.referenceRegionComboBox.setCurrentText("cerebellum")
        ui.epochsSpinBox.value, ui.batchSizeSpinBox.value = 12, 3
        self.settle()
        settings = self.widget.logic.settings(node)
        self.assertEqual(
            (settings.unpaired, settings.vgg19), (Path(self.folder, "mris"), Path(self.folder, "vgg19.pth"))
        )
        self.assertEqual(settings.start_from, f"{self.folder}/before")
        self.assertEqual((settings.window, settings.reference_region), ((60.0, 90.0), "cerebellum"))
        self.assertEqual((settings.epochs, settings.batch_size), (12, 3))
        self.assertEqual((settings.dataset, ui.startFromComboBox.currentText), (dataset, "before"))
        ui.advancedButton.collapsed = False
        self.reveal(ui.windowEdit)
        self.shot("settings")
        ui.windowEdit.text = "90 60"
        self.settle()
        self.assertFalse(ui.startButton.enabled)
        self.assertIn("90", ui.startButton.toolTip)

    # -- helpers ---------------------------------------------------------------------

    def choose(self, people, epochs=20):
        """Simulated people as the dataset, two folds, a small preset; the path of the dataset."""
        from MRI2PETTrainingUI.trial import trialDataset, trialPreset

        dataset = trialDataset(self.folder, people)
        self.ui.datasetEdit.text = dataset
        self.ui.runEdit.text = f"{self.folder}/run"
        self.widget.onPreset(trialPreset(self.folder, epochs))
        self.ui.foldsSpinBox.value = 2
        self.ui.deviceComboBox.currentText = "cpu"
        self.wait(lambda: self.session.view is not None and len(self.session.view.cases) == people, 20)
        return dataset

    def check(self, dataset):
        """Choose another dataset and check it."""
        self.ui.datasetEdit.text = str(dataset)
        self.settle(1)
        self.ui.checkButton.click()
        self.finish()

    def curve(self):
        view = self.session.view
        return len(view.folds[0].curves) if view is not None and view.folds else 0

    def finish(self, seconds=900):
        self.wait(lambda: not self.session.is_active, seconds)
        self.settle()
