"""Which device the network runs on: the devices that the last check of the set-up found here."""

import json

import qt
import slicer
from slicer.i18n import tr as _

_SETTING = "MRI2PET/Devices"


class DeviceChoice:
    """Fills the list of devices. What was found is kept for the next start of Slicer."""

    def __init__(self, combo, onChanged) -> None:
        """
        :param onChanged: called with the name of the device that the user chose.
        """
        self._combo = combo
        self._onChanged = onChanged
        self._devices = json.loads(slicer.util.settingsValue(_SETTING, "{}"))
        combo.connect("activated(int)", self._onActivated)
        self._fill("auto")

    def setDevices(self, devices: dict) -> None:
        """List these devices (name -> what it is); an empty dict tells nothing new."""
        if devices and devices != self._devices:
            self._devices = dict(devices)
            qt.QSettings().setValue(_SETTING, json.dumps(self._devices))
            self._fill(self._device())

    def setDevice(self, device: str) -> None:
        """Choose a device by name."""
        if device != self._device():
            self._fill(device)

    def _device(self) -> str:
        return str(self._combo.itemData(self._combo.currentIndex))

    def _fill(self, current: str) -> None:
        labels = {"auto": _("auto: the fastest"), "cpu": "CPU", **self._devices}
        labels.setdefault(current, _("{device} (not found here)").format(device=current))
        self._combo.clear()
        for device, about in labels.items():
            label = about if device in ("auto", "cpu") or device in about else f"{device}: {about}"
            self._combo.addItem(label, device)
        self._combo.setCurrentIndex(list(labels).index(current))

    def _onActivated(self, _index) -> None:
        self._onChanged(self._device())
