"""Readouts of the controls, kept in the run until its norm is made, so that a build that was stopped goes on.

They hold images of people in MNI space: they lie in the run, never in the norm.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import OutputError
from MRI2PETLib.core.requests import Request, Result
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.normative.person import KINDS, Readout

_VALUES, _RECORD = "readout.npz", "readout.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptReadouts:
    """The readouts of a build below a folder; ``request_of``: what decides that of a case."""

    folder: Path
    request_of: Callable[[CohortCase], Request]

    def read(self, case: CohortCase) -> tuple[Readout, dict[str, Any]] | None:
        """The readout of a case and the facts beside it, or ``None`` where there is no sound one."""
        request = self.request_of(case)
        result = self._result(request)
        about = result.finished(request)
        if about is None:
            return None
        try:
            with np.load(result.folder / _VALUES, allow_pickle=False) as content:
                parts = {f.name: {k: content[f"{f.name} {k}"] for k in KINDS} for f in fields(Readout)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return Readout(**parts), about

    def keep(self, case: CohortCase, readout: Readout, facts: dict[str, Any]) -> None:
        """Keep a readout; a run that cannot be written to is no error."""
        request = self.request_of(case)
        values = {f"{f.name} {k}": getattr(readout, f.name)[k] for f in fields(Readout) for k in KINDS}
        try:
            with self._result(request).make(request, facts) as staging:
                np.savez(staging / _VALUES, **values)
        except OutputError as error:
            _log.info("the readout of %s is not kept: %s", case.case, error.message)

    def remove(self, cases: list[CohortCase]) -> None:
        """Remove the readouts of these cases: the norm is there."""
        for case in cases:
            shutil.rmtree(self._result(self.request_of(case)).folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _result(self, request: Request) -> Result:
        return Result(self.folder / request.checksum[:32], _RECORD, {_VALUES})
