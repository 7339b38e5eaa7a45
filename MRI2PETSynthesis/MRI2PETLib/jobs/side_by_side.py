"""The same command in several processes that share one output folder: each takes what nobody has claimed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from MRI2PETLib.core.errors import Cancelled
from MRI2PETLib.core.memory import free_memory
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.threads import cores
from MRI2PETLib.jobs.child_process import Callbacks, Job, child_python, mri2pet_command
from MRI2PETLib.jobs.messages import Progress

_POLL_S = 0.1


def number_of_workers(
    processes: int, cases: int, process_gb: float, memory_gb: float | None, warn: Callable[[str], None]
) -> int:
    """How many processes run side by side: as asked, if there are as many cases and the memory suffices.

    :param process_gb: what each takes; ``memory_gb``: for all of them, by default what is free.
    """
    free = free_memory()
    bound = memory_gb if memory_gb is not None else None if free is None else free / 1e9
    fitting = processes if bound is None else max(1, int(bound / process_gb))
    if fitting < processes:
        warn(f"{fitting} of {processes} processes run: {bound:.1f} GB of memory, {process_gb:g} a process.")
    return min(processes, fitting, cases)


def run_side_by_side(
    command: Sequence[str],
    workers: int,
    output: Path,
    reporter: Reporter,
    *,
    temporary: Path | None = None,
) -> None:
    """Run ``mri2pet COMMAND`` in several processes until all have ended. Threads are divided among them.

    What a process leaves undone (it was killed, memory ran out) is left to the others and to the caller.

    :param temporary: folder for temporary files.
    :raises Cancelled: when the user cancels; no process is left then.
    """
    threads = str(max(1, cores() // workers))
    env = {
        **os.environ,
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        **({} if temporary is None else {"TMPDIR": str(temporary)}),
    }
    messages: set[str] = set()
    furthest = 0.0

    def warn(message: str) -> None:
        if message not in messages:  # each process has some to say that are about all
            messages.add(message)
            reporter.warning(message)

    def progress(now: Progress) -> None:
        nonlocal furthest
        furthest = max(furthest, now.done / now.total)
        reporter.progress(furthest, 1.0, now.stage)

    callbacks = Callbacks(progress=progress, warning=warn)
    line = mri2pet_command(command, child_python())
    jobs = [Job(line, callbacks, output=output, env=env) for _ in range(workers)]
    try:
        for job in jobs:
            job.start()
        while any([job.pump() for job in jobs]):
            reporter.progress(furthest, 1.0, f"{workers} processes")
            time.sleep(_POLL_S)
    except BaseException:
        for job in jobs:
            job.cancel()
        while any(job.is_active for job in jobs):
            with suppress(Cancelled):  # again, at each step
                for job in jobs:
                    job.pump()
                time.sleep(_POLL_S)
        raise
    for job in jobs:
        if job.outcome is not None and job.outcome.exit_code < 0:
            warn(f"A process was ended ({job.outcome.error}). Its cases go to the others.")
