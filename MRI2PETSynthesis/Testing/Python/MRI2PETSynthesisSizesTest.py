"""Nothing in the panels of both modules is squeezed, cut or unreadable: three sizes of windows and letters,
both styles.
"""

import re
from collections import Counter

try:
    import qt
except ImportError:  # plain Python
    qt = None
from MRI2PETSynthesisWindow import WindowTestCase, slicer

WINDOWS = ((1280, 800), (1600, 1000), (2560, 1440))
LETTERS = (0.9, 1.0, 1.5)
PAGES = (0, 1, "training")
CONTRAST = 4.5  # of a text and its ground: WCAG 2.1, success criterion 1.4.3
LONG = "sub-01_ses-baseline_acq-mprage_run-01_desc-defaced_T1w with a name that nobody can read at once"


class MRI2PETSynthesisSizesTest(WindowTestCase):
    def setUp(self):
        super().setUp()
        import numpy as np

        main = slicer.util.mainWindow()
        font, size = qt.QApplication.font(), main.size
        self.addCleanup(
            lambda: (qt.QApplication.setFont(font), self.choose("Light Slicer"), main.resize(size))
        )
        voxels = np.random.default_rng(0).random((70, 70, 70)).astype(np.float32)
        t1 = slicer.util.addVolumeFromArray(voxels, name=LONG)
        t1.SetSpacing(2.5, 2.5, 2.5)
        pet = slicer.util.addVolumeFromArray(voxels, name="PET of " + LONG)
        self.addCleanup(slicer.util.selectModule, "MRI2PETSynthesis")
        self.ui.t1Selector.setCurrentNode(t1)
        self.ui.petSelector.setCurrentNode(pet)  # without a unit: a warning of several lines
        self.ui.suvrPetSelector.setCurrentNode(pet)
        self.ui.suvrT1Selector.setCurrentNode(t1)
        self.addCleanup(lambda: self.ui.taskComboBox.setCurrentIndex(0))
        for page in PAGES:
            self.show(page)
            for section in self.sections():
                section.collapsed = False
        for label in (self.ui.comparedLabel, self.ui.roiResultLabel):
            label.text = f"{LONG}: " + "synthetic 1.32 SUVR, real 1.08 SUVR; NormDiff, median +0.092; " * 4

    def choose(self, style):
        """As *Appearance* of Slicer's settings does: the style's colours are a palette of their own."""
        slicer.app.setStyle(style)
        slicer.app.setPalette(slicer.app.style().standardPalette())

    def sections(self):
        return [w for w in widgets(self.panel) if w.className() == "ctkCollapsibleButton"]

    def show(self, page):
        """One of the two tasks of the synthesis, or the training."""
        slicer.util.selectModule("MRI2PETTraining" if page == "training" else "MRI2PETSynthesis")
        if page != "training":
            self.ui.taskComboBox.setCurrentIndex(page)
        self.settle(0.3)

    @property
    def panel(self):
        return slicer.util.getModuleWidget(slicer.util.selectedModule()).parent

    def test_texts_have_the_room_that_they_need(self):
        main, points = slicer.util.mainWindow(), qt.QApplication.font().pointSizeF()
        main.showNormal()
        faults = []
        for style in ("Light Slicer", "Dark Slicer"):
            self.choose(style)
            for letters in LETTERS:
                font = qt.QApplication.font()
                font.setPointSizeF(letters * points)
                qt.QApplication.setFont(font)
                for width, height in WINDOWS:
                    main.resize(width, height)
                    for page in PAGES:
                        self.show(page)
                        case = f"{page}, {style}, letters {letters}, {width} x {height}"
                        faults += [f"{case}: {fault}" for fault in self.faults()]
                        if (letters, width) == (1.5, 1280):
                            self.shot(f"{style.split()[0]}-large-{page}")
        self.assertEqual(faults, [])

    def test_texts_can_be_read_in_both_styles(self):
        faults = []
        for style, isDark in (("Light Slicer", False), ("Dark Slicer", True)):
            self.choose(style)
            for page in PAGES:
                self.show(page)
                labels = list(texts(self.panel))
                self.assertGreater(len(labels), 20)
                for widget in labels:
                    ground, contrast = readable(widget)
                    what = f"{style}, {page}: {widget.className()} {widget.objectName} {words(widget)!r}"
                    if (luminance(ground) < 0.2) != isDark:
                        faults.append(f"{what}: on {ground:06X}")
                    if contrast < CONTRAST:
                        faults.append(f"{what}: contrast {contrast:.1f} on {ground:06X}")
                self.shot(f"{style.split()[0]}-{page}")
        self.assertEqual(faults, [])

    def test_views_have_names_that_can_be_read(self):
        from MRI2PETLib.scene.layout import set_layout

        self.show(0)
        set_layout(slicer.mrmlScene, "readouts")
        self.settle()
        manager = slicer.app.layoutManager()
        views = [manager.sliceWidget(name) for name in manager.sliceViewNames()]
        for widget in (view for view in views if view.visible):
            label = slicer.util.findChild(widget.sliceController(), "ViewLabel")
            picture = label.parent().grab(label.geometry)
            self.assertGreaterEqual(readable(label, picture)[1], CONTRAST, label.text)
            self.assertGreaterEqual(label.width, label.sizeHint.width(), label.text)
        self.shot("views")

    def faults(self):
        """What is squeezed, cut, or makes the panel take more than half of the window."""
        faults = [
            f"{section.objectName}: {section.height} high, needs {section.heightForWidth(section.width)}"
            for section in self.sections()
            if section.visible and section.height < section.heightForWidth(section.width)
        ]
        for widget in widgets(self.panel):
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


def words(widget):
    """What a widget shows as text, empty where it is a picture or a list."""
    return str(getattr(widget, "text", "") or getattr(widget, "currentText", "") or "")


def texts(top):
    """All widgets below one that show text and can be used."""
    kinds = ("QLabel", "QPushButton", "QToolButton", "QCheckBox", "QLineEdit", "QComboBox", "ctkComboBox")
    for widget in widgets(top):
        if widget.className() in kinds and widget.visible and widget.enabled and words(widget):
            yield widget


def readable(widget, picture=None):
    """Colour of the ground of a text, as it is drawn, and the lowest contrast: of the strongest colour drawn
    there, and of those that the text names.

    :param picture: of the widget, where it does not draw its ground itself.
    """
    image = (picture or widget.grab()).toImage()
    pixels = Counter(
        image.pixel(x, y) & 0xFFFFFF for x in range(image.width()) for y in range(image.height())
    )
    ground = pixels.most_common(1)[0][0]
    own = [int(color, 16) for color in re.findall("color:#([0-9A-F]{6})", words(widget))]
    strongest = max(contrast(color, ground) for color in pixels)
    return ground, min([strongest, *(contrast(color, ground) for color in own)])


def contrast(color, other):
    """Ratio of the relative luminances of two sRGB colours, as WCAG 2.1 defines them."""
    dark, light = sorted((luminance(color), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    channels = [((color >> shift) & 255) / 255 for shift in (16, 8, 0)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
