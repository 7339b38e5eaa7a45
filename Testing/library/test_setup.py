"""Set-up: what is needed, what pip is told, why it failed, and the order of things."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import MRI2PETLib
from MRI2PETLib.core.devices import available_devices
from MRI2PETLib.core.errors import DependencyError
from MRI2PETLib.installation.packages import (
    Package,
    PackageGroup,
    constraints_text,
    pip_arguments,
    pip_failure,
    plan_install,
    read_packages,
)
from MRI2PETLib.installation.setup import PipJob, Setup
from MRI2PETLib.jobs.child_process import Callbacks, Job, mri2pet_command

REPOSITORY = Path(__file__).resolve().parents[2]
ALL = read_packages("diffusion", "training")

COMMAND = "MRI2PETLib.installation.setup.mri2pet_command"


def with_versions(**versions: str | None) -> tuple[Package, ...]:
    """The table with other versions installed."""
    packages = {package.name.replace("-", "_"): package for package in ALL}
    return tuple(replace(p, installed=versions.get(name, p.installed)) for name, p in packages.items())


# -- what is needed ----------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = set(project["dependencies"])
    assert {p.requirement for p in read_packages()} == base
    assert {p.requirement for p in read_packages("diffusion")} == base | set(extras["diffusion"])
    older = {"torch>=2.2"}  # the one of synthesis
    assert {p.requirement for p in read_packages("training")} == (base | set(extras["train"])) - older


@pytest.mark.parametrize(
    ("folder", "more"),
    [("MRI2PETSynthesis/MRI2PETLib", "diffusion"), ("MRI2PETTraining/MRI2PETTrainingLib", "training")],
)
def test_the_table_names_everything_that_is_imported(folder: str, more: PackageGroup) -> None:
    imported = set()
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    ours = {"MRI2PETLib", "MRI2PETTrainingLib"}
    of_slicer = {"slicer", "vtk"}
    needed_by_others = {"packaging", "PIL", "markupsafe"}  # matplotlib and jinja2 cannot do without
    optional = {"nilearn", "torchvision", "isal", "ipyniivue", "onnx"}  # extras: the rest works without
    of_types = {"typing_extensions"}  # for the type checker only
    third_party = (
        imported - sys.stdlib_module_names - ours - of_slicer - needed_by_others - optional - of_types
    )
    assert third_party <= {p.module for p in read_packages(more)}


@pytest.mark.parametrize(
    ("installed", "state"),
    [
        (None, "missing"),
        ("2.1.9", "too old"),
        ("2.4.0", "ok"),
        ("2.13.0+cpu", "ok"),
        ("2.5.0rc1", "ok"),  # a pre-release above the least version
        ("", "ok"),  # there, without metadata
        ("not a version", "ok"),
    ],
)
def test_state_of_a_package(installed: str | None, state: str) -> None:
    torch = next(p for p in ALL if p.name == "torch")
    assert replace(torch, installed=installed).state == state


def test_what_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from MRI2PETLib.installation import packages

    monkeypatch.setattr(packages, "version_of", lambda name: None)
    monkeypatch.setattr(packages, "find_spec", lambda module: None if module == "torch" else object())
    states = {package.name: package.state for package in read_packages()}
    assert states.pop("torch") == "missing" and set(states.values()) == {"ok"}


def test_nothing_is_imported_to_read_the_table() -> None:
    code = "import sys; from MRI2PETLib.installation.packages import read_packages, plan_install; "
    code += "plan_install(read_packages('training')); print([p.module for p in read_packages('training') "
    code += "if p.module in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# -- what pip is told --------------------------------------------------------------------------------------


def test_torch_never_goes_to_pip() -> None:
    plan = plan_install(with_versions(torch=None, nibabel="4.0", lightning=None))
    assert plan.torch is not None and plan.torch.requirement == "torch>=2.4"
    # lightning depends on torch: pip would bring one.
    assert [p.requirement for p in plan.pip] == ["nibabel>=5.0"]
    assert plan.megabytes == pytest.approx(192 + 3.4)


def test_with_torch_pip_gets_the_rest() -> None:
    plan = plan_install(with_versions(safetensors=None, lightning=None))
    assert plan.torch is None and [p.name for p in plan.pip] == ["safetensors", "lightning"]


def test_what_slicer_brings_is_not_replaced() -> None:
    with pytest.raises(DependencyError, match=r"too old: numpy 1\.20\.0 \(>=1\.26 is needed\)"):
        plan_install(with_versions(numpy="1.20.0"))


def test_constraints_hold_all_but_what_is_upgraded() -> None:
    versions = {p.name: p.installed for p in ALL}
    nibabel = next(p for p in ALL if p.name == "nibabel")
    lines = constraints_text([nibabel]).splitlines()
    assert f"numpy=={versions['numpy']}" in lines and f"torch=={versions['torch']}" in lines
    assert f"simpleitk=={versions['SimpleITK']}" in lines
    assert not any(line.startswith("nibabel==") for line in lines)


def test_pip_reads_the_constraints(tmp_path: Path) -> None:
    """Real pip, no network: with the constraints an installed numpy satisfies, another is refused."""
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(constraints_text(), encoding="utf-8")
    numpy = next(p for p in ALL if p.name == "numpy")
    assert "already satisfied: numpy" in pip("--dry-run", *pip_arguments([numpy], constraints, tmp_path))
    newer = replace(numpy, requirement="numpy>=999")
    refused = pip("--dry-run", *pip_arguments([newer], constraints, tmp_path), code=1)
    assert "conflict" in refused or "No matching distribution" in refused


def pip(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *arguments], capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_folder_means_no_network(tmp_path: Path) -> None:
    arguments = pip_arguments(ALL[:1], "c.txt", tmp_path)
    assert "--no-index" in arguments and arguments[arguments.index("--find-links") + 1] == str(tmp_path)
    assert "--no-index" not in pip_arguments(ALL[:1], "c.txt")


# Printed by pip 23.2.1 with a wrong host name, a closed proxy, an empty folder, a full disk, ...
_BROKEN = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by '{}': /simple/nibabel/"
_NONE = "ERROR: No matching distribution found for nibabel>=5.0"


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([_BROKEN.format("NewConnectionError('... Name or service not known')"), _NONE], "The network"),
        ([_BROKEN.format("ProxyError('Cannot connect to proxy.')"), _NONE], "The network"),
        (["Looking in links: wheels", _NONE], "There is no wheel .* No matching distribution .* nibabel"),
        (
            ["ERROR: x-1-cp310-abi3-win_amd64.whl is not a supported wheel on this platform."],
            "There is no wheel",
        ),
        (["OSError: [Errno 28] No space left on device: 'a' -> 'b'"], "The disk is full"),
        (
            ["ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied"],
            "cannot be written",
        ),
        (["ERROR: Wheel 'tqdm' located at tqdm.whl is invalid."], "A wheel is damaged"),
        (["ERROR: ResolutionImpossible: for help visit https://pip.pypa.io"], "conflicts with"),
        (["something new"], "pip failed: something new"),
        ([], "pip failed: it said nothing"),
    ],
)
def test_why_pip_failed(lines: list[str], cause: str) -> None:
    failure = pip_failure(lines)
    assert re.search(cause, failure.message)
    assert failure.hint


# -- the order of things -----------------------------------------------------------------------------------


class FakeInstaller:
    """Notes what it is asked for; installing changes the table that :func:`fake_table` reads."""

    def __init__(self, table: dict[str, str | None]) -> None:
        self.calls: list[str] = []
        self.table = table
        self.torch_error: Exception | None = None
        self.pip_answer: tuple[list[str], int] = ([], 0)
        self.constraints = Path()
        self._finish: Callable[[], None] | None = None

    def install_torch(self, package: Package) -> None:
        self.calls.append(package.requirement)
        if self.torch_error is not None:
            raise self.torch_error
        self.table["torch"] = "2.13.0"

    def pip_install(
        self, arguments: Sequence[str], log: Callable[[str], None], finished: Callable[[int], None]
    ) -> None:
        self.calls.append(" ".join(a for a in arguments if ">=" in a))
        self.constraints = Path(arguments[arguments.index("-c") + 1])
        assert "numpy==" in self.constraints.read_text(encoding="utf-8")

        def finish() -> None:
            lines, code = self.pip_answer
            for line in lines:
                log(line)
            if code == 0:
                for argument in arguments:
                    name, _, version = argument.partition(">=")
                    if version:
                        self.table[name.replace("-", "_")] = version
            finished(code)

        self._finish = finish

    def pump(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions that count as installed; the child that checks is replaced by one that only says so."""
    table: dict[str, str | None] = {"torch": "2.13.0", "lightning": "2.6.6"}
    table.update(monai=None, einops=None)

    def read(*more: str) -> tuple[Package, ...]:
        return tuple(p for p in with_versions(**table) if p.group in ("synthesis", *more))

    monkeypatch.setattr("MRI2PETLib.installation.setup.read_packages", read)
    child = (
        'import json; print(json.dumps({"event": "result", "speed": "cpu: 1 s", "devices": {"cpu": "CPU"}}))'
    )
    monkeypatch.setattr(COMMAND, lambda *_: [sys.executable, "-c", child])
    return table


def run(setup: Setup) -> None:
    end = time.monotonic() + 60
    while setup.pump() and time.monotonic() < end:
        time.sleep(0.02)
    assert not setup.is_busy


def test_install_then_check_then_ready(table: dict[str, str | None]) -> None:
    table.update(torch=None, nibabel=None)
    installer, phases = FakeInstaller(table), list[str]()
    setup = Setup(installer, sys.executable, lambda: phases.append(setup.phase))
    assert not setup.is_ready and setup.missing_message().startswith("Not installed: nibabel, torch.")
    assert "195 MB" in setup.status()
    setup.install()
    assert setup.is_busy and not setup.is_ready
    setup.install()  # a second click changes nothing
    run(setup)
    assert installer.calls == ["torch>=2.4", "nibabel>=5.0"]
    assert setup.is_ready and setup.missing_message() == "" and setup.status() == "Ready. cpu: 1 s"
    assert setup.checked is not None and setup.checked["devices"] == {"cpu": "CPU"}
    assert not installer.constraints.exists()
    assert [p for p, q in zip(phases, ["", *phases]) if p != q] == ["installing", "idle", "checking", "idle"]


def test_diffusion_models_are_a_choice(table: dict[str, str | None]) -> None:
    installer = FakeInstaller(table)
    setup = Setup(installer, sys.executable, lambda: None)
    assert setup.is_ready
    setup.need(["diffusion"])
    assert [p.name for p in setup.missing] == ["monai", "einops"] and not setup.is_ready
    setup.install()
    run(setup)
    assert setup.is_ready


def test_training_waits_for_torch(table: dict[str, str | None]) -> None:
    table.update(torch=None, lightning=None)
    installer = FakeInstaller(table)
    setup = Setup(installer, sys.executable, lambda: None, ["training"])
    setup.install()
    run(setup)
    assert installer.calls == ["torch>=2.4", "lightning>=2.4"] and setup.is_ready


def test_without_the_pytorch_extension_nothing_is_installed(table: dict[str, str | None]) -> None:
    table.update(torch=None, nibabel=None)
    installer = FakeInstaller(table)
    installer.torch_error = DependencyError("torch is installed by the PyTorch extension.", "Install it.")
    setup = Setup(installer, sys.executable, lambda: None)
    setup.install()
    assert not setup.is_busy and installer.calls == ["torch>=2.4"]
    assert setup.status() == "torch is installed by the PyTorch extension. Install it."


def test_an_error_of_the_extension_is_told(table: dict[str, str | None]) -> None:
    table.update(torch=None)
    installer = FakeInstaller(table)
    installer.torch_error = ValueError("no backend")
    setup = Setup(installer, sys.executable, lambda: None)
    setup.install()
    assert not setup.is_busy and "no backend" in setup.status()


def test_pip_failure_is_explained_and_what_was_missing_stays_missing(table: dict[str, str | None]) -> None:
    table.update(nibabel=None)
    installer = FakeInstaller(table)
    installer.pip_answer = ([_NONE], 1)
    setup = Setup(installer, sys.executable, lambda: None)
    setup.install()
    run(setup)
    assert setup.status().startswith("There is no wheel") and _NONE in setup.log
    assert not setup.is_ready and not installer.constraints.exists()


def test_from_a_folder_torch_is_left_to_the_user(table: dict[str, str | None], tmp_path: Path) -> None:
    table.update(torch=None, nibabel=None, lightning=None)
    installer = FakeInstaller(table)
    setup = Setup(installer, "PythonSlicer", lambda: None, ["training"])
    setup.install(tmp_path)
    run(setup)
    assert installer.calls == ["nibabel>=5.0"]
    assert f'"PythonSlicer" -m pip install --no-index --find-links "{tmp_path}" torch' in setup.status()
    assert [p.name for p in setup.missing] == ["torch", "lightning"]


def test_an_old_slicer_is_told(table: dict[str, str | None]) -> None:
    table.update(numpy="1.20.0")
    installer = FakeInstaller(table)
    setup = Setup(installer, sys.executable, lambda: None)
    setup.install()
    assert installer.calls == [] and "Slicer is too old" in setup.status()


def test_a_failed_check_is_not_ready(table: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        COMMAND,
        lambda *_: [sys.executable, "-c", "import os; os.abort()"],
    )
    setup = Setup(FakeInstaller(table), sys.executable, lambda: None)
    assert setup.is_ready  # nothing says otherwise yet
    setup.check()
    run(setup)
    assert not setup.is_ready and "ended unexpectedly" in setup.missing_message()


# -- the real thing, without a network ---------------------------------------------------------------------


def test_the_doctor_answers_a_parent() -> None:
    outcome = Job(mri2pet_command(["doctor"])).start().wait()
    assert outcome.error is None and outcome.result is not None
    assert outcome.result["devices"]["cpu"] == "CPU" and outcome.result["seconds"] > 0
    assert outcome.result["packages"]["torch"] == next(p.installed for p in ALL if p.name == "torch")


def test_the_doctor_names_what_does_not_work_and_another_command_of_our_name(tmp_path: Path) -> None:
    (tmp_path / "safetensors.py").write_text("raise ImportError('DLL load failed')", encoding="utf-8")
    about = tmp_path / "cocolit-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cocolit\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[console_scripts]\nmri2pet = cocolit:main\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    warnings: list[str] = []
    callbacks = Callbacks(warning=warnings.append)
    outcome = Job(mri2pet_command(["doctor"]), callbacks, env=environment).start().wait()
    assert outcome.state == "failed" and isinstance(outcome.error, DependencyError)
    assert (
        "safetensors" in outcome.error.message and "does not work: DLL load failed" in outcome.error.message
    )
    assert any("cocolit installs a command mri2pet too" in line for line in warnings), warnings


def test_the_command_has_two_names() -> None:
    with (Path(__file__).resolve().parents[2] / "pyproject.toml").open("rb") as file:
        assert set(tomllib.load(file)["project"]["scripts"]) == {"mri2pet", "slicer-mri2pet"}


def test_training_needs_a_newer_torch_than_synthesis() -> None:
    """2.2 is the newest torch for Intel Macs, and Slicer on a Mac is built for them."""
    least = {
        more: next(p.version_range for p in read_packages(*more) if p.name == "torch")
        for more in [(), ("training",)]
    }
    assert least == {(): ">=2.2", ("training",): ">=2.4"}


def test_pip_installs_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels, target = tmp_path / "wheels with spaces ü", tmp_path / "target"
    wheels.mkdir()
    about = "mri2pet_probe-1.0.dist-info"
    with zipfile.ZipFile(wheels / "mri2pet_probe-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mri2pet_probe.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: mri2pet-probe\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    (tmp_path / "c.txt").write_text(constraints_text(), encoding="utf-8")
    monkeypatch.setenv("PIP_TARGET", str(target))  # never into the environment of the tests
    probe = Package("mri2pet-probe>=1.0", "mri2pet_probe", "synthesis", "PyPI", 0, "", None)
    assert install(PipJob(sys.executable), pip_arguments([probe], tmp_path / "c.txt", wheels))[0] == 0
    assert (target / "mri2pet_probe.py").is_file()
    absent = replace(probe, requirement="mri2pet-absent>=1.0")
    code, lines = install(PipJob(sys.executable), pip_arguments([absent], tmp_path / "c.txt", wheels))
    assert code != 0 and "mri2pet-absent" in pip_failure(lines).message
    assert pip_failure(lines).message.startswith("There is no wheel")


def install(job: PipJob, arguments: Sequence[str]) -> tuple[int, list[str]]:
    lines: list[str] = []
    codes: list[int] = []
    job.pip_install(arguments, lines.append, codes.append)
    end = time.monotonic() + 120
    while not codes and time.monotonic() < end:
        job.pump()
        time.sleep(0.02)
    return codes[0], lines


def test_the_processor_is_always_a_device() -> None:
    assert list(available_devices())[-1] == "cpu"


def test_the_table_is_installed_with_the_library() -> None:
    assert (Path(MRI2PETLib.__file__).parent / "installation" / "packages.csv").is_file()


def test_a_damaged_package_of_somebody_else_stops_nothing(tmp_path: Path) -> None:
    """Its commands say why they cannot be used; ours do what they are asked for."""
    entries = {
        "gone": b"[mri2pet.commands]\ngone = nowhere:command\n",
        "other": b"[mri2pet.commands]\nother = json:dumps\n",
        "quits": b"[mri2pet.commands]\nquits = quitting\n",
        "unreadable": b"[mri2pet.commands]\nno equals sign\n",
        "bytes": b"\xff\xfe",
    }
    (tmp_path / "quitting.py").write_text("raise SystemExit(0)", encoding="utf-8")
    for name, content in entries.items():
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        about.joinpath("METADATA").write_bytes(b"\xff" if name == "bytes" else f"Name: {name}\n".encode())
        about.joinpath("entry_points.txt").write_bytes(content)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    code = "import sys; from MRI2PETLib.cli import main; print([main(a.split()) for a in sys.argv[1:]])"
    commands = ["models list --progress none", "gone --option 3 x", "other", "quits --help"]
    answer = subprocess.run(
        [sys.executable, "-c", code, *commands], capture_output=True, text=True, env=environment, check=True
    )
    wrong = DependencyError("").exit_code
    assert f"[0, {wrong}, {wrong}, {wrong}]" in answer.stdout, answer.stderr
    assert "The command gone of gone cannot be used: ModuleNotFoundError" in answer.stderr
    assert "other cannot be used: AttributeError" in answer.stderr and "quits" in answer.stderr
    text = "from MRI2PETLib.installation.packages import constraints_text; print(constraints_text())"
    answer = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=environment, check=True
    )
    assert "numpy==" in answer.stdout
