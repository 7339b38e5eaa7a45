"""What may happen to the window while something runs, and what it does with inputs that cannot be used."""

import gc
import os

import numpy as np
from MRI2PETSynthesisWindow import WindowTestCase, slicer

try:
    from MRI2PETLib.scene.layout import set_layout
except ImportError:  # plain Python
    set_layout = None


class MRI2PETSynthesisLifeTest(WindowTestCase):
    def setUp(self):
        super().setUp()
        from MRI2PETLib.scene.images import add_volume
        from MRI2PETLib.simulation import simulate_subject

        person = simulate_subject(3, spacing_mm=3.0)
        self.t1 = add_volume(slicer.mrmlScene, person.t1, "anna")
        self.mask = add_volume(slicer.mrmlScene, person.brain_mask, "anna mask", labels=True)
        self.ui.t1Selector.setCurrentNode(self.t1)
        self.ui.maskSelector.setCurrentNode(self.mask)
        self.wait(lambda: self.ui.applyButton.enabled, 60)

    def test_closing_the_scene_ends_the_run(self):
        pid = self.start()
        slicer.mrmlScene.Clear()
        self.settle()
        self.assertEqual(self.widget.run.finished.state, "cancelled")
        if os.name != "nt":  # there, signal 0 ends a process
            self.assertFalse(is_alive(pid))
        self.assertIsNone(self.ui.t1Selector.currentNode())
        self.assertEqual(self.ui.applyButton.text, "Apply")
        self.assertFalse(self.ui.checkButton.enabled)
        self.assertEqual(self.ui.statusLabel.text, "Choose a T1.")

    def test_closing_the_scene_gives_its_images_back(self):
        self.start()
        self.finish()
        deleted = []
        volumes = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
        for volume in volumes:
            volume.GetImageData().AddObserver("DeleteEvent", lambda *_: deleted.append(1))
        count = len(volumes)
        self.t1 = self.mask = volume = volumes = None
        slicer.mrmlScene.Clear()
        self.settle()
        gc.collect()
        self.assertEqual((count > 3, len(deleted)), (True, count))

    def test_closing_the_scene_leaves_views_that_are_called_after_a_result(self):
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        for name, after in (("readouts", "overlay"), ("overlay", "overlay")):
            set_layout(slicer.mrmlScene, after)
            number = layout.GetViewArrangement()
            set_layout(slicer.mrmlScene, name)
            slicer.mrmlScene.Clear()
            self.settle()
            self.assertEqual(layout.GetViewArrangement(), number)

    def test_deleting_the_t1_keeps_the_result(self):
        self.start()
        slicer.mrmlScene.RemoveNode(self.t1)
        self.finish()
        self.assertIn("SUVR) of anna", self.ui.resultSelector.currentNode().GetName())
        self.assertIn("Choose a T1.", self.ui.applyButton.toolTip)

    def test_a_run_ends_well_while_another_module_is_shown(self):
        self.start()
        slicer.util.selectModule("Data")
        self.finish()
        slicer.util.selectModule("MRI2PETSynthesis")
        self.settle()
        result = self.ui.resultSelector.currentNode()
        self.assertIn("SUVR) of anna", result.GetName())
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        self.assertEqual(composite.GetForegroundVolumeID(), result.GetID())
        self.assertEqual(self.ui.applyButton.text, "Apply")

    def test_two_people_one_after_the_other(self):
        self.start()
        self.finish()
        first = self.ui.resultSelector.currentNode()
        other = slicer.vtkSlicerVolumesLogic.CloneVolume(slicer.mrmlScene, self.t1, "bert")
        self.ui.t1Selector.setCurrentNode(other)
        self.ui.maskSelector.setCurrentNode(self.mask)
        self.ui.petSelector.setCurrentNode(self.t1)
        self.assertFalse(self.ui.compareButton.enabled)
        self.assertIn("another T1: anna", self.ui.compareButton.toolTip)
        self.ui.petSelector.setCurrentNode(None)
        self.start()
        self.finish()
        self.assertIn("SUVR) of bert", self.ui.resultSelector.currentNode().GetName())
        self.ui.resultSelector.setCurrentNode(first)
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        self.assertEqual(composite.GetForegroundVolumeID(), first.GetID())
        self.assertEqual(composite.GetBackgroundVolumeID(), self.t1.GetID())

    def test_inputs_that_cannot_be_used(self):
        """The light says it, and Apply, with its reason; the scene stays as it was."""
        shear = np.eye(4)
        shear[0, 1] = 0.5
        sheared = slicer.vtkSlicerVolumesLogic.CloneVolume(slicer.mrmlScene, self.t1, "sheared")
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shear))
        sheared.SetAndObserveTransformNodeID(transform.GetID())
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        flat = slicer.util.addVolumeFromArray(np.zeros((60, 60, 60), np.float32), name="flat")
        before = slicer.mrmlScene.GetNumberOfNodes()
        for node, reason in ((sheared, "sheared"), (empty, "no voxels"), (flat, "single value")):
            self.ui.t1Selector.setCurrentNode(node)
            self.assertTrue(
                self.ui.checksLabel.text.startswith('<span style="color:#B3261E">'), node.GetName()
            )
            self.assertFalse(self.ui.applyButton.enabled)
            self.assertIn(reason, self.ui.applyButton.toolTip)
            self.assertIn(reason, self.ui.statusLabel.text)
            self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_a_refusal_stays_on_the_lights_until_the_input_changes(self):
        noise = np.random.default_rng(0).normal(100, 20, (60, 60, 60)).astype(np.float32)
        volume = slicer.util.addVolumeFromArray(noise, name="noise")
        volume.SetSpacing(3, 3, 3)
        self.ui.maskSelector.setCurrentNode(None)
        self.ui.t1Selector.setCurrentNode(volume)
        self.ui.applyButton.click()
        self.wait(lambda: self.errors.called, 600)
        self.settle()
        self.assertTrue(self.ui.checksLabel.text.startswith('<span style="color:#B3261E">'))
        self.assertFalse(self.ui.applyButton.enabled)
        self.assertIn("brain", self.ui.applyButton.toolTip)
        self.ui.t1Selector.setCurrentNode(self.t1)
        self.ui.maskSelector.setCurrentNode(self.mask)
        self.assertTrue(self.ui.applyButton.enabled)
        self.assertEqual(self.ui.statusLabel.text, "")

    def test_a_mask_from_elsewhere_is_refused(self):
        far = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        shift = np.eye(4)
        shift[0, 3] = 900
        far.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
        self.mask.SetAndObserveTransformNodeID(far.GetID())
        self.ui.applyButton.click()
        self.wait(lambda: self.errors.called, 600)
        self.assertIn("no voxel inside the T1", self.errors.call_args[0][0])

    def test_a_segment_on_another_grid_is_a_mask(self):
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
        segmentation.CreateDefaultDisplayNodes()
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(self.mask, segmentation)
        fine = slicer.vtkSlicerVolumesLogic.CloneVolume(slicer.mrmlScene, self.t1, "shifted")
        fine.SetOrigin(*(c + 1.0 for c in fine.GetOrigin()))
        self.ui.t1Selector.setCurrentNode(fine)
        self.ui.maskSelector.setCurrentNode(segmentation)
        self.start()
        self.finish()
        self.assertEqual(self.ui.resultSelector.currentNode().GetOrigin(), fine.GetOrigin())

    def test_reload(self):
        slicer.util.reloadScriptedModule("MRI2PETSynthesis")
        self.settle()
        self.open()
        self.assertEqual(self.ui.t1Selector.currentNode().GetID(), self.t1.GetID())
        self.assertEqual(self.ui.maskSelector.currentNode().GetID(), self.mask.GetID())
        self.assertTrue(self.ui.applyButton.enabled)

    def test_console(self):
        logic = slicer.util.getModuleLogic("MRI2PETSynthesis")
        nodes = logic.synthesize(self.t1, maskNode=self.mask, device="cpu")
        self.assertIsNotNone(slicer.mrmlScene.GetNodeByID(nodes.pet))
        finished = []
        logic.synthesize(self.t1, maskNode=self.mask, device="cpu", onFinished=finished.append)
        self.wait(lambda: finished, 900)
        self.assertEqual(finished[0].state, "done")
        self.assertNotEqual(finished[0].nodes.pet, nodes.pet)

    def start(self):
        """Press Apply; the child's process number."""
        self.ui.applyButton.click()
        self.wait(lambda: self.ui.progressBar.value > 0, 300)
        return self.widget.run._job.pid


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
