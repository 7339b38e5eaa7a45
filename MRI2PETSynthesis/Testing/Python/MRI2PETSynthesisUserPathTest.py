"""A user's path through the window of MRI2PETSynthesis, driven in Slicer."""

import tempfile
import time
from pathlib import Path

from MRI2PETSynthesisWindow import WIDTH, WindowTestCase, slicer

PLANES = ("Axial", "Coronal", "Sagittal")


class MRI2PETSynthesisUserPathTest(WindowTestCase):
    def test_path(self):
        from MRI2PETSynthesisUI.sample_data import loadPhantom

        self.assertFalse(self.ui.applyButton.enabled or self.ui.checkButton.enabled)
        self.assertIn("Choose a T1.", self.ui.applyButton.toolTip)
        t1, pet = loadPhantom()
        self.ui.t1Selector.setCurrentNode(t1)
        self.wait(lambda: self.ui.applyButton.enabled, 10)
        self.assertIn("T1 image", self.ui.checksLabel.text)
        button = self.ui.applyButton  # is seen without scrolling
        self.assertEqual(button.visibleRegion().boundingRect().height(), button.height)
        self.shot("inputs")

        # Apply, Cancel: the scene is as it was
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.ui.applyButton.click()
        self.wait(lambda: self.ui.applyButton.text == "Cancel" and self.ui.progressBar.value > 0, 60)
        self.shot("running")
        started = time.monotonic()
        self.ui.applyButton.click()
        self.wait(lambda: self.ui.applyButton.text == "Apply", 10)
        self.assertLess(time.monotonic() - started, 5)  # 2 s on an idle machine
        self.assertEqual(self.ui.statusLabel.text, "Cancelled.")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

        # Apply again: the overlay
        self.ui.applyButton.click()
        self.finish()
        result = self.ui.resultSelector.currentNode()
        self.assertIsNotNone(result)
        self.assertEqual(result.GetImageData().GetDimensions(), t1.GetImageData().GetDimensions())
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        self.assertEqual(composite.GetForegroundVolumeID(), result.GetID())
        self.ui.opacitySlider.value = 0.8
        self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.8)
        self.shot("overlay")

        # The real PET: compare
        self.ui.petSelector.setCurrentNode(pet)
        self.assertTrue(self.ui.compareButton.enabled)
        self.ui.compareButton.click()
        self.finish()
        from MRI2PETLib.scene.results import result_nodes

        nodes = result_nodes(slicer.mrmlScene, result.GetID())
        self.assertIsNotNone(nodes.normdiff)
        self.assertEqual(self.ui.layoutComboBox.currentText, "side by side")
        view = slicer.app.layoutManager().sliceWidget("MRI2PETNormDiffAxial").mrmlSliceCompositeNode()
        self.assertEqual(view.GetForegroundVolumeID(), nodes.normdiff)
        self.shot("compare")

        # All three planes, linked; nothing widens the window
        self.ui.planeComboBox.currentText = "all three"
        self.settle()
        views = {name: slicer.app.layoutManager().sliceWidget(f"MRI2PETReal{name}") for name in PLANES}
        self.assertEqual([view.mrmlSliceNode().GetOrientation() for view in views.values()], list(PLANES))
        self.assertEqual(slicer.util.mainWindow().width, WIDTH)
        label = slicer.util.findChild(views["Sagittal"].sliceController(), "ViewLabel")
        self.assertGreaterEqual(label.width, label.sizeHint.width())
        self.shot("planes")
        self.ui.planeComboBox.currentText = "axial"

        # One window for both PETs
        self.ui.maximumSlider.value = 1.5
        tops = {
            slicer.mrmlScene.GetNodeByID(i).GetDisplayNode().GetWindowLevelMax()
            for i in (nodes.pet, nodes.real)
        }
        self.assertEqual(tops, {1.5})

        # Tables, plots, and a jump to a region
        self.ui.layoutComboBox.currentText = "readouts"
        table = self.ui.readoutTable
        self.assertGreater(table.model().rowCount(), 10)
        self.widget.readouts._onCell(table.model().index(5, 0))
        red = slicer.app.layoutManager().sliceWidget("MRI2PETT1Axial").mrmlSliceNode()
        from MRI2PETLib.scene.tables import region_point_ras

        point = region_point_ras(slicer.mrmlScene.GetNodeByID(nodes.regions), 5)
        self.assertAlmostEqual(red.GetSliceToRAS().GetElement(2, 3), point[2], delta=1.5)
        self.assertIn("NormDiff", self.ui.pointText.plainText)
        self.ui.readoutsButton.collapsed = False
        self.ui.inputsButton.collapsed = True
        self.shot("readouts")

        # Swipe
        self.ui.layoutComboBox.currentText = "overlay"
        self.ui.swipeCheckBox.checked = True
        self.ui.swipeSlider.value = 0.4
        self.assertEqual(slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID()).GetName(), "swipe")
        self.shot("swipe")
        self.ui.swipeCheckBox.checked = False
        self.assertEqual(composite.GetForegroundVolumeID(), nodes.pet)
        self.widget.display._onOverlay(self.ui.overlayComboBox.findData("normdiff"))
        self.assertEqual(self.ui.overlayComboBox.currentText, "NormDiff")
        self.assertEqual(composite.GetForegroundVolumeID(), nodes.normdiff)
        self.shot("normdiff")

        # Save, close, reload
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            self.wait(lambda: self.ui.t1Selector.currentNode() is None, 5)
            self.assertTrue(slicer.util.loadScene(path))
        slicer.util.selectModule("MRI2PETSynthesis")
        self.settle()
        self.assertIsNotNone(self.ui.t1Selector.currentNode())
        again = self.ui.resultSelector.currentNode()
        self.assertEqual(again.GetName(), result.GetName() if result.GetName() else again.GetName())
        nodes = result_nodes(slicer.mrmlScene, again.GetID())
        self.assertIsNotNone(nodes.report)
        self.assertAlmostEqual(self.ui.opacitySlider.value, 0.8)
        self.shot("reloaded")
