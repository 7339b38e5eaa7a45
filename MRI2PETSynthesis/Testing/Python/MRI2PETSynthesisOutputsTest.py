"""What Apply and Compare make: a new result or an earlier one overwritten, its layers, its report, a DICOM
series; and what of the panel reaches the run.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import SimpleITK as sitk
from MRI2PETSynthesisWindow import WindowTestCase, slicer


class MRI2PETSynthesisOutputsTest(WindowTestCase):
    def choose(self, seed, name):
        """A simulated person as the T1 of the window, with a brain mask; the person's nodes."""
        from MRI2PETLib.scene.images import add_volume
        from MRI2PETLib.simulation import simulate_subject

        person, scene = simulate_subject(seed, spacing_mm=3.0), slicer.mrmlScene
        nodes = SimpleNamespace(
            t1=add_volume(scene, person.t1, name),
            mask=add_volume(scene, person.brain_mask, f"{name} mask", labels=True),
            pet=add_volume(scene, person.pet, f"{name} PET"),
        )
        self.ui.petSelector.setCurrentNode(None)
        self.ui.t1Selector.setCurrentNode(nodes.t1)
        self.ui.maskSelector.setCurrentNode(nodes.mask)
        return nodes

    def apply(self):
        """Press Apply; the nodes of the result that is then shown."""
        from MRI2PETLib.scene.results import result_nodes

        self.wait(lambda: self.ui.applyButton.enabled, 60)
        self.ui.applyButton.click()
        self.finish()
        return result_nodes(slicer.mrmlScene, self.ui.resultSelector.currentNode().GetID())

    def choosePet(self, pet):
        self.ui.petSelector.setCurrentNode(pet)
        self.ui.petUnitComboBox.setCurrentText("SUV")

    def test_a_result_is_new_or_takes_the_place_of_an_earlier_one(self):
        from MRI2PETLib.scene.display import composites

        scene, ui = slicer.mrmlScene, self.ui
        anna = self.choose(3, "anna")
        self.choosePet(anna.pet)
        first = self.apply()
        self.assertIsNotNone(first.normdiff)
        count = scene.GetNumberOfNodes()
        ui.petSelector.setCurrentNode(None)
        second = self.apply()
        self.assertNotEqual(second.pet, first.pet)
        self.assertGreater(scene.GetNumberOfNodes(), count)

        # In the place of the first, whose comparison and layers were shown: none of them is left
        ui.resultSelector.setCurrentNode(scene.GetNodeByID(first.pet))
        ui.layoutComboBox.currentText = "overlay"
        self.widget.display._onOverlay(ui.overlayComboBox.findData("normdiff"))
        ui.outputSelector.setCurrentNode(scene.GetNodeByID(first.pet))
        bert = self.choose(4, "bert")
        self.assertEqual(ui.t1Selector.currentNode(), bert.t1)
        self.assertIsNone(ui.outputSelector.currentNode())  # another person's is not overwritten
        ui.outputSelector.setCurrentNode(scene.GetNodeByID(first.pet))
        self.settle(0.2)
        self.assertFalse(ui.applyButton.enabled)
        self.assertIn("of another T1, anna", ui.applyButton.toolTip)
        ui.t1Selector.setCurrentNode(anna.t1)
        self.assertIsNone(ui.maskSelector.currentNode())  # it was bert's
        ui.maskSelector.setCurrentNode(anna.mask)
        ui.outputSelector.setCurrentNode(scene.GetNodeByID(first.pet))
        third = self.apply()
        self.assertEqual(third.pet, first.pet)
        self.assertIsNone(third.normdiff)
        self.assertEqual(third.t1, anna.t1.GetID())
        self.assertIsNone(scene.GetNodeByID(first.normdiff))
        foregrounds = {c.GetForegroundVolumeID() for c in composites(scene)} - {None}
        self.assertEqual(foregrounds, {third.pet})
        self.assertEqual({c.GetBackgroundVolumeID() for c in composites(scene)}, {third.t1})
        self.assertEqual(ui.overlayComboBox.currentText, "synthetic PET")
        self.assertFalse(ui.swipeCheckBox.enabled)
        self.shot("overwritten")

        # Once more: as many nodes, the same names
        names = sorted(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode"))
        count = scene.GetNumberOfNodes()
        self.assertEqual(self.apply().pet, first.pet)
        self.assertEqual(scene.GetNumberOfNodes(), count)
        again = sorted(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode"))
        self.assertEqual(again, names)

    def test_layers_and_report(self):
        from MRI2PETLib.reports.colors import SD_IN_SLICER
        from MRI2PETLib.scene.layout import OVERLAYS
        from MRI2PETSynthesisUI import exports

        scene, ui = slicer.mrmlScene, self.ui
        anna = self.choose(3, "anna")
        self.choosePet(anna.pet)
        nodes = self.apply()
        ui.layoutComboBox.currentText = "overlay"
        combo = ui.overlayComboBox
        self.assertIsNone(nodes.sd)  # of an ensemble only where it was asked for
        roles = [role for role in OVERLAYS if role != "sd"]
        self.assertEqual([combo.itemText(n) for n in range(combo.count)], [OVERLAYS[r] for r in roles])
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        unit = scene.GetNodeByID(nodes.pet).GetAttribute("MRI2PET.Unit")
        titles = {"pet": unit, "real": unit, "normdiff": "NormDiff"}
        for n, role in enumerate(roles):
            combo.setCurrentIndex(n)
            combo.activated.emit(n)  # as a click on it does
            self.settle(0.2)
            volume = scene.GetNodeByID(getattr(nodes, role))
            self.assertEqual(composite.GetForegroundVolumeID(), volume.GetID())
            self.assertEqual(combo.currentText, OVERLAYS[role])
            self.assertEqual(ui.maximumSlider.enabled, role in ("pet", "real"))
            legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
            self.assertEqual(legend.GetTitleText(), titles.get(role, f"SD ({unit})"))
            self.shot(role)
        inside = slicer.util.arrayFromVolume(scene.GetNodeByID(nodes.mask)) > 0
        sd = slicer.util.arrayFromVolume(scene.GetNodeByID(nodes.error_sd))
        self.assertTrue((sd[inside] >= 0).all() and 0 < sd[inside].mean() < 1)
        display = scene.GetNodeByID(nodes.error_sd).GetDisplayNode()
        self.assertEqual(display.GetColorNodeID(), SD_IN_SLICER)

        # That between the networks, asked for in the console, is a layer of its result
        logic = slicer.util.getModuleLogic("MRI2PETSynthesis")
        more = logic.synthesize(anna.t1, maskNode=anna.mask, device="cpu", member_sd=True)
        ui.resultSelector.setCurrentNode(scene.GetNodeByID(more.pet))
        self.settle(0.2)
        names = [OVERLAYS[role] for role in ("pet", "sd", "error_sd")]
        self.assertEqual([combo.itemText(n) for n in range(combo.count)], names)
        combo.activated.emit(1)
        self.assertEqual(composite.GetForegroundVolumeID(), more.sd)
        self.shot("sd")
        ui.resultSelector.setCurrentNode(scene.GetNodeByID(nodes.pet))
        self.settle(0.2)

        opened = []
        with mock.patch.object(exports.qt.QDesktopServices, "openUrl", opened.append, create=True):
            ui.reportButton.click()
        text = Path(opened[0].toLocalFile()).read_text(encoding="utf-8")
        self.assertEqual(self.errors.call_args, None)
        self.assertIn("niivue", text.lower())  # the viewer of the page
        self.assertIn("not a measurement", text)

    def test_the_layout_that_is_named_is_seen(self):
        from MRI2PETLib.scene.layout import shown_layout

        manager, scene, combo = slicer.app.layoutManager(), slicer.mrmlScene, self.ui.layoutComboBox
        anna = self.choose(3, "anna")
        nodes = self.apply()
        self.assertEqual((combo.currentText, shown_layout(scene)), ("overlay", "overlay"))
        composite = manager.sliceWidget("Red").mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(anna.pet.GetID())
        composite.SetForegroundVolumeID(None)
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.settle()
        self.assertEqual(combo.currentIndex, -1)
        combo.currentText = "overlay"
        combo.activated.emit(combo.currentIndex)  # as a click on it does
        self.settle()
        self.assertEqual(shown_layout(scene), "overlay")
        self.assertEqual(composite.GetForegroundVolumeID(), nodes.pet)
        slices = [manager.sliceWidget(name).sliceLogic().GetSliceOffset() for name in ("Red", "Green")]
        crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairRAS()
        self.assertAlmostEqual(crosshair[2], slices[0], 3)
        self.assertAlmostEqual(crosshair[1], slices[1], 3)
        slicer.util.selectModule("MRI2PETTraining")
        slicer.util.getModuleWidget("MRI2PETTraining").showViews()
        self.assertIsNone(shown_layout(scene))
        slicer.util.selectModule("MRI2PETSynthesis")
        self.settle()
        self.assertEqual((combo.currentText, shown_layout(scene)), ("overlay", "overlay"))
        self.assertTrue(manager.sliceWidget("Red").visible)

    def test_a_dicom_series_in_the_study_that_is_named(self):
        import pydicom

        from MRI2PETLib.images.io import read_image
        from MRI2PETSynthesisUI import readout_panel

        self.choose(3, "anna")
        self.assertFalse(self.ui.dicomButton.enabled)
        nodes = self.apply()
        with tempfile.TemporaryDirectory() as folder:
            out, study = Path(folder, "out"), Path(folder, "study")
            out.mkdir()
            study.mkdir()
            writeStudy(study / "IM0", "P7", "1.2.3")
            answers = [str(out), str(study)]
            dialogs = SimpleNamespace(getExistingDirectory=lambda *_arguments: answers.pop(0))
            with mock.patch.object(readout_panel, "qt", SimpleNamespace(QFileDialog=dialogs)):
                self.ui.readoutsButton.collapsed = False
                self.ui.dicomButton.click()
            self.assertEqual(self.errors.call_args, None)
            (series,) = out.iterdir()
            header = pydicom.dcmread(next(series.iterdir()))
            self.assertEqual((header.PatientID, header.StudyInstanceUID), ("P7", "1.2.3"))
            self.assertIn("SYNTHETIC PET", header.SeriesDescription)
            written = read_image(series, kind="pet").image
            synthetic = slicer.mrmlScene.GetNodeByID(nodes.pet)
            self.assertEqual(written.GetSize(), synthetic.GetImageData().GetDimensions())
            top = float(sitk.GetArrayViewFromImage(written).max())
            self.assertAlmostEqual(top, slicer.util.arrayFromVolume(synthetic).max(), places=3)

    def test_what_is_chosen_reaches_the_run(self):
        anna = self.choose(3, "anna")
        self.choosePet(anna.pet)
        node, ui = self.widget._parameterNode, self.ui
        settings = self.widget.logic.request(node).settings
        self.assertEqual((settings.samples, settings.steps, settings.seed), (1, 0, 0))
        ui.windowEdit.setText("60 90")
        ui.samplesSpinBox.value, ui.stepsSpinBox.value, ui.seedSpinBox.value = 7, 40, 5
        ui.precisionComboBox.setCurrentText("bf16")
        self.settle(0.2)
        request = self.widget.logic.request(node)
        self.assertEqual((request.window, request.pet_unit), ((60.0, 90.0), "SUV"))
        settings = request.settings
        self.assertEqual((settings.samples, settings.steps, settings.seed), (7, 40, 5))
        self.assertEqual(settings.precision, "bf16")
        self.assertEqual(self.widget.logic.normRequest(node, Path("norm")).settings.window, (60.0, 90.0))
        ui.windowEdit.setText("90 60")
        self.settle(0.2)
        self.assertFalse(ui.applyButton.enabled)
        self.assertIn("90", ui.applyButton.toolTip)
        self.shot("wrong-window")


def writeStudy(path, patient, study):
    """A DICOM file without an image, of this patient and study."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = f"{study}.1"
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.StudyInstanceUID = patient, study
    data.save_as(path, enforce_file_format=True)
