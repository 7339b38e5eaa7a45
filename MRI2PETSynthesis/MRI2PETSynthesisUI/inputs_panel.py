"""The panel *Inputs*: the model and what it is, and the unit of the PET."""

from html import escape

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.core.options import PET_UNITS
from MRI2PETLib.models.bundle import DEMONSTRATION_NOTE
from MRI2PETLib.models.store import find_bundle, list_bundles
from MRI2PETLib.scene.files import choose_unit, chosen_unit
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETSynthesisUI.running import chooseModelFolder


class InputsPanel:
    """Fills the model's list and shows its card. The parameter node holds the model's name."""

    def __init__(self, ui, onModelChanged, onUnitChanged) -> None:
        self._ui = ui
        self._onModelChanged, self._onUnitChanged = onModelChanged, onUnitChanged
        self._pet = None
        self.tracer = ""  # of the model
        ui.modelComboBox.connect("activated(int)", self._onActivated)
        ui.modelBrowseButton.connect("clicked()", self._onBrowse)
        ui.modelCardButton.connect("clicked()", self._onCard)
        self.refreshModels()
        ui.petUnitComboBox.addItem(_("as the file states"), "")
        for unit in PET_UNITS:
            ui.petUnitComboBox.addItem(unit, unit)
        ui.petUnitComboBox.addItem(_("not known"), "unknown")
        ui.petUnitComboBox.connect("currentIndexChanged(int)", self._onUnit)

    def showUnit(self, pet) -> None:
        """The unit that the user stated for a PET: that of another one stays with that one."""
        self._pet, combo = pet, self._ui.petUnitComboBox
        combo.blockSignals(True)
        combo.setCurrentIndex(max(0, combo.findData(chosen_unit(pet) or "")))
        combo.blockSignals(False)

    def _onUnit(self, _index) -> None:
        combo = self._ui.petUnitComboBox
        if self._pet is not None:
            choose_unit(self._pet, combo.itemData(combo.currentIndex) or None)
            self._onUnitChanged()

    def refreshModels(self) -> None:
        """List the models again; the chosen one stays."""
        combo = self._ui.modelComboBox
        current = self.model()
        combo.blockSignals(True)
        combo.clear()
        for bundle in list_bundles()[0]:
            if bundle.space.target_modality == "PET":
                combo.addItem(bundle.metadata.get("name", bundle.id), bundle.id)
        combo.blockSignals(False)
        if current:
            self.setModel(current)

    def model(self) -> str:
        """Id or folder of the chosen model."""
        combo = self._ui.modelComboBox
        return str(combo.itemData(combo.currentIndex) or "")

    def setModel(self, model: str) -> None:
        """Choose a model by id or folder; one that is not listed is added to the list."""
        combo = self._ui.modelComboBox
        index = combo.findData(model)
        if index < 0 and model:
            combo.addItem(model, model)
            index = combo.count - 1
        combo.setCurrentIndex(index)
        self._describe(model)

    def _describe(self, model: str) -> None:
        summary = notice = self.tracer = ""
        try:
            bundle = find_bundle(model)
            about, self.tracer = bundle.metadata, bundle.tracer
            summary = _("{description} Licence: {licence}.").format(
                description=about["description"], licence=about.get("license", _("not stated"))
            )
            if bundle.is_demonstration:
                notice = DEMONSTRATION_NOTE
        except MRI2PETError as error:
            summary = str(error)
        combo = self._ui.modelComboBox
        combo.toolTip = f"<b>{escape(combo.currentText)}</b><br>{escape(summary)}"
        general = _("A synthetic PET is computed from the T1: it is not a measurement. Research use only.")
        self._ui.noticeLabel.text = f"<b>{escape(notice)}</b> {escape(general)}".strip()

    def _onActivated(self, _index) -> None:
        self._describe(self.model())
        self._onModelChanged(self.model())

    def _onBrowse(self) -> None:
        folder = chooseModelFolder(find_bundle)
        if folder:
            self.setModel(folder)
            self._onModelChanged(folder)

    def _onCard(self) -> None:
        with errorDisplay(_("The model card cannot be shown.")):
            bundle = find_bundle(self.model())
            dialog = qt.QDialog(slicer.util.mainWindow())
            dialog.windowTitle = _("Model card: {model}").format(model=bundle.id)
            dialog.resize(760, 640)
            layout = qt.QVBoxLayout(dialog)
            browser = qt.QTextBrowser(dialog)
            browser.setMarkdown(bundle.card() or _("This model has no card."))
            layout.addWidget(browser)
            dialog.exec_()
