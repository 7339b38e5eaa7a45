"""What is known of images and results outlives edits, saving and loading, and no longer what it is about."""

import json
import tempfile
from pathlib import Path

import numpy as np
from MRI2PETSynthesisWindow import WindowTestCase, slicer

RED = '<span style="color:#B3261E">'


class MRI2PETSynthesisVerdictTest(WindowTestCase):
    def setUp(self):
        super().setUp()
        from MRI2PETLib.scene.images import add_volume
        from MRI2PETLib.scene.results import Synthetic, add_result
        from MRI2PETLib.scene.verdict import keep_verdict
        from MRI2PETLib.simulation import simulate_subject
        from MRI2PETLib.synthesis.checks import Check

        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        person, self.check = simulate_subject(3, spacing_mm=6.0), Check
        self.t1 = add_volume(slicer.mrmlScene, person.t1, "anna")
        self.ui.t1Selector.setCurrentNode(self.t1)
        provenance = {"model": {"id": "by hand"}}
        result = Synthetic(person.pet, person.brain_mask, "SUV", "Synthetic.", "PBR28", provenance=provenance)
        self.nodes = add_result(slicer.mrmlScene, result, self.t1)
        keep_verdict(slicer.mrmlScene, self.nodes, synthesis=[Check("brain", "warn", "900 mL. Small.")])
        self.settle()

    def test_a_result_brings_its_verdict_also_in_a_scene_that_was_saved(self):
        self.assertNotIn("900 mL", self.ui.checksLabel.text)
        self.ui.resultSelector.setCurrentNodeID(self.nodes.pet)
        self.settle()
        self.shot("verdict-of-a-result")
        name = slicer.mrmlScene.GetNodeByID(self.nodes.pet).GetName()
        for _ in range(2):
            self.assertIn("900 mL", self.ui.checksLabel.text)
            self.assertEqual(self.ui.statusLabel.text, f"{name}: 1 warning (brain).")
            slicer.util.saveScene(str(self.folder / "scene.mrb"))
            slicer.mrmlScene.Clear()
            self.settle()
            self.assertNotIn("900 mL", self.ui.checksLabel.text)
            slicer.util.loadScene(str(self.folder / "scene.mrb"))
            self.settle()
        t1 = self.ui.t1Selector.currentNode()
        slicer.util.arrayFromVolume(t1)[0, 0, 0] += 1
        slicer.util.arrayFromVolumeModified(t1)
        self.settle(1)
        self.assertNotIn("900 mL", self.ui.checksLabel.text)  # of the T1 as it was

    def test_a_red_light_goes_when_its_segmentation_is_edited(self):
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.t1)
        segment = segmentation.GetSegmentation().AddEmptySegment("brain")
        self.ui.maskSelector.setCurrentNode(segmentation)
        self.widget.lights.add([self.check("brain", "refuse", "3 mL.")])
        self.widget.updateGUI()
        self.assertTrue(self.ui.checksLabel.text.startswith(RED))
        self.assertFalse(self.ui.applyButton.enabled)
        drawn = np.zeros(slicer.util.arrayFromVolume(self.t1).shape, np.uint8)
        drawn[8:-8, 8:-8, 8:-8] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, segment, self.t1)
        self.settle(1)
        self.assertFalse(self.ui.checksLabel.text.startswith(RED))
        self.assertTrue(self.ui.applyButton.enabled)

    def test_a_synthetic_image_of_a_file_is_one_wherever_slicer_saves_it(self):
        from MRI2PETLib.images.io import write_image
        from MRI2PETLib.scene.images import image_of
        from MRI2PETLib.scene.origin import is_synthetic_node

        path = self.folder / "pet.nii.gz"
        write_image(image_of(self.t1), path, {"Synthetic": True, "Units": "SUVR", "TracerName": "PBR28"})
        node = slicer.util.loadVolume(str(path))
        (self.folder / "elsewhere").mkdir()
        slicer.util.saveNode(node, str(self.folder / "elsewhere" / "copy.nrrd"))
        self.assertTrue(is_synthetic_node(node))
        about = json.loads((self.folder / "elsewhere" / "copy.json").read_text(encoding="utf-8"))
        self.assertEqual(about, {"Synthetic": True, "TracerName": "PBR28", "Units": "SUVR"})
        self.ui.petSelector.setCurrentNode(node)
        self.settle()
        self.assertTrue(self.ui.checksLabel.text.startswith(RED))
        self.shot("origin-of-a-file")
