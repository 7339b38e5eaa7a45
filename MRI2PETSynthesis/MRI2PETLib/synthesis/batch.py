"""Many T1s in one run: one status row a case, a failed case does not stop the rest, a second run does the
rest. While the network works on a case, the next one is read and its brain is found.
"""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import EXIT_PARTIAL, Cancelled, MRI2PETError, OutputError, QualityError
from MRI2PETLib.core.files import output_folder, staged_folder, write_json, write_text
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.prefetch import OneAhead, import_early
from MRI2PETLib.core.progress import ProgressCallback, Reporter, part_of
from MRI2PETLib.images.io import LoadedImage, read_image, sha256_of
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.inference import LoadedModel
from MRI2PETLib.preprocessing.template_registration import ALIGNING
from MRI2PETLib.synthesis.case_files import CaseFiles, case_files, finished_sidecar, write_case
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.pipeline import (
    ENCODING,
    Prepared,
    SynthesisResult,
    complete,
    open_model,
    prepare,
    read_source,
)
from MRI2PETLib.synthesis.settings import SynthesisSettings

STATUS_FILE = "synthesis_status.csv"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """One row of the status table. ``status`` is done, kept (was there already) or failed."""

    case: str
    status: str
    quality: str
    message: str
    hint: str
    seconds: str
    t1: str
    pet: str


# Adds a picture or a comparison to a case's files, which are still in their staging folder.
AfterCase = Callable[[Case, CaseFiles, LoadedImage, SynthesisResult], None]


def run_batch(
    cases: Sequence[Case],
    bundle: Bundle,
    output: Path,
    settings: SynthesisSettings,
    *,
    reporter: Reporter,
    after_case: AfterCase | None = None,
) -> list[Status]:
    """Synthesise every case into ``output`` and keep ``synthesis_status.csv`` there up to date.

    :raises OutputError: if the folder cannot be written to (nothing more could be saved).
    :raises Cancelled: when the user cancels; finished cases are kept.
    """
    output_folder(output)
    for folder in {output / case.folder for case in cases}:
        sweep(folder)
    if any(case.folder != Path(".") for case in cases):
        _describe_dataset(output)
    names = {case.name for case in cases}
    earlier = [row for row in read_status(output) if row.case not in names]
    rows: list[Status] = []
    load = cache(lambda: open_model(bundle, settings))

    def prepare_case(case: Case, progress: ProgressCallback) -> Ready | Status:
        return _prepare_case(case, case_files(case, bundle, output), bundle, progress, settings)

    with OneAhead(cases, prepare_case) as ahead:
        for number, case in enumerate(cases):
            started = time.perf_counter()

            def progress(
                done: float, total: float, stage: str, number: int = number, case: Case = case
            ) -> None:
                label = f"{case.name}: {stage}" if len(cases) > 1 else stage
                reporter.progress(number + done / total, len(cases), label)

            try:
                progress(0, 1, "reading")
                ready = ahead.take(progress)
                if isinstance(ready, Status):
                    reporter.log(f"{case.name}: already there, kept ({ready.pet})")
                    row = ready
                else:
                    row = _complete_case(case, ready, bundle, load, progress, reporter, after_case, settings)
                    row = replace(row, seconds=_since(started))
            except (Cancelled, OutputError):
                raise
            except MRI2PETError as error:
                row = _failed(case, error, started)
                if len(cases) == 1:
                    _save(output, [*earlier, row])
                    raise
                reporter.warning(f"{case.name} failed: {error}")
            except Exception as error:  # noqa: BLE001  one broken case must not lose the others
                _log.exception("%s failed", case.name)
                if len(cases) == 1:
                    raise
                unexpected = MRI2PETError(
                    f"Unexpected {type(error).__name__}: {error}", "Please report this."
                )
                reporter.warning(f"{case.name} failed: {unexpected}")
                row = _failed(case, unexpected, started)
            rows.append(row)
            _save(output, [*earlier, *rows])
    return rows


def exit_code(rows: Sequence[Status]) -> int:
    """0 if all cases are done, ``EXIT_PARTIAL`` if some failed, 1 if all failed."""
    failed = sum(row.status == "failed" for row in rows)
    return 0 if not failed else 1 if failed == len(rows) else EXIT_PARTIAL


@dataclass(frozen=True)
class Ready:
    """A case whose image is read and in model space. ``wanted`` identifies the request."""

    files: CaseFiles
    t1: LoadedImage
    prepared: Prepared
    wanted: dict[str, Any]


def _prepare_case(
    case: Case, files: CaseFiles, bundle: Bundle, progress: ProgressCallback, settings: SynthesisSettings
) -> Ready | Status:
    """Read a case and prepare it for the network, or say that it was done before."""
    given = case.inputs
    inputs = {"t1": case.t1, "mask": given.mask, "pet": given.pet}
    wanted = {
        "version": __version__,
        "model_sha256": bundle.sha256,
        **{f"{name}_sha256": sha256_of(path) if path else None for name, path in inputs.items()},
        "series": given.series,
        "pet_unit": given.pet_unit,
        **settings.to_dict(by_content=False),
    }
    if (sidecar := finished_sidecar(files, wanted)) is not None:
        level = sidecar["Quality"]["level"]
        return Status(case.name, "kept", level, "", "", "0.0", str(case.t1), str(files.pet))

    def told(done: float, total: float, stage: str) -> None:
        if stage in (ALIGNING, ENCODING):
            import_early("torch", "matplotlib.figure", "matplotlib.backends.backend_agg")
        progress(done, total, stage)

    t1 = read_source(case.t1, bundle, given.series)
    brain = None if given.mask is None else read_image(given.mask, kind="mask").image
    prepared = prepare(t1.image, bundle, settings, mask=brain, progress=part_of(told, 0.04, 0.65))
    return Ready(files, t1, prepared, wanted)


def _complete_case(
    case: Case,
    ready: Ready,
    bundle: Bundle,
    load: Callable[[], LoadedModel],
    progress: ProgressCallback,
    reporter: Reporter,
    after_case: AfterCase | None,
    settings: SynthesisSettings,
) -> Status:
    """Run the network for a case and write its files."""
    files, t1 = ready.files, ready.t1
    result = complete(ready.prepared, load, settings, part_of(progress, 0.65, 0.95))
    for reason in (t1.verdict + result.verdict).reasons("warn"):
        reporter.warning(f"{case.name}: {reason}")
    if settings.samples > 1 and result.sd is None:
        reporter.warning(f"{bundle.id} is deterministic: more than one sample changes nothing.")
    progress(0.96, 1, "writing")
    with staged_folder(files.folder, last=files.sidecar.name) as staging:
        staged = replace(files, folder=staging)
        # Compressing images and drawing them are each the work of one core. Not of the same images: ITK's
        # filters note in an image which region they want.
        copied = replace(result, pet=_copy(result.pet), mask=_copy(result.mask))
        with ThreadPoolExecutor(1, "write") as aside:
            written = aside.submit(write_case, staged, case, t1, bundle, copied, ready.wanted)
            if after_case is not None:
                after_case(case, staged, t1, result)
            written.result()
    level = (t1.verdict + result.verdict).level
    message = " ".join((t1.verdict + result.verdict).reasons("warn"))
    return Status(case.name, "done", level, message, "", "", str(case.t1), str(files.pet))


def _copy(image: sitk.Image) -> sitk.Image:
    """The image with voxels of its own."""
    copy = sitk.Image(image)
    copy.MakeUnique()
    return copy


def _since(started: float) -> str:
    return f"{time.perf_counter() - started:.1f}"


def _failed(case: Case, error: MRI2PETError, started: float) -> Status:
    quality = "refuse" if isinstance(error, QualityError) else ""
    return Status(case.name, "failed", quality, error.message, error.hint, _since(started), str(case.t1), "")


def read_status(output: Path) -> list[Status]:
    """The rows of earlier runs into the same folder; none if the table is missing or not ours."""
    try:
        with open(output / STATUS_FILE, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [Status(**row) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def _save(output: Path, rows: Sequence[Status]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Status)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(output / STATUS_FILE, text.getvalue())


def _describe_dataset(output: Path) -> None:
    """A BIDS derivative says what made it."""
    write_json(
        output / "dataset_description.json",
        {
            "Name": "Synthetic PET",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "SlicerMRI2PET", "Version": __version__}],
        },
    )
