"""Many T1s in one run: one status file a case, a failed case does not stop the rest, a second run does the
rest. While the network works on a case, the next one is read and its brain is found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import SimpleITK as sitk

from MRI2PETLib.core.case_status import Figure, Status, StatusTable, status_of_shared_cases
from MRI2PETLib.core.errors import QualityError
from MRI2PETLib.core.files import output_folder
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.prefetch import import_and_call, load_torch_early
from MRI2PETLib.core.progress import ProgressCallback, Reporter, part_of
from MRI2PETLib.core.requests import Request, Result
from MRI2PETLib.images.dicom_study import DicomOrigin
from MRI2PETLib.images.image_checks import ImageKind
from MRI2PETLib.images.io import LoadedImage, read_mask
from MRI2PETLib.images.sources import optional_source, source_of
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.inference import LoadedModel
from MRI2PETLib.preprocessing.template_registration import ALIGNING
from MRI2PETLib.synthesis.case_files import STATUS, CaseFiles, case_files, note_of_synthesis, write_case
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

if TYPE_CHECKING:
    import torch

# Measured with a head of 1 mm voxels, two of which are in memory at a time; see Docs/how_to/cluster.md.
PROCESS_GB = 1.6
SYNTHESIS = StatusTable(
    "synthesis",
    STATUS,
    ("", "sub-*/", "sub-*/ses-*/"),  # of cases in an output folder, see find_cases
    (
        Figure("pet_coverage"),  # share (0..1) of the brain that a real PET measured
        Figure("brain_ml", "Brain (ml)"),
        Figure("template_r", "Fit to the template (r)"),  # where the brain was found
    ),
)


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
class Ready:
    """A case whose image is read and in model space; ``origin`` where DICOM is to be written."""

    t1: LoadedImage
    prepared: PreparedImage
    origin: DicomOrigin | None


@dataclass(frozen=True)
class BatchRun:
    """The synthesis of cases, see :class:`.CaseWork`: what is the same for all of a run."""

    bundle: Bundle
    output: Path
    settings: SynthesisSettings
    reporter: Reporter
    addition: Addition | None
    reads_ahead: bool = True

    @cached_property
    def networks(self) -> Future[list[torch.nn.Module]]:
        """Those of the bundle, loaded in a thread from when they are first asked for."""
        modules = ("torch", "safetensors.torch", "PIL.ImageDraw", "PIL.ImageFont")
        return import_and_call(modules, self.bundle.networks)

    @cached_property
    def model(self) -> LoadedModel:
        return open_model(self.bundle, self.settings, self.networks.result())

    def files(self, case: Case) -> CaseFiles:
        return case_files(case, self.bundle, self.output)

    def about(self, case: Case) -> dict[str, Any]:
        return {"case": case.name, "t1": str(case.t1)}

    def record(self, case: Case) -> Path:
        return self.files(case).status

    def result(self, case: Case) -> Result:
        return self.files(case).result()

    def request(self, case: Case) -> Request:
        self.files(case).check_names()
        return synthesis_request(case, self.bundle, self.settings)

    def read(self, case: Case, request: Request, progress: ProgressCallback) -> Ready:
        """Read a case and prepare it for the network."""

        def report(done: float, total: float, stage: str) -> None:
            if stage in (ALIGNING, ENCODING):
                _ = self.networks
            progress(done, total, stage)

        inputs, bundle, settings = case.inputs, self.bundle, self.settings
        if self.addition is not None:
            self.addition.read(case)
        t1 = read_source(case.t1, bundle, inputs.series)
        load_torch_early()  # not before: other libraries, which reading loads, would wait for it
        wants_dicom = settings.dicom or inputs.dicom_study is not None
        origin = dicom_origin(t1, inputs.dicom_study) if wants_dicom else None
        brain = None if inputs.mask is None else read_mask(inputs.mask, t1.forms)
        try:
            prepared = prepare(t1.image, bundle, settings, mask=brain, progress=part_of(report, 0.04, 0.65))
        except QualityError as error:  # what was odd about the file may be why
            message = " ".join((error.message, *t1.verdict.reasons("warn")))
            raise QualityError(message, error.hint, (*t1.verdict.findings, *error.findings)) from error
        return Ready(t1, prepared, origin)

    def make(self, case: Case, request: Request, ready: Ready, progress: ProgressCallback) -> dict[str, Any]:
        """Run the network for a case and write its files."""
        started = time.perf_counter()
        files, t1, bundle, reporter = self.files(case), ready.t1, self.bundle, self.reporter
        result = complete(ready.prepared, lambda: self.model, self.settings, part_of(progress, 0.65, 0.95))
        verdict = t1.verdict + result.verdict
        for reason in verdict.reasons("warn"):
            reporter.warning(f"{case.name}: {reason}")
        if self.settings.samples > 1 and not get_family(bundle.family).STOCHASTIC:
            reporter.warning(f"{bundle.id} is deterministic: more than one sample changes nothing.")
        progress(0.96, 1, "writing")
        about: dict[str, Any] = {
            **self.about(case),
            "status": "done",
            "quality": verdict.level,
            "message": " ".join(verdict.reasons("warn")),
            "hint": "",
            **_figures(result.extraction.measures),
            "note": note_of_synthesis(bundle, case.t1),
        }
        with files.result().make(request, about) as staging:
            staged = replace(files, folder=staging)
            staged.make_folders()
            # Compressing images and drawing them are each the work of one core. Not of the same images: ITK's
            # filters note in an image which region they want.
            pet, mask, error_sd = map(_copy, (result.pet, result.mask, result.error_sd))
            copied = replace(result, pet=pet, mask=mask, error_sd=error_sd)
            with ThreadPoolExecutor(1, "write") as aside:
                written = aside.submit(write_case, staged, case, t1, bundle, copied)
                if self.addition is not None:
                    about |= self.addition.write(case, staged, t1, result)
                written.result()
            if ready.origin is not None:
                write_dicom(result, ready.origin, bundle, staged.dicom)
            about["files"] = {role: staged.name_of(p) for role, p in staged.by_role().items() if p.exists()}
            prepared_s = sum(ready.prepared.seconds.values())
            about["seconds"] = f"{prepared_s + time.perf_counter() - started:.1f}"
        return about


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
    batch = BatchRun(bundle, output, settings, reporter, addition)
    return status_of_shared_cases(
        cases, batch, SYNTHESIS, output, reporter=reporter, since=since or time.time(), write=table
    )


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
