"""Where the extension's own files are. The one place that knows."""

from __future__ import annotations

from pathlib import Path

from MRI2PETLib.core.errors import MRI2PETError


def resources_dir() -> Path:
    """Return the folder that holds ``Templates`` and ``Models``.

    Looks, in order, inside the package (wheel), beside it (installed Slicer extension, where all modules
    share one flat ``qt-scripted-modules`` folder) and two levels above it (source tree).

    :raises MRI2PETError: if the installation is incomplete.
    """
    here = Path(__file__).resolve().parents[1]
    for candidate in (here / "Resources", here.parent / "Resources", here.parent.parent / "Resources"):
        if (candidate / "Templates").is_dir():
            return candidate
    raise MRI2PETError(
        f"The Resources folder of MRI2PET was not found near {here}.",
        "Reinstall the extension or the package.",
    )
