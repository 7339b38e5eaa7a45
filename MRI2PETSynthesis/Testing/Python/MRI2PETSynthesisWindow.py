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
WIDTH, HEIGHT = 1280, 800


class WindowDriver:
    """Works the event loop of a window while a test waits, and saves pictures to MRI2PET_SCREENSHOTS.

    For a test case with the window's ``ui``.
    """

    shots = os.environ.get("MRI2PET_SCREENSHOTS")
    number = 0

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

    def shot(self, name):
        self.settle()
        if self.shots:
            self.number += 1
            Path(self.shots).mkdir(parents=True, exist_ok=True)
            slicer.util.mainWindow().grab().save(f"{self.shots}/{self.number:02d}-{name}.png")

    def reveal(self, widget):
        """Scroll the panel until a widget of it is seen."""
        panel = slicer.util.findChild(slicer.util.mainWindow(), "PanelDockWidget")
        self.settle(0.2)
        for area in slicer.util.findChildren(panel, className="QScrollArea"):
            area.ensureWidgetVisible(widget)


class WindowTestCase(WindowDriver, unittest.TestCase):
    """A test that drives the window of MRI2PETSynthesis in Slicer's application; skipped elsewhere."""

    def setUp(self):
        if not HAS_WINDOW:
            self.skipTest("needs Slicer's application")
        patch = mock.patch.object(slicer.util, "errorDisplay")  # it would wait for a click
        self.errors = patch.start()
        self.addCleanup(patch.stop)
        slicer.util.mainWindow().resize(WIDTH, HEIGHT)
        slicer.mrmlScene.Clear()
        slicer.util.selectModule("MRI2PETSynthesis")
        self.open()

    def open(self):
        self.widget = slicer.util.getModuleWidget("MRI2PETSynthesis")
        self.ui = self.widget.ui

    def finish(self, seconds=900):
        self.wait(lambda: self.widget.run is not None and not self.widget.run.is_active, seconds)
        self.settle()
        self.assertEqual(self.widget.run.finished.state, "done", self.ui.logText.plainText)
