"""Who installs in Slicer: what Slicer's and the PyTorch extension's functions are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from test_modules import run  # noqa: E402

START = """
import time, types
from MRI2PETLib.core.errors import DependencyError
from MRI2PETLib.installation.packages import read_packages
from MRI2PETSynthesisUI.slicer_installer import SlicerInstaller
asked, lines, codes = [], [], []
def note(*arguments, **options):
    asked.append((arguments, options))
installer = SlicerInstaller(sys.executable)
torch = next(p for p in read_packages() if p.name == "torch")
"""


def test_slicer_5_12_is_asked_without_blocking(tmp_path: Path) -> None:
    code = """
packaging = sys.modules["slicer.packaging"] = types.ModuleType("slicer.packaging")
packaging.pip_install = note
installer.pip_install(["--no-index", "nibabel>=5.0"], lines.append, codes.append)
(arguments, options), = asked
assert arguments == (["--no-index", "nibabel>=5.0"],) and options["blocking"] is False
options["logCallback"]("Collecting nibabel")
options["completedCallback"](0)
assert lines == ["Collecting nibabel"] and codes == [0]
"""
    run(START + code, tmp_path)


def test_slicer_5_10_gets_a_pip_of_our_own(tmp_path: Path) -> None:
    code = """
sys.modules["slicer.packaging"] = None
installer.pip_install(["--help"], lines.append, codes.append)
end = time.monotonic() + 60
while not codes and time.monotonic() < end:
    installer.pump()
    time.sleep(0.02)
assert codes == [0] and any("pip install" in line for line in lines), lines
"""
    run(START + code, tmp_path)


def test_torch_comes_from_the_pytorch_extension(tmp_path: Path) -> None:
    code = """
try:
    installer.install_torch(torch)
    raise SystemExit("torch was installed without the extension")
except DependencyError as error:
    assert "Extensions Manager" in error.hint
utilities = sys.modules["PyTorchUtils"] = types.ModuleType("PyTorchUtils")
utilities.PyTorchUtilsLogic = lambda: types.SimpleNamespace(installTorch=note)
installer.install_torch(torch)
assert asked == [((), {"askConfirmation": False, "torchVersionRequirement": ">=2.2"})], asked
"""
    run(START + code, tmp_path)
