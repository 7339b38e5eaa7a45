"""Who installs in Slicer: the PyTorch extension, slicer.packaging (5.12), or a pip of our own (5.10)."""

from slicer.i18n import tr as _

from MRI2PETLib.core.errors import DependencyError
from MRI2PETLib.installation.setup import PipJob


class SlicerInstaller:
    """The installer of :class:`MRI2PETLib.installation.setup.Setup` in Slicer."""

    def __init__(self, python: str) -> None:
        self._own = PipJob(python)

    def install_torch(self, package) -> None:
        """Blocks while the PyTorch extension downloads and installs the build that fits this computer."""
        try:
            import PyTorchUtils
        except ImportError as error:
            raise DependencyError(
                _("torch is installed by the PyTorch extension, which is not there."),
                _("Install PyTorch in the Extensions Manager (menu View), restart Slicer, come back here."),
            ) from error
        PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=package.version_range
        )

    def pip_install(self, arguments, log, finished) -> None:
        """Start pip and return. Its lines and its exit code arrive from the main thread."""
        try:
            from slicer.packaging import pip_install
        except ImportError:
            self._own.pip_install(arguments, log, finished)
            return
        pip_install(
            list(arguments),
            blocking=False,
            requester="MRI2PET",
            logCallback=log,
            completedCallback=finished,
        )

    def pump(self) -> None:
        self._own.pump()
