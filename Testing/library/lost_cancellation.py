"""A command that is cancelled, and loses the exception."""

from __future__ import annotations

import signal
from collections.abc import Callable


def cancelled_run(swallow: bool) -> Callable[..., int]:
    """The ``run`` of a command that gets SIGTERM: it ends as done (``swallow``), or by another exception."""

    def run(*_: object) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            if not swallow:
                raise RuntimeError("DataLoader worker exited unexpectedly") from None
        return 0

    return run
