"""Nothing in the panel is squeezed or cut: windows of three sizes, three sizes of letters, both styles."""

try:
    import qt
except ImportError:  # plain Python
    qt = None
from MRI2PETSynthesisWindow import WindowTestCase, slicer

WINDOWS = ((1280, 800), (1920, 1080), (2560, 1440))
LETTERS = (0.9, 1.0, 1.5)
LONG = "sub-01_ses-baseline_acq-mprage_run-01_desc-defaced_T1w with a name that nobody can read at once"


class MRI2PETSynthesisSizesTest(WindowTestCase):
    def setUp(self):
        super().setUp()
        import numpy as np

        main = slicer.util.mainWindow()
        font, style, size = qt.QApplication.font(), slicer.app.style().objectName, main.size
        self.addCleanup(
            lambda: (qt.QApplication.setFont(font), slicer.app.setStyle(style), main.resize(size))
        )
        voxels = np.random.default_rng(0).random((70, 70, 70)).astype(np.float32)
        t1 = slicer.util.addVolumeFromArray(voxels, name=LONG)
        t1.SetSpacing(2.5, 2.5, 2.5)
        pet = slicer.util.addVolumeFromArray(voxels, name="PET of " + LONG)
        self.ui.t1Selector.setCurrentNode(t1)
        self.ui.petSelector.setCurrentNode(pet)  # without a unit: a warning of several lines
        self.ui.suvrPetSelector.setCurrentNode(pet)
        self.ui.suvrT1Selector.setCurrentNode(t1)
        self.addCleanup(lambda: self.ui.taskComboBox.setCurrentIndex(0))
        for section in self.sections():
            section.collapsed = False

    def sections(self):
        return [w for w in widgets(self.widget.parent) if w.className() == "ctkCollapsibleButton"]

    def test_texts_have_the_room_that_they_need(self):
        main, points = slicer.util.mainWindow(), qt.QApplication.font().pointSizeF()
        main.showNormal()
        faults = []
        for style in ("Light Slicer", "Dark Slicer"):
            slicer.app.setStyle(style)
            for letters in LETTERS:
                font = qt.QApplication.font()
                font.setPointSizeF(letters * points)
                qt.QApplication.setFont(font)
                for width, height in WINDOWS:
                    main.resize(width, height)
                    for task in (0, 1):
                        self.ui.taskComboBox.setCurrentIndex(task)
                        self.settle(0.3)
                        case = f"task {task}, {style}, letters {letters}, {width} x {height}"
                        faults += [f"{case}: {fault}" for fault in self.faults()]
                        if (letters, width) == (1.5, 1280):
                            self.shot(f"{style.split()[0]}-large-{task}")
        self.assertEqual(faults, [])

    def faults(self):
        """What is squeezed, cut, or makes the panel take more than half of the window."""
        faults = []
        for widget in widgets(self.widget.parent):
            if not widget.visible or not hasattr(widget, "text"):
                continue
            what = f"{widget.className()} {widget.objectName} ({widget.width} x {widget.height})"
            if widget.className() == "QLabel" and widget.wordWrap:
                needed = widget.heightForWidth(widget.width)
                if widget.text and widget.height < needed:
                    faults.append(f"{what}: needs a height of {needed}")
            elif widget.className() in ("QLabel", "QPushButton", "QToolButton", "QCheckBox"):
                hint = widget.sizeHint
                if widget.text and (widget.width < hint.width() or widget.height < hint.height()):
                    faults.append(f"{what}: needs {hint.width()} x {hint.height()}")
        panel = slicer.util.findChild(slicer.util.mainWindow(), "PanelDockWidget")
        if panel.width > slicer.util.mainWindow().width / 2:
            faults.append(f"the panel is {panel.width} wide")
        return faults


def widgets(top):
    """All widgets below one."""
    below = [child for child in top.children() if hasattr(child, "visible")]
    return below + [widget for child in below for widget in widgets(child)]
