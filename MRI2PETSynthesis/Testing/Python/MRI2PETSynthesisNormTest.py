"""A norm from the button of the Training module to the section Norm: z of a person with a planted focus."""

import csv
import json
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
from MRI2PETSynthesisWindow import WindowTestCase, slicer

CONTROLS = 10
FOCUS_MNI_LPS = (26.0, -4.0, 2.0)  # left putamen


class MRI2PETSynthesisNormTest(WindowTestCase):
    def setUp(self):
        super().setUp()
        from MRI2PETLib.simulation import simulate_subject

        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.person = simulate_subject(3, spacing_mm=3.0)
        mask = sitk.GetArrayViewFromImage(self.person.brain_mask) > 0
        true = sitk.GetArrayViewFromImage(self.person.pet_true)
        self.suvr = np.where(mask, true / true[mask].mean(), 0)

    def pet(self, seed, focus=0.0):
        """SUVR of somebody with this anatomy: controls differ by 10 % where they differ.

        :param focus: what a ball of 9 mm has more, as a share.
        """
        from scipy import ndimage

        noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(self.suvr.shape), 2)
        values = self.suvr * (1 + 0.1 * noise / noise.std())
        centre = self.person.template_to_native.TransformPoint(FOCUS_MNI_LPS)
        middle = self.person.t1.TransformPhysicalPointToContinuousIndex(centre)[::-1]
        distance = np.linalg.norm(np.indices(values.shape).T - middle, axis=-1).T * 3.0
        image = sitk.GetImageFromArray((values * (1 + focus * (distance < 9))).astype(np.float32))
        image.CopyInformation(self.person.t1)
        return image, np.array(centre) * (-1, -1, 1)

    def finishedRun(self):
        """A cross-validation of controls of one anatomy, as the training leaves it; its folder."""
        from MRI2PETLib.evaluation.inputs import load_case
        from MRI2PETLib.evaluation.settings import CasePaths
        from MRI2PETLib.images.io import write_image
        from MRI2PETLib.models.store import find_bundle
        from MRI2PETLib.scene.files import write_synthetic
        from MRI2PETLib.scene.images import add_volume
        from MRI2PETTrainingLib.presets import read_preset
        from MRI2PETTrainingLib.settings import TrainingSettings

        run, scene = self.folder / "run", slicer.mrmlScene
        t1 = add_volume(scene, self.person.t1, "control")
        mask = add_volume(scene, self.person.brain_mask, "control mask", labels=True)
        nodes = slicer.util.getModuleLogic("MRI2PETSynthesis").synthesize(t1, maskNode=mask, device="cpu")
        (run / "fold_0").mkdir(parents=True)
        people = self.folder / "people"
        for number in range(CONTROLS):
            person = people / f"subject_{number:03d}"
            person.mkdir(parents=True)
            write_image(self.person.t1, person / "T1.nii.gz")
            about = {"Units": "SUVR", "Simulated": True}
            write_image(self.pet(number)[0], person / "PET.nii.gz", about)
        first = run / "fold_0" / "subject_000.nii.gz"
        write_synthetic(scene.GetNodeByID(nodes.pet), first)
        write_image(self.person.brain_mask, run / "mask.nii.gz")
        load_case(CasePaths(first, people / "subject_000/PET.nii.gz", people / "subject_000/T1.nii.gz"))
        rows = []
        for number in range(CONTROLS):
            case = f"subject_{number:03d}"
            for path in list(first.parent.glob("subject_000*")) if number else ():  # one warp serves all
                shutil.copyfile(path, first.parent / path.name.replace("subject_000", case))
            t1, pet = (people / case / f"{name}.nii.gz" for name in ("T1", "PET"))
            images = {"synthetic": f"fold_0/{case}.nii.gz", "pet": pet, "t1": t1, "mask": "mask.nii.gz"}
            rows.append({"case": case, "subject": case, "fold": 0, **images, "group": "control"})
        with (run / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        shutil.copytree(find_bundle("tspo-demo").folder, run / "ensemble")
        names = [row["case"] for row in rows]
        fold = {"number": 0, "train": [], "validation": [], "test": names}
        folds = {"method": "one", "seed": 1, "keep_together": ["subject"], "folds": [fold], "test_sites": []}
        settings = TrainingSettings(str(people), str(run), preset="smoke", folds=2)
        record = {"settings": settings.to_dict(), "content": {"preset": read_preset("smoke").to_dict()}}
        for name, content in {
            "folds.json": {"format": "mri2pet-folds-1", **folds},
            "fold_0/fold.json": {},
            "run.json": record,
            "report.html": "",
        }.items():
            (run / name).write_text(json.dumps(content))
        scene.Clear()
        return people, run

    def test_build_a_norm_and_compare_somebody_with_it(self):
        people, run = self.finishedRun()

        # Build norm: in the module Training, of the run that is chosen there
        slicer.util.selectModule("MRI2PETTraining")
        training = slicer.util.getModuleWidget("MRI2PETTraining")
        button = training.ui.normButton
        self.addCleanup(lambda: training.session.close(keep_running=False))
        self.assertFalse(button.enabled)
        training.ui.datasetEdit.text, training.ui.runEdit.text = str(people), str(run)
        self.wait(lambda: button.enabled, 30)
        self.assertEqual(training.ui.normGroupComboBox.currentText, f"Controls: control ({CONTROLS})")
        self.assertTrue(training.ui.normGroupComboBox.enabled)
        button.click()
        self.wait(lambda: training.norm.isBusy and training.ui.progressBar.value > 0, 100)
        self.assertEqual(button.text, "Cancel the norm")
        self.shot("building")
        self.wait(lambda: not training.norm.isBusy, 600)
        self.settle()
        self.assertIn(f"Norm of {CONTROLS} controls: {run / 'norm'}", training.ui.statusLabel.text)
        self.assertEqual(button.text, "Build norm")
        self.assertIn(str(run / "norm"), button.toolTip)
        self.shot("norm-of-a-run")

        # Compare with norm
        from MRI2PETLib.scene.images import add_volume

        slicer.util.selectModule("MRI2PETSynthesis")
        ui, panel, scene = self.ui, self.widget.norm, slicer.mrmlScene
        ui.normPathEdit.setText(str(run))
        ui.normButton.collapsed, ui.inputsButton.collapsed = False, True
        self.settle(0.2)
        self.assertIn("holds no norm", ui.normCompareButton.toolTip)
        ui.normPathEdit.setText(str(run / "norm"))
        self.settle(0.2)
        self.assertIn("Choose a T1 and the real PET", ui.normCompareButton.toolTip)
        self.assertFalse(ui.normCompareButton.enabled or ui.normPeakButton.enabled)
        image, focus = self.pet(99, focus=0.6)
        t1 = add_volume(scene, self.person.t1 * 1.01, "anna")
        ui.t1Selector.setCurrentNode(t1)
        ui.petSelector.setCurrentNode(add_volume(scene, image, "anna PET"))
        ui.maskSelector.setCurrentNode(add_volume(scene, self.person.brain_mask, "mask", labels=True))
        ui.petUnitComboBox.setCurrentText("SUVR")
        self.wait(lambda: ui.normCompareButton.enabled, 30)
        ui.normCompareButton.click()
        self.wait(lambda: not panel.isBusy, 600)
        self.settle()
        self.assertEqual(panel.run.finished.state, "done", ui.normStatusLabel.text)
        self.assertIn("Farthest region: left putamen", ui.normStatusLabel.text)

        # z over the T1, with its legend; its peak, also after another look
        nodes = panel._nodes()
        red = slicer.app.layoutManager().sliceWidget("Red")
        composite = red.mrmlSliceCompositeNode()
        layers = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
        self.assertEqual(layers, (t1.GetID(), nodes.z))
        z = scene.GetNodeByID(nodes.z)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(z)
        self.assertTrue(legend.GetVisibility() and legend.GetTitleText() == "z")
        red.sliceLogic().SetSliceOffset(0)
        ui.normPeakButton.click()
        peak = [view.mrmlSliceNode().GetSliceToRAS() for view in self.views()]
        peak = np.array([peak[2].GetElement(0, 3), peak[1].GetElement(1, 3), peak[0].GetElement(2, 3)])
        self.assertLess(np.linalg.norm(peak - focus), 8)
        crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        self.assertNotEqual(crosshair.GetCrosshairMode(), crosshair.NoCrosshair)
        self.assertLess(np.linalg.norm(np.array(crosshair.GetCrosshairRAS()) - peak), 0.1)
        self.reveal(ui.normReportButton)
        self.shot("z")
        values = slicer.util.arrayFromVolume(z)
        there = np.unravel_index(values.argmax(), values.shape)
        self.assertGreater(values[there], 4)

        # Its tables, the other map, the report
        table = ui.normTable.model()
        self.assertEqual(str(table.index(0, 0).data()), "left putamen")
        self.assertEqual(ui.normTable.mrmlTableNode().GetID(), nodes.regions)
        ui.normTableComboBox.setCurrentIndex(1)
        self.assertEqual(ui.normTable.mrmlTableNode().GetID(), nodes.clusters)
        ui.normMapComboBox.setCurrentIndex(1)
        self.assertEqual(composite.GetForegroundVolumeID(), nodes.z_unconditional)
        self.shot("unconditional")
        from MRI2PETSynthesisUI import exports

        opened = []
        with mock.patch.object(exports.qt.QDesktopServices, "openUrl", opened.append, create=True):
            ui.normReportButton.click()
        text = Path(opened[0].toLocalFile()).read_text(encoding="utf-8")
        self.assertTrue("left putamen" in text and "DEMONSTRATION" in text)

        # Another person is chosen: what was said was of the former one
        ui.petSelector.setCurrentNode(None)
        self.settle(0.2)
        self.assertFalse(ui.normCompareButton.enabled)

    def views(self):
        return [slicer.app.layoutManager().sliceWidget(name) for name in ("Red", "Green", "Yellow")]
