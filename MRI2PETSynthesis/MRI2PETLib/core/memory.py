"""How much memory a process may still take: of the machine, of its container, under its limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


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
    with suppress(OSError, ValueError):  # a container (cgroup v2); "max" is no number
        limit = int((_CGROUP / "memory.max").read_text())
        limits.append(max(0, limit - int((_CGROUP / "memory.current").read_text())))
    return min(limits, default=None)
