"""What the tests of the window share. Not a test."""

import os
import time
import unittest
from pathlib import Path
from unittest import mock

try:
    import slicer
except ImportError:  # plain Python without slicer-core
    slicer = None

HAS_WINDOW = hasattr(slicer, "app") and hasattr(slicer, "util") and slicer.app is not None


class WindowTestCase(unittest.TestCase):
    """A test that drives the window of MRI2PETSynthesis in Slicer's application; skipped elsewhere.

    With the environment variable MRI2PET_SCREENSHOTS set to a folder, pictures are saved there.
    """

    def setUp(self):
        if not HAS_WINDOW:
            self.skipTest("needs Slicer's application")
        patch = mock.patch.object(slicer.util, "errorDisplay")  # it would wait for a click
        self.errors = patch.start()
        self.addCleanup(patch.stop)
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("MRI2PETSynthesis")
        self.open()
        self.shots = os.environ.get("MRI2PET_SCREENSHOTS")
        self.number = 0

    def open(self):
        self.widget = slicer.util.getModuleWidget("MRI2PETSynthesis")
        self.ui = self.widget.ui

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
        self.wait(lambda: self.widget.run is not None and not self.widget.run.is_active, seconds)
        self.settle()
        self.assertEqual(self.widget.run.finished.state, "done", self.ui.logText.plainText)

    def shot(self, name):
        self.settle()
        if self.shots:
            self.number += 1
            Path(self.shots).mkdir(parents=True, exist_ok=True)
            slicer.util.mainWindow().grab().save(f"{self.shots}/{self.number:02d}-{name}.png")
