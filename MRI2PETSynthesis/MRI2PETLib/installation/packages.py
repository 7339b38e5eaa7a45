"""What synthesis and training need, what of it is installed, and how pip is told to add the rest.

``packages.csv`` is the one list. Versions are read from installed metadata: nothing is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from MRI2PETLib.core.errors import DependencyError
from MRI2PETLib.core.installed import version_of, versions
from MRI2PETLib.core.tables import read_table

PackageGroup = Literal["synthesis", "diffusion", "training"]
SLICER, PYTORCH = "Slicer", "PyTorch extension"
SIZES_NOTE = (
    "Download in MB with what the package brings along, measured for Python 3.12 on Linux. "
    "torch: the build for the CPU (127 MB on Windows, 139 MB on macOS); one for CUDA is several times larger."
)


@dataclass(frozen=True)
class Package:
    """One row of ``packages.csv`` and what is installed of it.

    :ivar requirement: name and least version, as pip takes it.
    :ivar module: the name to import.
    :ivar group: what needs it. Diffusion models and training need what synthesis needs, and more.
    :ivar source: who installs it: Slicer itself, PyPI, or the PyTorch extension.
    :ivar megabytes: size of the download, 0 where Slicer brings it. See :data:`SIZES_NOTE`.
    :ivar installed: version; empty when it is there without metadata, ``None`` when it is not there.
    """

    requirement: str
    module: str
    group: PackageGroup
    source: str
    megabytes: float
    purpose: str
    installed: str | None

    @property
    def name(self) -> str:
        return self.requirement.partition(">=")[0]

    @property
    def version_range(self) -> str:
        return self.requirement[len(self.name) :]

    @property
    def state(self) -> Literal["ok", "missing", "too old"]:
        if self.installed is None:
            return "missing"
        # A version that nobody states is not known to be too old; the check by import has the last word.
        return "ok" if not self.installed or _satisfies(self.installed, self.version_range) else "too old"


def read_packages(*more: PackageGroup) -> tuple[Package, ...]:
    """All that synthesis, and ``more``, needs, with what is installed now (about 0.1 s).

    Of a package that stands there twice the last row that is needed counts: training needs a newer torch.
    """
    invalidate_caches()  # so that a package that pip has just added is seen
    every: tuple[dict[str, Any], ...] = read_table(Path(__file__).parent / "packages.csv").rows
    rows: dict[str, dict[str, Any]] = {}
    for row in every:
        if row["group"] in ("synthesis", *more):
            rows[row["module"]] = {**row, "group": rows.get(row["module"], row)["group"]}
    return tuple(
        Package(
            **{**row, "megabytes": float(row["megabytes"] or 0)},
            installed=_installed(row["requirement"].partition(">=")[0], row["module"]),
        )
        for row in rows.values()
    )


def _installed(name: str, module: str) -> str | None:
    return version_of(name) or ("" if find_spec(module) is not None else None)


def _satisfies(version: str, version_range: str) -> bool:
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        # Slicer 5.10 builds its own SimpleITK, which may state a pre-release.
        return SpecifierSet(version_range).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


@dataclass(frozen=True)
class InstallPlan:
    """What is to be installed, and by whom.

    :ivar torch: what the PyTorch extension is asked for, for example ``torch>=2.2``.
    :ivar pip: what pip is asked for.
    """

    torch: Package | None
    pip: tuple[Package, ...]

    @property
    def megabytes(self) -> float:
        return sum(package.megabytes for package in (*self.pip, *([self.torch] if self.torch else [])))


def plan_install(packages: Sequence[Package]) -> InstallPlan:
    """Sort what is missing or too old by who installs it.

    While torch is missing, pip gets only what synthesis needs: with the rest it would choose a torch itself.

    :raises DependencyError: if Slicer itself lacks something: no pip may replace what Slicer was built with.
    """
    wrong = [package for package in packages if package.state != "ok"]
    own = [p for p in wrong if p.source == SLICER]
    if own:
        versions = ", ".join(
            f"{p.name} {p.installed or 'missing'} ({p.version_range} is needed)" for p in own
        )
        raise DependencyError(f"This Slicer is too old: {versions}.", "Use Slicer 5.10 or newer.")
    torch = next((p for p in wrong if p.source == PYTORCH), None)
    pip = [p for p in wrong if p is not torch and (torch is None or p.group == "synthesis")]
    return InstallPlan(torch, tuple(pip))


def constraints_text(upgraded: Sequence[Package] = ()) -> str:
    """A pip constraints file that holds everything installed now at its version, but for ``upgraded``.

    So pip adds packages and replaces none: Slicer's numpy, SimpleITK, scipy and requests stay, a torch that
    works stays, and so does what other extensions installed.
    """
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    free = {canonicalize_name(package.name) for package in upgraded}
    lines = set()
    for title, number in versions():
        name = canonicalize_name(title)
        try:
            version = Version(number)
        except InvalidVersion:  # a damaged installation that pip cannot name either
            continue
        if name not in free:
            lines.add(f"{name}=={version}")
    return "".join(f"{line}\n" for line in sorted(lines))


def pip_arguments(
    packages: Sequence[Package], constraints: Path | str, folder: Path | str | None = None
) -> list[str]:
    """Arguments for ``pip install``: wheels only, within the constraints, from a folder when there is one.

    :param folder: a folder of wheels; then the network is not used.
    """
    # With fewer than two tries pip does not say that it was the network.
    arguments = ["--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    if folder is not None:
        arguments += ["--no-index", "--find-links", str(folder)]
    return [*arguments, "-c", str(constraints), *(package.requirement for package in packages)]


def torch_from_folder(python: str, folder: Path | str) -> DependencyError:
    """What to tell somebody without a network who lacks torch: the PyTorch extension knows no folder."""
    return DependencyError(
        "torch is not installed from a folder here, because its build must fit the computer.",
        f'Choose the wheel yourself, in a terminal: "{python}" -m pip install --no-index '
        f'--find-links "{folder}" torch. Then press Check again.',
    )


# What pip prints. The order matters: a broken connection too ends in "no matching distribution".
_FAILURES = (
    (
        ("No space left on device", "not enough space on the disk"),
        "The disk is full",
        "Free some space and try again.",
    ),
    (
        ("Permission denied", "Access is denied", "Read-only file system"),
        "Slicer's folder cannot be written, or a file in it is in use",
        "Restart Slicer and try again; one that is installed for all users needs the right to write there.",
    ),
    (
        ("connection broken by", "Could not fetch URL", "Read timed out", "CERTIFICATE_VERIFY_FAILED"),
        "The network cannot be reached",
        "Check the connection and the proxy, or use Install from folder.",
    ),
    (
        ("is invalid", "BadZipFile", "do not match the hashes", "do not match the expected"),
        "A wheel is damaged",
        "Download it again.",
    ),
    (
        ("ResolutionImpossible", "conflicting dependencies"),
        "It conflicts with an installed package",
        "The log names the conflicting package. Nothing was changed.",
    ),
    (
        ("No matching distribution", "not a supported wheel"),
        "There is no wheel for this Python and system",
        f"One for Python {sys.version_info.major}.{sys.version_info.minor} on {sys.platform} is needed.",
    ),
)


def pip_failure(lines: Sequence[str]) -> DependencyError:
    """Why pip failed, from what it printed: disk, network, wheel or versions."""
    for marks, cause, hint in _FAILURES:
        if any(mark in line for line in lines for mark in marks):
            last = next((line for line in reversed(lines) if line.startswith("ERROR")), "")
            return DependencyError(f"{cause}. {last.removeprefix('ERROR: ')}".strip(), hint)
    return DependencyError("pip failed: " + (lines[-1] if lines else "it said nothing."), "See the log.")
