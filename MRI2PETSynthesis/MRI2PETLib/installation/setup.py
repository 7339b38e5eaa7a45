"""Set-up as a plain state that a panel shows: what is missing, installing, checking, ready. No Qt.

The owner calls :meth:`Setup.pump` from a timer while ``Setup.is_busy``. Who installs is passed in: in
Slicer 5.12 ``slicer.packaging``, elsewhere :class:`PipJob`; torch comes from the PyTorch extension.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from MRI2PETLib.core.errors import Explained, MRI2PETError
from MRI2PETLib.installation.packages import (
    InstallPlan,
    Package,
    PackageGroup,
    constraints_text,
    pip_arguments,
    pip_failure,
    plan_install,
    read_packages,
    torch_from_folder,
)
from MRI2PETLib.jobs.child_process import Callbacks, Job, Outcome, mri2pet_command

SetupPhase = Literal["idle", "installing", "checking"]
Log = Callable[[str], None]
OnFinished = Callable[[int], None]


class Installer(Protocol):
    """Who changes the Python environment. A test passes a fake."""

    def install_torch(self, package: Package) -> None:
        """Let the PyTorch extension install torch; blocks.

        :raises MRI2PETError: if the extension is not there or fails.
        """

    def pip_install(self, arguments: Sequence[str], log: Log, finished: OnFinished) -> None:
        """Start ``pip install`` with these arguments and return. ``log`` gets its lines, ``finished`` its
        exit code, both from the main thread.
        """

    def pump(self) -> None:
        """Deliver what has arrived, where nobody else does."""


class PipJob:
    """pip as a child process of our own, where Slicer has no non-blocking one (5.10)."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._job: Job | None = None

    def pip_install(self, arguments: Sequence[str], log: Log, finished: OnFinished) -> None:
        callbacks = Callbacks(log=log, finished=lambda outcome: finished(outcome.exit_code))
        self._job = Job([self._python, "-m", "pip", "install", *arguments], callbacks).start()

    def pump(self) -> None:
        if self._job is not None:
            self._job.pump()


class Setup:
    """What is there, what is being done about it, and whether work can begin."""

    def __init__(
        self,
        installer: Installer,
        python: str,
        changed: Callable[[], None],
        more: Sequence[PackageGroup] = (),
    ) -> None:
        """
        :param python: the interpreter of child processes (``PythonSlicer`` in Slicer).
        :param changed: called after every change of what a panel shows.
        :param more: what has to work besides synthesis.
        """
        self.phase: SetupPhase = "idle"
        self.packages = read_packages(*more)
        self.problem: Explained | None = None
        self.checked: dict[str, Any] | None = None  # the doctor's result: devices, speed
        self.stage = ""
        self.log: list[str] = []
        self._installer, self._python, self._changed, self._more = installer, python, changed, tuple(more)
        self._check: Job | None = None
        self._torch_hint: MRI2PETError | None = None

    @property
    def is_busy(self) -> bool:
        return self.phase != "idle"

    @property
    def missing(self) -> tuple[Package, ...]:
        return tuple(package for package in self.packages if package.state != "ok")

    @property
    def is_ready(self) -> bool:
        """Whether all is installed and no check has said otherwise; whether it works, only a check tells."""
        return not self.is_busy and not self.missing and self.problem is None

    def missing_message(self) -> str:
        """Why work cannot begin, in a sentence for a tooltip; empty when it can."""
        if self.is_busy:
            return (
                "Packages are being installed."
                if self.phase == "installing"
                else "The set-up is being checked."
            )
        if self.missing:
            return f"Not installed: {', '.join(package.name for package in self.missing)}. See section Setup."
        return "" if self.problem is None else f"{self.problem.message} See section Setup."

    def status(self) -> str:
        """The line that a panel shows."""
        if self.phase == "installing":
            return "Installing ..."
        if self.phase == "checking":
            return f"Checking ... {self.stage}".rstrip()
        if self.problem is not None:
            return str(self.problem)
        if self.missing:
            size = sum(package.megabytes for package in self.missing)
            names = ", ".join(package.name for package in self.missing)
            return f"Not installed: {names}. About {size:.0f} MB to download."
        if self.checked is None:
            return "All is installed. Check again imports it in a process of its own and finds the devices."
        return f"Ready. {self.checked.get('speed', '')}".rstrip()

    def plan(self) -> InstallPlan:
        """What installing would do now.

        :raises DependencyError: if Slicer itself is too old.
        """
        return plan_install(self.packages)

    def need(self, more: Sequence[PackageGroup]) -> None:
        """Change what has to work besides synthesis. Starts nothing."""
        self._more = tuple(more)
        self.problem = self.checked = None
        self.refresh()

    def refresh(self) -> None:
        """Read again what is installed. Starts nothing."""
        self.packages = read_packages(*self._more)
        self._changed()

    def install(self, folder: Path | str | None = None) -> None:
        """Install what is missing, from a folder of wheels when one is given, then check.

        torch comes first, for others depend on it. Ask for consent before.
        """
        if self.is_busy:
            return
        self.problem = self.checked = self._torch_hint = None
        self._set_phase("installing")
        try:
            plan = self.plan()
            if plan.torch is not None and folder is None:
                self._installer.install_torch(plan.torch)
                self.packages = read_packages(*self._more)
                plan = self.plan()
            if plan.torch is not None and folder is not None:
                self._torch_hint = torch_from_folder(self._python, folder)
            if plan.pip:
                self._pip(plan.pip, folder)
            else:
                self._installed()
        except MRI2PETError as error:
            self._stop(error)
        except Exception as error:  # noqa: BLE001  whatever the extension or Slicer's own pip raises
            self._stop(MRI2PETError(f"The installation failed: {error}", "See the Python console."))

    def check(self) -> None:
        """Import everything in a child process and find the devices; :meth:`pump` brings the outcome."""
        if self.is_busy:
            return
        self.problem = self.checked = None
        self.packages = read_packages(*self._more)
        if self.missing:
            self._changed()
            return
        arguments = ["doctor", *(["--need", *self._more] if self._more else [])]
        callbacks = Callbacks(
            progress=lambda progress: self._show_stage(progress.stage),
            log=self._add_log,
            warning=self._add_log,
            finished=self._checked,
        )
        self._check = Job(mri2pet_command(arguments, self._python), callbacks)
        self.stage = ""
        self._set_phase("checking")
        try:
            self._check.start()
        except MRI2PETError as error:
            self._stop(error)

    def pump(self) -> bool:
        """Deliver what has arrived. True while something is under way."""
        if self.phase == "installing":
            self._installer.pump()
        elif self._check is not None:
            self._check.pump()
        return self.is_busy

    def close(self) -> None:
        """End a check that is under way. An installation goes on: half of one would be worse."""
        if self._check is not None:
            self._check.cancel()

    def _pip(self, packages: Sequence[Package], folder: Path | str | None) -> None:
        keep = tempfile.TemporaryDirectory(prefix="mri2pet-")
        constraints = Path(keep.name) / "constraints.txt"
        constraints.write_text(constraints_text(packages), encoding="utf-8")
        start = len(self.log)

        def finished(code: int) -> None:
            keep.cleanup()
            if code == 0:
                self._installed()
            else:
                self.packages = read_packages(*self._more)
                self._stop(pip_failure(self.log[start:]))

        try:
            self._installer.pip_install(pip_arguments(packages, constraints, folder), self._add_log, finished)
        except BaseException:
            keep.cleanup()
            raise

    def _installed(self) -> None:
        self._set_phase("idle")
        if self._torch_hint is not None:
            self.packages = read_packages(*self._more)
            self._stop(self._torch_hint)
        else:
            self.check()

    def _checked(self, outcome: Outcome) -> None:
        self.checked = outcome.result
        if outcome.state == "failed":
            self._stop(outcome.error)
        else:
            self._set_phase("idle")

    def _stop(self, problem: Explained | None) -> None:
        self.problem = problem
        if problem is not None:
            self.log.append(str(problem))
        self._set_phase("idle")

    def _set_phase(self, phase: SetupPhase) -> None:
        self.phase = phase
        self._changed()

    def _show_stage(self, stage: str) -> None:
        self.stage = stage
        self._changed()

    def _add_log(self, line: str) -> None:
        self.log.append(line)
        self._changed()
