"""The panel *Setup*: what is installed, what is missing; installs it with consent and checks it."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.installation.packages import SIZES_NOTE
from MRI2PETLib.installation.setup import Setup
from MRI2PETLib.jobs.child_process import child_python
from MRI2PETSynthesisUI.error_display import errorDisplay
from MRI2PETSynthesisUI.slicer_installer import SlicerInstaller

_PUMP_MS = 100
_SETTING = "MRI2PET/WheelFolder"
_SIZE_COLUMN = 3


class SetupPanel:
    """Shows a :class:`~MRI2PETLib.installation.setup.Setup`. It does nothing unasked."""

    def __init__(self, parentLayout, onChanged=lambda: None, more=()) -> None:
        """
        :param onChanged: called when readiness, its message or the devices have changed; never from here.
        :param more: what has to work besides synthesis: ``("training",)`` in the training module.
        """
        path = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "MRI2PETSetupPanel.ui"
        self.widget = slicer.util.loadUI(str(path))
        parentLayout.addWidget(self.widget)
        self._ui = slicer.util.childWidgetVariables(self.widget)
        self._more = tuple(more)
        self._logged = 0
        self._lastState = None
        self._timer = qt.QTimer(self.widget)
        self._timer.setInterval(_PUMP_MS)
        self._timer.connect("timeout()", self._pump)
        try:
            python = child_python()
        except MRI2PETError as error:  # a damaged Slicer: the checks will say it again
            python = str(error)
        self.setup = Setup(SlicerInstaller(python), python, self._show, self._more)
        table = self._ui.setupTable
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(_SIZE_COLUMN + 1, qt.QHeaderView.Stretch)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)  # its text wraps
        table.verticalHeader().setVisible(False)
        table.horizontalHeaderItem(_SIZE_COLUMN).setToolTip(SIZES_NOTE)
        self._ui.setupInstallButton.connect("clicked()", self._onInstall)
        self._ui.setupFolderButton.connect("clicked()", self._onFolder)
        self._ui.setupCheckButton.connect("clicked()", self.check)
        self._ui.setupDiffusionCheckBox.connect("toggled(bool)", self._onDiffusion)
        self._onChanged = None
        self._show()
        self._onChanged = onChanged

    def isReady(self) -> bool:
        """Whether work can begin, as far as is known: see :meth:`check`."""
        return self.setup.is_ready

    def missingMessage(self) -> str:
        """Why work cannot begin, for a tooltip; empty when it can."""
        return self.setup.missing_message()

    def devices(self) -> dict:
        """The devices that the last check found, name -> what it is; empty before."""
        return dict((self.setup.checked or {}).get("devices", {}))

    def check(self) -> None:
        """Import everything in a child process; the status line tells the outcome."""
        self.setup.check()
        self._timer.start()

    def cleanup(self) -> None:
        """The module is destroyed: end a check that is under way."""
        self._timer.stop()
        self.setup.close()

    # -- what the user does --------------------------------------------------------------------------------

    def _onInstall(self) -> None:
        self._install(None)

    def _onFolder(self) -> None:
        start = slicer.util.settingsValue(_SETTING, "")
        folder = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder of wheels"), start)
        if folder:
            qt.QSettings().setValue(_SETTING, folder)
            self._install(folder)

    def _onDiffusion(self, isOn: bool) -> None:
        self.setup.need((*self._more, *(("diffusion",) if isOn else ())))

    def _install(self, folder) -> None:
        if slicer.app.testingEnabled():
            self._ui.setupStatusLabel.text = _("Nothing is installed in testing mode.")
            return
        with errorDisplay(_("Nothing was installed.")):
            if self._consent(folder):
                self._timer.start()
                qt.QApplication.setOverrideCursor(qt.Qt.BusyCursor)
                try:
                    self.setup.install(folder)
                finally:
                    qt.QApplication.restoreOverrideCursor()

    def _consent(self, folder) -> bool:
        """Ask whether this list may be installed; what is in it, how large, and from where."""
        plan = self.setup.plan()
        lines = [
            _("{requirement} from {source}, about {size} MB: {purpose}").format(
                requirement=p.requirement,
                source=p.source if folder is None else folder,
                size=f"{p.megabytes:g}",
                purpose=p.purpose,
            )
            for p in plan.pip
        ]
        if plan.torch is not None and folder is None:
            lines.insert(
                0,
                _("{requirement} by the PyTorch extension, {size} MB or, for CUDA, more").format(
                    requirement=plan.torch.requirement, size=f"{plan.torch.megabytes:g}"
                ),
            )
        text = _(
            "This changes Slicer's Python:\n\n{packages}\n\n"
            "What is installed stays at its version. Slicer waits while torch is installed. Continue?"
        ).format(packages="\n".join(lines))
        return slicer.util.confirmOkCancelDisplay(text, _("MRI2PET: install packages"))

    # -- what the window shows -----------------------------------------------------------------------------

    def _pump(self) -> None:
        if not self.setup.pump():
            self._timer.stop()

    def _show(self) -> None:
        """Everything follows from the state of the set-up."""
        setup, ui = self.setup, self._ui
        ui.setupStatusLabel.text = setup.status()
        self._fillTable()
        idle = not setup.is_busy
        ui.setupInstallButton.enabled = ui.setupFolderButton.enabled = idle and bool(setup.missing)
        ui.setupInstallButton.toolTip = (
            _("Shows what would be installed, and asks.") if setup.missing else _("Nothing is missing.")
        )
        ui.setupCheckButton.enabled = ui.setupDiffusionCheckBox.enabled = idle
        for line in setup.log[self._logged :]:
            ui.setupLogText.appendPlainText(line)
        self._logged = len(setup.log)
        now = (self.isReady(), self.missingMessage(), self.devices())
        if now != self._lastState:
            self._lastState = now
            if self._onChanged is not None:
                self._onChanged()

    def _fillTable(self) -> None:
        table, packages = self._ui.setupTable, self.setup.packages
        table.setRowCount(len(packages))
        for row, package in enumerate(packages):
            words = {"ok": package.installed or _("yes"), "missing": _("missing")}
            cells = (
                package.name,
                package.version_range,
                words.get(package.state) or _("{version} (too old)").format(version=package.installed),
                f"{package.megabytes:g}" if package.megabytes else "",
                package.purpose,
            )
            about = _("{purpose}; comes from {source}").format(purpose=package.purpose, source=package.source)
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(about)
                table.setItem(row, column, item)
