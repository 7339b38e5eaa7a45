"""Do the next item of a series in a thread while the present one is worked on."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

from MRI2PETLib.core.errors import Cancelled
from MRI2PETLib.core.progress import ProgressCallback

_POLL_S = 0.1
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class OneAhead(Generic[_Item, _Result]):
    """Call ``function`` for each item, in order, in a thread, at most one item ahead of who takes results.

    So two items are in memory at a time. ``function`` is given a progress callback, and what it last said is
    passed on by :meth:`take`, in the thread of the taker. At the end of the ``with`` block that callback
    raises :class:`~MRI2PETLib.core.errors.Cancelled`, and the thread is waited for.

    >>> with OneAhead([1, 2], lambda item, progress: 2 * item) as ahead:
    ...     [ahead.take(print), ahead.take(print)]
    [2, 4]
    """

    def __init__(
        self, items: Sequence[_Item], function: Callable[[_Item, ProgressCallback], _Result]
    ) -> None:
        self._items: Iterator[_Item] = iter(items)
        self._function = function
        self._thread = ThreadPoolExecutor(1, "one-ahead")
        self._cancelled = threading.Event()

    def __enter__(self) -> OneAhead[_Item, _Result]:
        self._start_next()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _start_next(self) -> None:
        steps: list[tuple[float, float, str]] = []

        def progress(done: float, total: float, stage: str) -> None:
            if self._cancelled.is_set():
                raise Cancelled("Cancelled.")
            steps.append((done, total, stage))

        for item in self._items:
            self._next: Future[_Result] = self._thread.submit(self._function, item, progress)
            self._steps = steps
            return

    def take(self, progress: ProgressCallback) -> _Result:
        """The result of the next item, or what its function raised. The item after that is started."""
        pending, steps, n_steps = self._next, self._steps, 0
        while not wait([pending], _POLL_S).done:
            if len(steps) > n_steps:
                n_steps = len(steps)
                progress(*steps[n_steps - 1])
        self._start_next()
        return pending.result()


@contextmanager
def imported_objects_stay() -> Iterator[None]:
    """For imports: what they make stays, so that Python's collector need not look for garbage among it, not
    meanwhile (up to a quarter of their time), later or at the end of the process.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def as_if_not_installed(package: str) -> Iterator[None]:
    """For the import of a library that imports a package wherever it is installed, for what is not used here.

    It changes nothing for a package that was imported before, and later imports find it.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # how Python marks what cannot be imported
    try:
        yield
    finally:
        del sys.modules[package]


def import_and_call(modules: Sequence[str], function: Callable[[], _Result]) -> Future[_Result]:
    """Import modules and call a function, in a thread.

    For a moment at which the work is done outside Python: imports hold Python's lock. Errors of an import are
    left to whoever needs the module.
    """

    def run() -> _Result:
        with imported_objects_stay():
            for name in modules:
                with suppress(Exception):
                    import_module(name)
        return function()

    thread = ThreadPoolExecutor(1, "import-early")
    result = thread.submit(run)
    thread.shutdown(wait=False)
    return result


@cache
def load_torch_early() -> None:
    """Load PyTorch's libraries in a thread, once, as its import does (Linux; elsewhere nothing happens).

    A fifth of that import is the work of the system's loader, during which Python would hold its lock. A
    foreign function is called without: this runs beside what reads images, and the import takes as much less.
    """

    def run() -> None:
        with suppress(Exception):  # its import says what is wrong
            spec = find_spec("torch")
            folder = Path(str(spec and spec.origin)).parent / "lib"
            load = ctypes.CDLL(None).dlopen
            load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
            for name, visible in (("global_deps", os.RTLD_GLOBAL), ("python", os.RTLD_LOCAL)):
                load(os.fsencode(folder / f"libtorch_{name}.so"), os.RTLD_LAZY | visible)

    if sys.platform == "linux":
        threading.Thread(target=run, name="load-torch").start()
