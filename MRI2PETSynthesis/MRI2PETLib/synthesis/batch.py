"""Many T1s in one run: one status file a case, a failed case does not stop the rest, a second run does the
rest. While the network works on a case, the next one is read and its brain is found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import SimpleITK as sitk

from MRI2PETLib.core.case_loop import each_case
from MRI2PETLib.core.claims import Claims, remove_lost
from MRI2PETLib.core.errors import InputError, MRI2PETError, QualityError
from MRI2PETLib.core.files import output_folder
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.prefetch import OneAhead, import_early
from MRI2PETLib.core.progress import ProgressCallback, Reporter, part_of
from MRI2PETLib.core.requests import Request, located, read_record
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.dicom_study import DicomOrigin
from MRI2PETLib.images.image_checks import ImageKind
from MRI2PETLib.images.io import LoadedImage, read_mask
from MRI2PETLib.images.sources import optional_source, source_of
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.inference import LoadedModel
from MRI2PETLib.preprocessing.template_registration import ALIGNING
from MRI2PETLib.synthesis.case_files import STATUS, CaseFiles, case_files, write_case
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.dataset_description import describe_dataset
from MRI2PETLib.synthesis.dicom_case import check_dicom_out, dicom_origin, study_source, write_dicom
from MRI2PETLib.synthesis.pipeline import (
    ENCODING,
    PreparedImage,
    SynthesisResult,
    complete,
    open_model,
    prepare,
    read_source,
)
from MRI2PETLib.synthesis.settings import SynthesisSettings

STATUS_FILE = "synthesis_status.csv"
_FOLDERS = ("", "sub-*/", "sub-*/ses-*/")  # of cases in an output folder, see find_cases


@dataclass(frozen=True)
class Status:
    """One row of the status table. ``status`` is done, kept (was there already) or failed.

    ``pet`` is the synthetic one, ``pet_coverage`` the share (0..1) of the brain that a real one measured.
    ``brain_ml`` is the volume of the mask, ``template_r`` the correlation with the template where it lies.
    ``files`` are those of the case by the names of :class:`.CaseFiles`, not in the table.
    """

    case: str
    status: str
    quality: str
    message: str
    hint: str
    seconds: str
    t1: str
    pet: str
    pet_coverage: str = ""
    brain_ml: str = ""
    template_r: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)

    def row(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in STATUS_COLUMNS}


STATUS_COLUMNS = tuple(f.name for f in fields(Status) if f.name != "files")


class Addition(Protocol):
    """What is added to the files of every case: a picture, a comparison."""

    def read(self, case: Case) -> None:
        """Read what it needs of a case before anything is computed.

        :raises InputError: if that cannot be used.
        """
        ...

    def write(
        self, case: Case, files: CaseFiles, t1: LoadedImage, result: SynthesisResult
    ) -> Mapping[str, Any]:
        """Write its files, which are still in their staging folder.

        :return: what is to be recorded of the case, by columns of the status table.
        """
        ...


@dataclass(frozen=True)
class BatchRun:
    """What is the same for all cases of a run.

    :ivar since: when it began; what failed later is not tried again by another process of the same run.
    """

    bundle: Bundle
    output: Path
    settings: SynthesisSettings
    reporter: Reporter
    addition: Addition | None
    claims: Claims
    since: float

    @cached_property
    def model(self) -> LoadedModel:
        return open_model(self.bundle, self.settings)


def run_batch(
    cases: Sequence[Case],
    bundle: Bundle,
    output: Path,
    settings: SynthesisSettings,
    *,
    reporter: Reporter,
    addition: Addition | None = None,
    table: bool = True,
    since: float | None = None,
) -> list[Status]:
    """Synthesise every case into ``output``; what is there already from the same request is kept.

    Any number of processes and computers may work on one folder: a case is made by whoever claims it first
    (:mod:`MRI2PETLib.core.claims`), the others go on to the next and come back to it at the end. Every case
    has a status file beside its images; ``synthesis_status.csv`` is a table made from them.

    :param table: make that table.
    :param since: when the work on the cases began (seconds of the epoch), if that was in another process.
    :raises OutputError: if the folder cannot be written to (nothing more could be saved).
    :raises Cancelled: when the user cancels; finished cases are kept.
    """
    if settings.dicom or any(case.inputs.dicom_study for case in cases):
        check_dicom_out(bundle)
    output_folder(output)
    for folder in {output / case.folder for case in cases}:
        sweep(folder)
    links = describe_dataset(output, [case.dataset for case in cases if case.dataset is not None])
    cases = [case if case.dataset is None else replace(case, link=links[case.dataset]) for case in cases]
    rows: list[Status] = []
    try:
        with Claims() as claims:
            batch = BatchRun(bundle, output, settings, reporter, addition, claims, since or time.time())
            busy: list[Case] = []
            for case, row in _each_row(cases, batch, len(cases) == 1, wait=False):
                if row is None:
                    busy.append(case)
                else:
                    rows.append(row)
            rows += [row for _, row in _each_row(busy, batch, len(cases) == 1, wait=True) if row is not None]
    finally:
        if table:
            write_status_table(output, rows)
    order = {(case.name, str(case.t1)): number for number, case in enumerate(cases)}
    return sorted(rows, key=lambda row: order.get((row.case, row.t1), len(order)))


def _each_row(
    cases: Sequence[Case], batch: BatchRun, is_only: bool, *, wait: bool
) -> Iterator[tuple[Case, Status | None]]:
    """What becomes of each case; ``None`` for one that another process works on, unless it is waited for."""
    requests = cache(lambda case: synthesis_request(case, batch.bundle, batch.settings))

    def prepare_case(case: Case, progress: ProgressCallback) -> Ready | Status | None:
        files = case_files(case, batch.bundle, batch.output)
        files.check_names()
        return _prepare_case(case, files, requests(case), batch, progress, wait=wait)

    def complete_case(case: Case, progress: ProgressCallback) -> Status | None:
        progress(0, 1, "reading")
        ready = ahead.take(progress)
        return _complete_case(case, ready, batch, progress) if isinstance(ready, Ready) else ready

    with OneAhead(cases, prepare_case) as ahead:
        for done in each_case(
            cases, complete_case, name=lambda case: case.name, reporter=batch.reporter, is_only=is_only
        ):
            row, files = done.result, case_files(done.case, batch.bundle, batch.output)
            if done.error is not None:
                row = _failed(done.case, files, requests(done.case), done.error, done.seconds, batch.reporter)
            batch.claims.give_back(files.status)
            yield done.case, row


@dataclass(frozen=True)
class Ready:
    """A case whose image is read and in model space; ``origin`` where DICOM is to be written."""

    files: CaseFiles
    t1: LoadedImage
    prepared: PreparedImage
    request: Request
    origin: DicomOrigin | None


def synthesis_request(case: Case, bundle: Bundle, settings: SynthesisSettings) -> Request:
    """What decides the result of a case."""
    inputs = case.inputs
    kind: ImageKind = "pet" if bundle.space.source_modality == "PET" else "t1"
    return Request(
        {"t1": source_of(case.t1, kind)},
        {
            "mask": optional_source(inputs.mask, "mask"),
            "pet": optional_source(inputs.pet, "pet"),
            "dicom_study": study_source(inputs.dicom_study),
        },
        {
            "model": bundle.checksum,
            **inputs.to_dict(deciding=True),
            **settings.to_dict(deciding=True),
        },
    )


def _prepare_case(
    case: Case, files: CaseFiles, request: Request, batch: BatchRun, progress: ProgressCallback, *, wait: bool
) -> Ready | Status | None:
    """Claim a case, read it and prepare it for the network, or say that it was done before.

    ``None`` if another process works on it.
    """
    result = files.result()
    if (row := _earlier_row(case, files, request, batch)) is not None:
        return row
    if wait:
        batch.claims.wait(files.status, progress)
    elif not batch.claims.take(files.status):
        return None
    if (row := _earlier_row(case, files, request, batch)) is not None:  # by another process, just now
        return row
    if (about := result.failure(request, batch.since)) is not None:
        return _status(files.folder, about)
    result.check_owner(request, lambda message: batch.reporter.warning(f"{case.name}: {message}"))

    def report(done: float, total: float, stage: str) -> None:
        if stage in (ALIGNING, ENCODING):
            import_early("torch", "matplotlib.figure", "matplotlib.backends.backend_agg")
        progress(done, total, stage)

    inputs, bundle, settings = case.inputs, batch.bundle, batch.settings
    if batch.addition is not None:
        batch.addition.read(case)
    t1 = read_source(case.t1, bundle, inputs.series)
    wants_dicom = settings.dicom or inputs.dicom_study is not None
    origin = dicom_origin(t1, inputs.dicom_study) if wants_dicom else None
    brain = None if inputs.mask is None else read_mask(inputs.mask, t1.forms)
    try:
        prepared = prepare(t1.image, bundle, settings, mask=brain, progress=part_of(report, 0.04, 0.65))
    except QualityError as error:  # what was odd about the file may be why
        raise QualityError(" ".join((error.message, *t1.verdict.reasons("warn"))), error.hint) from error
    return Ready(files, t1, prepared, request, origin)


def _earlier_row(case: Case, files: CaseFiles, request: Request, batch: BatchRun) -> Status | None:
    """The row of a case that is finished."""
    about = files.result().finished(request)
    if about is None:
        return None
    remove_lost(files.status)
    if files.status.stat().st_mtime >= batch.since:  # by another process of this run
        return _status(files.folder, about)
    row = _status(files.folder, {**about, "status": "kept", "t1": case.t1})
    batch.reporter.log(f"{case.name}: already there, kept ({row.pet})")
    return row


def _complete_case(case: Case, ready: Ready, batch: BatchRun, progress: ProgressCallback) -> Status:
    """Run the network for a case and write its files."""
    started = time.perf_counter()
    files, t1, bundle, reporter = ready.files, ready.t1, batch.bundle, batch.reporter
    result = complete(ready.prepared, lambda: batch.model, batch.settings, part_of(progress, 0.65, 0.95))
    verdict = t1.verdict + result.verdict
    for reason in verdict.reasons("warn"):
        reporter.warning(f"{case.name}: {reason}")
    if batch.settings.samples > 1 and result.sd is None:
        reporter.warning(f"{bundle.id} is deterministic: more than one sample changes nothing.")
    progress(0.96, 1, "writing")
    about: dict[str, Any] = {
        "case": case.name,
        "status": "done",
        "quality": verdict.level,
        "message": " ".join(verdict.reasons("warn")),
        "hint": "",
        "t1": str(case.t1),
        **_figures(result.extraction.measures),
    }
    with files.result().make(ready.request, about) as staging:
        staged = replace(files, folder=staging)
        staged.make_folders()
        # Compressing images and drawing them are each the work of one core. Not of the same images: ITK's
        # filters note in an image which region they want.
        pet, mask, error_sd = map(_copy, (result.pet, result.mask, result.error_sd))
        copied = replace(result, pet=pet, mask=mask, error_sd=error_sd)
        with ThreadPoolExecutor(1, "write") as aside:
            written = aside.submit(write_case, staged, case, t1, bundle, copied)
            if batch.addition is not None:
                about |= batch.addition.write(case, staged, t1, result)
            written.result()
        if ready.origin is not None:
            write_dicom(result, ready.origin, bundle, staged.dicom)
        about["files"] = {role: staged.name_of(p) for role, p in staged.by_role().items() if p.exists()}
        prepared_s = sum(ready.prepared.seconds.values())
        about["seconds"] = f"{prepared_s + time.perf_counter() - started:.1f}"
    return _status(files.folder, about)


def _figures(measures: Mapping[str, Any]) -> dict[str, str]:
    """What the status says of a brain."""
    volume, fit = measures.get("volume_ml"), measures.get("template_correlation")
    return {
        "brain_ml": "" if volume is None else f"{volume:.0f}",
        "template_r": "" if fit is None else f"{fit:.3f}",
    }


def _copy(image: Any) -> Any:
    """The image with voxels of its own; nothing of nothing."""
    if image is None:
        return None
    copy = sitk.Image(image)
    copy.MakeUnique()
    return copy


def _status(folder: Path, about: Mapping[str, Any]) -> Status:
    """A row from what a record says about its case."""
    files = located(folder, about.get("files", {}))
    texts = {name: str(about.get(name, "")) for name in STATUS_COLUMNS}
    return Status(**{**texts, "pet": str(files.get("pet", ""))}, files=files)


def _failed(
    case: Case,
    files: CaseFiles,
    request: Request,
    error: MRI2PETError,
    seconds: float,
    reporter: Reporter,
) -> Status:
    """The row of a case that failed; its status file says so, too, if it has not that of another case."""
    about = {
        "case": case.name,
        "status": "failed",
        "quality": "refuse" if isinstance(error, QualityError) else "",
        "message": error.message,
        "hint": error.hint,
        "seconds": f"{seconds:.1f}",
        "t1": str(case.t1),
    }
    with suppress(InputError):
        files.check_names()
        files.result().check_owner(request)
        if files.result().fail(request, about):
            reporter.warning(f"{case.name}: its earlier result was of other inputs and has been removed.")
    return _status(files.folder, about)


def read_status(output: Path) -> list[Status]:
    """What the status files of an output folder say, sorted by case."""
    paths = [path for folders in _FOLDERS for path in output.glob(f"{folders}*{STATUS}")]
    records = [(path.parent, read_record(path)) for path in paths]
    about = [(folder, record["about"]) for folder, record in records if record is not None]
    rows = [_status(folder, own) for folder, own in about if own]  # else another process is moving its files
    return sorted(rows, key=lambda row: (row.case, row.t1))


def write_status_table(output: Path, own: Sequence[Status] = ()) -> None:
    """Make ``synthesis_status.csv`` from the status files.

    :param own: rows of this run: a case that was refused because of another's result has no status file.
    """
    rows, written = read_status(output), None
    while (rows or own) and rows != written:  # another process may have finished a case meanwhile
        there = {(row.case, row.t1) for row in rows}
        more = [row for row in own if row.status == "failed" and (row.case, row.t1) not in there]
        write_table(output / STATUS_FILE, STATUS_COLUMNS, [row.row() for row in (*rows, *more)])
        written, rows = rows, read_status(output)
