"""Optional brain extractors of other groups, run as child processes, used only where they are installed."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from MRI2PETLib.core.errors import DependencyError, MRI2PETError
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.images.grid import Grid, resample

_log = logging.getLogger(__name__)

TEMPLATE = "template"
READY = "ready"
# Both networks take a few minutes on a CPU; an hour means that the program hangs.
TIMEOUT_S = 3600.0
_POLL_S = 0.2


@dataclass(frozen=True)
class Extractor:
    """A program that draws a brain mask.

    :ivar executables: command names, the first one found on PATH is used.
    :ivar arguments: from the input image and a folder for outputs: the arguments and where the mask will be.
    :ivar weights: from the program's path: the file without which it would download or fail, or ``None``.
    :ivar hint: how to install it.
    """

    executables: tuple[str, ...]
    arguments: Callable[[Path, Path], tuple[list[str], Path]]
    weights: Callable[[str], Path | None]
    hint: str

    def executable(self) -> str | None:
        """Absolute path of the program, or ``None``."""
        return next((path for name in self.executables if (path := shutil.which(name))), None)

    def state(self) -> str:
        """``ready``, or what is missing."""
        program = self.executable()
        if program is None:
            return f"not installed ({' or '.join(self.executables)} not found on PATH)"
        weights = self.weights(program)
        if weights is not None and not weights.is_file():
            return f"weights missing ({weights})"
        return READY


def _hd_bet_arguments(source: Path, folder: Path) -> tuple[list[str], Path]:
    output = folder / "brain.nii.gz"
    options = ["--save_bet_mask", "--no_bet_image", "-device", _torch_device()]
    if "cpu" in options:
        options.append("--disable_tta")  # eight times faster; its authors advise it on a CPU
    return ["-i", str(source), "-o", str(output), *options], folder / "brain_bet.nii.gz"


def _torch_device() -> str:
    from MRI2PETLib.core.devices import pick_device

    return pick_device("auto").type


def _hd_bet_weights(program: str) -> Path:
    return Path.home() / "hd-bet_params" / "release_2.0.0" / "fold_all" / "checkpoint_final.pth"


def _synthstrip_arguments(source: Path, folder: Path) -> tuple[list[str], Path]:
    mask = folder / "mask.nii.gz"
    return ["-i", str(source), "-o", str(folder / "brain.nii.gz"), "-m", str(mask)], mask


def _synthstrip_weights(program: str) -> Path | None:
    home = os.environ.get("FREESURFER_HOME")
    if Path(program).name.startswith("mri_synthstrip") and not home:
        return None  # a container's wrapper script brings its own
    return Path(home or "$FREESURFER_HOME") / "models" / "synthstrip.1.pt"


EXTRACTORS: dict[str, Extractor] = {
    "hd-bet": Extractor(
        executables=("hd-bet",),
        arguments=_hd_bet_arguments,
        weights=_hd_bet_weights,
        hint="Install it with `pip install hd-bet` and run it once by hand: it then downloads its weights.",
    ),
    "synthstrip": Extractor(
        executables=("mri_synthstrip", "nipreps-synthstrip"),
        arguments=_synthstrip_arguments,
        weights=_synthstrip_weights,
        hint="Install FreeSurfer 7.3 or newer and set FREESURFER_HOME.",
    ),
}


def available_extractors() -> dict[str, str]:
    """Name and state of every brain extractor: ``ready``, or what is missing."""
    return {TEMPLATE: READY, **{name: extractor.state() for name, extractor in EXTRACTORS.items()}}


def run_extractor(name: str, t1: sitk.Image, *, progress: ProgressCallback = no_progress) -> sitk.Image:
    """The brain mask (uint8, on the T1's grid) that an installed program draws.

    :raises DependencyError: if the program is unknown, not installed, or would have to download its weights.
    :raises MRI2PETError: if it fails.
    """
    extractor = EXTRACTORS.get(name)
    if extractor is None:
        raise DependencyError(
            f"There is no brain extractor called {name}.", f"Use one of {', '.join(available_extractors())}."
        )
    program, state = extractor.executable(), extractor.state()
    if program is None or state != READY:
        raise DependencyError(f"The brain extractor {name} cannot be used: {state}.", extractor.hint)
    with tempfile.TemporaryDirectory(prefix="mri2pet-") as folder:
        source = Path(folder) / "t1.nii.gz"
        sitk.WriteImage(t1, str(source))
        arguments, mask_path = extractor.arguments(source, Path(folder))
        output = _run([program, *arguments], Path(folder), name, progress)
        if not mask_path.is_file():
            raise MRI2PETError(f"{name} wrote no mask.", f"It said: {output}")
        mask = sitk.ReadImage(str(mask_path))
    # NIfTI stores positions in single precision: put the mask on exactly the T1's grid.
    binary = sitk.Cast(mask > 0, sitk.sitkUInt8)
    return resample(binary, Grid.of(t1), interpolator=sitk.sitkNearestNeighbor)


def _run(command: list[str], folder: Path, name: str, progress: ProgressCallback) -> str:
    """Run a program to its end and return the last of what it said; end it when ``progress`` raises."""
    _log.info("running %s", " ".join(command))
    log_path = folder / "log.txt"
    deadline = time.monotonic() + TIMEOUT_S
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
        try:
            while child.poll() is None:
                progress(0, 1, f"{name} is running")
                if time.monotonic() > deadline:
                    raise MRI2PETError(f"{name} did not end within {TIMEOUT_S / 60:.0f} minutes.")
                time.sleep(_POLL_S)
        finally:
            if child.poll() is None:
                _end(child)
    log_end = log_path.read_text(encoding="utf-8", errors="replace").strip()[-500:]
    if child.returncode != 0:
        raise MRI2PETError(f"{name} failed with exit code {child.returncode}.", f"It said: {log_end}")
    return log_end


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the program with its own children (both networks start worker processes)."""
    if os.name == "posix":
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()
