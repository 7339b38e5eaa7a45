"""The task PET to MR and SUVR in the window: its panel, a measurement, cancel, a refusal."""

from MRI2PETSynthesisWindow import WindowTestCase, slicer


class MRI2PETSynthesisSuvrTest(WindowTestCase):
    def setUp(self):
        super().setUp()
        from MRI2PETLib.scene.images import add_volume
        from MRI2PETLib.simulation import simulate_subject

        self.pet = add_volume(slicer.mrmlScene, simulate_subject(3, spacing_mm=3.0).pet, "anna PET")
        self.ui.taskComboBox.setCurrentIndex(1)
        self.settle()

    def tearDown(self):
        self.ui.taskComboBox.setCurrentIndex(0)

    def finishMeasurement(self):
        self.wait(lambda: not self.widget.suvr.run.is_active, 600)
        self.settle()
        return self.widget.suvr.run.finished

    def test_the_task_has_a_panel_of_its_own(self):
        self.assertTrue(self.ui.suvrBox.visible)
        self.assertFalse(self.ui.inputsButton.visible or self.ui.applyButton.visible)
        self.assertIn("Choose a PET.", self.ui.measureButton.toolTip)
        self.ui.taskComboBox.setCurrentIndex(0)
        self.settle()
        self.assertFalse(self.ui.suvrBox.visible)
        self.assertTrue(self.ui.inputsButton.visible and self.ui.applyButton.visible)

    def test_measure(self):
        self.ui.suvrPetSelector.setCurrentNode(self.pet)
        self.wait(lambda: self.ui.measureButton.enabled, 60)
        self.ui.measureButton.click()
        self.assertEqual(self.ui.measureButton.text, "Cancel")
        self.assertFalse(self.ui.suvrPetSelector.enabled or self.ui.taskComboBox.enabled)
        self.assertEqual(self.finishMeasurement().state, "done")
        self.assertIn("PET template: composite SUVR", self.ui.suvrSummaryLabel.text)
        self.assertEqual(self.ui.suvrResultSelector.currentNode().GetName(), "SUVR by region of anna PET")
        self.assertTrue(self.ui.suvrReportButton.enabled and self.ui.suvrPetSelector.enabled)
        self.shot("suvr")
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        self.assertIsNotNone(composite.GetLabelVolumeID())
        self.assertFalse(self.ui.suvrPlotComboBox.enabled)  # without an MRI, nothing to compare with
        self.ui.taskComboBox.setCurrentIndex(0)
        self.settle()
        self.assertIsNone(composite.GetLabelVolumeID())
        self.assertIsNone(composite.GetForegroundVolumeID())
        self.shot("back")

    def test_cancel_and_refusal_leave_the_scene_as_it_was(self):
        self.ui.suvrPetSelector.setCurrentNode(self.pet)
        self.wait(lambda: self.ui.measureButton.enabled, 60)
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode")
        self.ui.measureButton.click()
        self.ui.measureButton.click()
        self.assertEqual(self.finishMeasurement().state, "cancelled")
        self.ui.suvrReferenceEdit.setText("pons")
        self.settle()
        self.ui.measureButton.click()
        finished = self.finishMeasurement()
        self.assertEqual(finished.state, "failed")
        self.assertIn("no region 'pons'", self.ui.suvrStatusLabel.text)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode"), before)
