"""A user's path through the window of MRI2PETTraining, driven in Slicer: choose, check, start, stop, resume.

With the environment variable MRI2PET_SCREENSHOTS set to a folder, the window is saved there at each step. The
folder of MRI2PET_TRIAL_DATASET, if set, is trained instead of four simulated people, with the preset smoke.
"""

import os
import tempfile
import time
import unittest
from pathlib import Path

try:
    import slicer
except ImportError:  # plain Python without slicer-core
    slicer = None

HAS_WINDOW = hasattr(slicer, "app") and hasattr(slicer, "util") and slicer.app is not None


@unittest.skipUnless(HAS_WINDOW, "needs Slicer's application")
class MRI2PETTrainingUserPathTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("MRI2PETTraining")
        self.widget = slicer.util.getModuleWidget("MRI2PETTraining")
        self.ui, self.session = self.widget.ui, self.widget.session
        self.shots = os.environ.get("MRI2PET_SCREENSHOTS")
        self.number = 0
        # Not Slicer's own temporary folder: a child of a stopped test may still write there.
        self.folder = tempfile.mkdtemp(prefix="mri2pet-training-")
        self.models = os.environ.get("MRI2PET_MODELS")
        os.environ["MRI2PET_MODELS"] = f"{self.folder}/models"

    def tearDown(self):
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
        self.shot("synthesis")

        # The scene keeps what was chosen; closing it leaves nothing of the training
        slicer.util.selectModule("MRI2PETTraining")
        slicer.mrmlScene.Clear()
        self.settle()
        self.assertEqual(ui.datasetEdit.text, "")

    # -- helpers ---------------------------------------------------------------------

    def curve(self):
        view = self.session.view
        return len(view.folds[0].curves) if view is not None and view.folds else 0

    def settle(self, seconds=0.5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.02)

    def wait(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited {seconds} s: {self.ui.statusLabel.text}")
            self.settle(0.05)

    def finish(self, seconds=900):
        self.wait(lambda: not self.session.is_active, seconds)
        self.settle()

    def shot(self, name):
        self.settle()
        if self.shots:
            self.number += 1
            Path(self.shots).mkdir(parents=True, exist_ok=True)
            slicer.util.mainWindow().grab().save(f"{self.shots}/{self.number:02d}-{name}.png")
