"""The panels *Inputs* and *Cases*: dataset, run folder, preset, the table of cases."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.models.store import list_bundles
from MRI2PETLib.scene.tables import node_text
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETTrainingLib.measured_times import time_text
from MRI2PETTrainingLib.presets import preset_names, read_preset
from MRI2PETTrainingLib.run_folder import summary
from MRI2PETTrainingLib.scene.training import write_edited

_SETTING = "MRI2PET/DatasetFolder"
_FOLDERS_AND_MACHINE = (
    *("datasetEdit", "datasetFolderButton", "datasetTableButton", "runEdit", "runFolderButton"),
    *("deviceComboBox", "workersSpinBox", "foldsAtOnceSpinBox"),
)
_SETTINGS = (
    *("presetComboBox", "foldsSpinBox", "epochsSpinBox", "batchSizeSpinBox", "precisionComboBox"),
    *("startFromComboBox", "startFromButton", "unpairedEdit", "unpairedButton", "vgg19Edit", "vgg19Button"),
    *("windowEdit", "referenceRegionComboBox", "seedSpinBox", "subjectPatternEdit", "excludeBadCheckBox"),
    *("leaveOneSiteOutCheckBox", "adjustGenotypeCheckBox"),
)


class DatasetPanel:
    """Chooses folders and the preset; shows the cases. The parameter node holds what was chosen."""

    def __init__(self, ui, onPreset, onStartFrom) -> None:
        self._ui = ui
        self._onPreset, self._onStartFrom = onPreset, onStartFrom
        self._session = None
        self._tips = {}
        ui.datasetFolderButton.connect("clicked()", lambda: self._chooseFolder(ui.datasetEdit))
        ui.runFolderButton.connect("clicked()", lambda: self._chooseFolder(ui.runEdit))
        ui.unpairedButton.connect("clicked()", lambda: self._chooseFolder(ui.unpairedEdit))
        ui.vgg19Button.connect("clicked()", self._onVgg19)
        ui.startFromButton.connect("clicked()", self._onStartFromFolder)
        ui.datasetTableButton.connect("clicked()", self._onTable)
        ui.presetComboBox.connect("activated(int)", self._onPresetChosen)
        ui.startFromComboBox.connect("activated(int)", self._onStartFromChosen)
        ui.editedButton.connect("clicked()", self._onEdited)
        ui.casesCopyButton.connect("clicked()", self._onCopy)
        for name in sorted(preset_names(), key=lambda n: (n.startswith("smoke"), n)):
            ui.presetComboBox.addItem(name, name)
        self.refreshModels()

    def refreshModels(self) -> None:
        """List the models that a training may start from."""
        combo = self._ui.startFromComboBox
        current = self._current(combo)
        combo.clear()
        combo.addItem(_("random weights"), "")
        for bundle in list_bundles()[0]:
            combo.addItem(bundle.id, bundle.id)
        self._choose(combo, current)

    def setPreset(self, preset: str) -> None:
        """Choose a preset by name or path; one that is not listed is added to the list."""
        self._choose(self._ui.presetComboBox, preset)
        self._describe()

    def setStartFrom(self, model: str) -> None:
        self._choose(self._ui.startFromComboBox, model)

    def enable(self, view) -> None:
        """Enable what may be changed; a tooltip says why something may not.

        :param view: what the window shows (:class:`MRI2PETTrainingLib.window_state.Window`).
        """
        for names, enabled, tip in (
            (_FOLDERS_AND_MACHINE, view.folder_enabled, view.folder_tip),
            (_SETTINGS, view.inputs_enabled, view.inputs_tip),
        ):
            for name in names:
                widget = getattr(self._ui, name)
                own = self._tips.setdefault(name, widget.toolTip)
                widget.enabled, widget.toolTip = enabled, tip or own

    def show(self, session) -> None:
        """Show the cases of a session."""
        self._session = session
        table = session.nodes.node("cases")
        if self._ui.casesTable.mrmlTableNode() != table:
            self._ui.casesTable.setMRMLTableNode(table)
        text = session.problem or (summary(session.view) if session.view is not None else "")
        self._ui.datasetSummaryLabel.text = text
        for button in (self._ui.editedButton, self._ui.casesCopyButton):
            button.enabled = table is not None
        self._describe()

    def _describe(self) -> None:
        """What the preset is, and how long it takes for the chosen cases where that is known."""
        ui, view = self._ui, self._session and self._session.view
        cases = sum(not row.get("exclude") for row in view.cases) if view is not None else 0
        try:
            preset = read_preset(self._current(ui.presetComboBox), epochs=ui.epochsSpinBox.value or None)
            text = f"{preset.description}. {time_text(preset, cases, ui.foldsSpinBox.value)}".strip()
        except Exception as error:  # noqa: BLE001  a file of the user's: whatever is wrong is shown
            text = str(error)
        ui.presetSummaryLabel.text = text

    @staticmethod
    def _current(combo) -> str:
        return str(combo.itemData(combo.currentIndex) or "")

    @staticmethod
    def _choose(combo, value: str) -> None:
        index = combo.findData(value)
        if index < 0:
            combo.addItem(Path(value).name.removesuffix(".json"), value)
            index = combo.count - 1
            combo.setItemData(index, value, qt.Qt.ToolTipRole)
        combo.setCurrentIndex(index)

    def _chooseFolder(self, edit) -> None:
        start = edit.text or slicer.util.settingsValue(_SETTING, "")
        folder = qt.QFileDialog.getExistingDirectory(None, _("Choose a folder"), start)
        if folder:
            qt.QSettings().setValue(_SETTING, folder)
            edit.text = folder

    def _onVgg19(self) -> None:
        start = slicer.util.settingsValue(_SETTING, "")
        weights = _("Weights of torchvision (*.pth)")
        path = qt.QFileDialog.getOpenFileName(None, _("Choose the weights of VGG19"), start, weights)
        if path:
            self._ui.vgg19Edit.text = path

    def _onStartFromFolder(self) -> None:
        """The folder of a model, or of a run."""
        start = slicer.util.settingsValue(_SETTING, "")
        folder = qt.QFileDialog.getExistingDirectory(None, _("Choose the folder of a model or a run"), start)
        if folder:
            self._onStartFrom(folder)

    def _onTable(self) -> None:
        start = slicer.util.settingsValue(_SETTING, "")
        path = qt.QFileDialog.getOpenFileName(None, _("Choose a manifest"), start, _("Tables (*.csv *.tsv)"))
        if path:
            self._ui.datasetEdit.text = path

    def _onPresetChosen(self, _index) -> None:
        self._onPreset(self._current(self._ui.presetComboBox))

    def _onStartFromChosen(self, _index) -> None:
        self._onStartFrom(self._current(self._ui.startFromComboBox))

    def _onEdited(self) -> None:
        """The edited table becomes the dataset."""
        folder = self._ui.runEdit.text
        path = qt.QFileDialog.getSaveFileName(
            None, _("Save the edited cases as a manifest"), f"{folder}-cases.csv", _("Table (*.csv)")
        )
        if path:
            with errorDisplay(_("The table cannot be saved.")):
                self._ui.datasetEdit.text = str(
                    write_edited(self._session.view, self._session.nodes.edited_cases(), path)
                )

    def _onCopy(self) -> None:
        slicer.app.clipboard().setText(node_text(self._session.nodes.node("cases"), "\t"))
        slicer.util.showStatusMessage(_("The table is on the clipboard."), 3000)
