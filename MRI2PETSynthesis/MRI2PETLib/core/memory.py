"""How much memory a process may still take: of the machine, of its container or job, under its limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Of versions 2 and 1: the limit, what is taken, and how much of that is a cache of files, which can be had.
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory() -> int | None:
    """Bytes that can be had, as far as the system says; ``None`` where it does not."""
    limits = []
    with suppress(ImportError):
        import psutil

        limits.append(int(psutil.virtual_memory().available))
        with suppress(ImportError, OSError, ValueError):  # no such module on Windows
            import resource

            limit, _ = resource.getrlimit(resource.RLIMIT_AS)
            if limit != resource.RLIM_INFINITY:
                limits.append(max(0, limit - int(psutil.Process().memory_info().vms)))
    for folder in _control_groups():
        for names in _FILES:
            with suppress(OSError, ValueError):  # "max" is no number
                limits.append(_free_in(folder, *names))
    return min(limits, default=None)


def _control_groups() -> Iterator[Path]:
    """The folders of the control groups that this process is in, of a container or of a job of Slurm."""
    yield from (_CGROUPS, _CGROUPS / "memory")
    with suppress(OSError, ValueError):
        for line in _OWN.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            root = _CGROUPS / "memory" if controllers else _CGROUPS
            if not controllers or "memory" in controllers.split(","):
                folder = root / name.lstrip("/")
                yield from (one for one in (folder, *folder.parents) if root in one.parents)


def _free_in(folder: Path, limit: str, usage: str, cache: str) -> int:
    statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    taken = int((folder / usage).read_text()) - int(statistics.get(cache, 0))
    return max(0, int((folder / limit).read_text()) - taken)
