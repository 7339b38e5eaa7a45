"""Each case brought into model space once, in parallel, and kept on disk under what it was made from.

::

    CACHE/<key>/arrays.npy      float16 [source, target, mask] of model space, [3, k, j, i]
    CACHE/<key>/mask.nii.gz     brain mask on the grid of the T1
    CACHE/<key>/real.nii.gz     the target on the grid of the T1, in the model's unit
    CACHE/<key>/source.nii.gz   the PET on the grid of the T1, of a model that starts from PET
    CACHE/<key>/warp.npz        the warp of the T1 to the template, of a model that makes a PET
    CACHE/<key>/mni.npy         float16 target in MNI space on the template's grid, NaN where there is none
    CACHE/<key>/entry.json      record of the above, see :mod:`MRI2PETLib.core.requests`

``key`` is the checksum of the request: of the images, their sidecars and everything else that decides the
result. An entry that does not prove itself is made again.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.core.errors import Cancelled, InputError, MRI2PETError, OutputError
from MRI2PETLib.core.files import make_folder, plain
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.core.requests import Request, Result
from MRI2PETLib.evaluation.cubic import cubic_sums
from MRI2PETLib.evaluation.inputs import scaled_mri
from MRI2PETLib.evaluation.reference_region import divide_by_region, in_unit_of, reference_mask
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.grid import Grid, affine_matrix, affine_transform, resample
from MRI2PETLib.images.io import read_image, read_mask, write_image
from MRI2PETLib.models.model_space import ModelSpace, encode_pair
from MRI2PETLib.models.scale_end import at_scale_end
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.preprocessing.frame_window import parse_window
from MRI2PETLib.preprocessing.pet import check_uptake, of_frames, read_pet
from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1, mark_unmeasured
from MRI2PETLib.preprocessing.template_warp import invert_warp
from MRI2PETLib.preprocessing.warp_file import person_warp
from MRI2PETLib.synthesis.case_files import reference_of
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETTrainingLib.dataset.checks import Sources
from MRI2PETTrainingLib.dataset.manifest import TrainingCase

ARRAYS, MASK, REAL, ENTRY = "arrays.npy", "mask.nii.gz", "real.nii.gz", "entry.json"
SOURCE, WARP, MNI = "source.nii.gz", "warp.npz", "mni.npy"
DERIVED_FROM = "DerivedFrom"  # in a PET's sidecar: checksums of the voxels that it was made of
_VERSION = 10  # raise when the same input would give another result


@dataclass(frozen=True)
class Preparation:
    """How PETs are prepared; the same for all cases.

    :ivar register: how a PET gets to the T1, see :mod:`MRI2PETLib.preprocessing.pet_alignment`.
    :ivar realign_frames: see :mod:`MRI2PETLib.preprocessing.frame_realignment`.
    """

    register: str = "auto"
    realign_frames: bool = False


@dataclass(frozen=True)
class PreparedCase:
    """A case in model space. ``about`` is what its ``entry.json`` says of it."""

    case: TrainingCase
    folder: Path
    about: Mapping[str, Any]

    def arrays(self) -> np.ndarray:
        """Float16 [source, target, mask], [3, k, j, i]; mapped from disk, so that memory does not grow.

        :raises InputError: if the file is gone or damaged since it was checked.
        """
        path = self.folder / ARRAYS
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(
                f"The prepared case {self.case.case} cannot be read: {path}: {error}.",
                "Run again with --resume: it is prepared again and finished epochs are kept.",
            ) from error

    def real(self) -> tuple[sitk.Image, sitk.Image]:
        """The target on the grid of the T1, and 1 where it was measured, else 0 in both (float32)."""
        import nibabel as nib  # ITK reads NaN as 0 without a word

        image = sitk.ReadImage(str(self.folder / REAL), sitk.sitkFloat32)
        values = np.asarray(nib.load(self.folder / REAL).dataobj, dtype=np.float32).T  # type: ignore[attr-defined]
        inside = np.isfinite(values)
        grid = Grid.of(image)
        return grid.image(np.where(inside, values, np.float32(0))), grid.image(inside.astype(np.float32))

    def in_mni(self) -> np.ndarray | None:
        """The target in MNI space, float16 [k, j, i] on the template's grid, NaN where there is none."""
        path = self.folder / MNI
        return np.load(path, allow_pickle=False) if path.is_file() else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(Finding(**f) for f in self.about["findings"])

    @property
    def minutes(self) -> tuple[float, float] | None:
        """The minutes after the injection that the PET shows, ``None`` where nothing says it."""
        window = self.about.get("window_min") or self.about.get("frame_min")
        return None if window is None else (window[0], window[1])

    @property
    def template_to_t1(self) -> sitk.Transform | None:
        """Maps MNI points to points of the T1 (LPS mm), or ``None`` when the T1 was not fitted."""
        matrix = self.about["template_to_t1_lps"]
        return None if matrix is None else affine_transform(matrix)


def prepare_cases(
    cases: Sequence[TrainingCase],
    sources: Mapping[str, Sources],
    space: ModelSpace,
    cache: Path,
    *,
    preparation: Preparation | None = None,
    workers: int = 1,
    progress: ProgressCallback = no_progress,
) -> tuple[dict[str, PreparedCase], dict[str, Finding]]:
    """Prepare every case that the cache does not hold yet.

    :param sources: the images of every case, see :func:`.checks.check_manifest`.
    :param workers: processes; each holds one case in memory.
    :returns: what is prepared, in the order of ``cases``, and why the others cannot be, both by case name.
    :raises OutputError: if the cache cannot be written to.
    :raises Cancelled: when the user cancels; finished entries stay.
    """
    make_folder(cache)
    sweep(cache, below=True)
    done: dict[str, PreparedCase] = {}
    failed: dict[str, Finding] = {}
    todo: list[_Work] = []
    how = preparation or Preparation()
    for case in cases:
        request = request_of(case, sources[case.case], space, how)
        folder = cache / request.checksum[:32]
        about = entry_in(folder).finished(request)
        if about is not None:
            done[case.case] = PreparedCase(case, folder, about)
        else:
            todo.append(_Work(case, folder, request))
    for case, result in _run(todo, space, how, workers):
        progress(len(done) + len(failed), len(cases), f"preparing {case.case}")
        if isinstance(result, Finding):
            failed[case.case] = result
        elif result is not None:
            done[case.case] = result
    progress(1, 1, "prepared")
    return {case.case: done[case.case] for case in cases if case.case in done}, failed


@dataclass(frozen=True)
class _Work:
    """An entry to make."""

    case: TrainingCase
    folder: Path
    request: Request


def request_of(case: TrainingCase, sources: Sources, space: ModelSpace, how: Preparation) -> Request:
    """What decides the entry of a case."""
    settings = {
        "format": _VERSION,
        "space": space.to_dict(),
        "unit": case.unit,
        "window_min": case.window_min,
    }
    return Request({}, sources, {**settings, **asdict(how)})


def entry_in(folder: Path) -> Result:
    """The entry whose files lie in a folder."""
    images = (MASK, REAL, SOURCE)
    names = {ARRAYS, WARP, MNI, *images, *(sidecar_path(name).name for name in images)}
    return Result(folder, ENTRY, names)


def disk_use(prepared: Sequence[PreparedCase]) -> int:
    """Bytes of the entries."""
    return sum(path.stat().st_size for entry in prepared for path in entry.folder.iterdir())


def _run(
    todo: Sequence[_Work], space: ModelSpace, how: Preparation, workers: int
) -> Iterator[tuple[TrainingCase, PreparedCase | Finding | None]]:
    """Yield each case before (``None``) or after its preparation, with the entry or why there is none."""
    if workers <= 1 or len(todo) <= 1:
        for work in todo:
            yield work.case, None
            yield work.case, _prepare_or_say_why(work, space, how)
        return
    # Spawned, not forked: SimpleITK's and torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        min(workers, len(todo)), multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        futures: dict[Future[PreparedCase | Finding], TrainingCase] = {
            pool.submit(_prepare_or_say_why, work, space, how): work.case for work in todo
        }
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread a worker; and a worker ends when its parent is killed, which the pool does not see to."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _prepare_or_say_why(work: _Work, space: ModelSpace, how: Preparation) -> PreparedCase | Finding:
    try:
        return _prepare(work, space, how)
    except (Cancelled, OutputError):
        raise
    except MRI2PETError as error:
        return Finding("refuse", error.code, error.message, error.hint)


def _prepare(work: _Work, space: ModelSpace, how: Preparation) -> PreparedCase:
    with tempfile.TemporaryDirectory() as folder:
        return _make(work, space, how, Path(folder) / WARP)


def _make(work: _Work, space: ModelSpace, how: Preparation, warp_path: Path) -> PreparedCase:
    """Make one entry.

    :param warp_path: where the warp of the T1 is put until it is known that the case can be used.

    :raises MRI2PETError: if the case cannot be used; the message says why.
    """
    case, started = work.case, time.perf_counter()
    t1 = read_image(case.t1, kind="t1")
    window = parse_window(case.window_min)
    pet = read_pet(case.pet, unit=case.unit or None, window_min=window, realign_frames=how.realign_frames)
    check_uptake(pet)
    brain = None if case.mask is None else read_mask(case.mask, t1.forms)
    extraction = extract_brain(t1.image, mask=brain)
    if extraction.verdict.level == "refuse":
        raise InputError(f"No brain was found in {case.t1}: {' '.join(extraction.verdict.reasons('refuse'))}")
    mask, fit = extraction.mask, extraction.template_to_native
    try:
        aligned = align_pet_to_t1(pet, t1.image, mask, register=how.register)
    except InputError as error:
        raise InputError(f"{case.pet}: {error.message}", error.hint) from error
    # Loss, statistics and baselines see what was measured.
    region = sitk.And(sitk.Cast(mask != 0, sitk.sitkUInt8), aligned.measured)
    from_pet = space.source_modality == "PET"
    warp = None
    if fit is not None and not from_pet:  # a warp to an MRI that is to be predicted would have seen it
        warp = person_warp(t1.image, mask, fit, warp_path)
    uptake, reference = pet.image, space.named_reference
    if reference:
        where = reference_mask(reference, mask, warp)
        _, divided, _ = divide_by_region([aligned.image], reference, where, region)
        uptake = sitk.Cast(uptake / divided["means"][0], sitk.sitkFloat32)
    encoded, target = encode_pair(
        t1.image, uptake, mask, extraction.axes, space, aligned.t1_to_pet, pet.measured
    )
    measured = resample(aligned.measured, encoded.grid, interpolator=sitk.sitkNearestNeighbor)
    counted = encoded.mask * (sitk.GetArrayViewFromImage(measured) > 0)
    in_brain = (encoded.source if from_pet else target)[counted > 0]
    verdict = t1.verdict + pet.verdict + extraction.verdict + aligned.verdict
    verdict += at_scale_end(in_brain, space.largest_suvr, "The PET")
    source = aligned.image if from_pet else t1.image
    if from_pet:  # scaled like the network's target
        real = scaled_mri(t1.image, region)
    else:
        real = in_unit_of(space, aligned.image, mask, region, warp)
    about: dict[str, Any] = {
        "case": case.case,
        "unit": pet.unit,
        **of_frames(pet),
        "model_unit": space.output_unit,
        "reference_region": space.reference_region,
        "target_factor": space.target_factor,
        # Whoever starts from a model that was trained with these can see it.
        "images": [
            *(sha256_of_voxels(sitk.GetArrayViewFromImage(image)) for image in (t1.image, pet.image)),
            *_sidecar(case.pet).get(DERIVED_FROM, []),
        ],
        "simulated": bool(pet.metadata.get("simulated")) or bool(_sidecar(case.pet).get("Simulated")),
        "tracer": pet.metadata["tracer"],
        "cubic": cubic_sums(source, real, region),
        "model_grid": asdict(encoded.grid),
        "overlap": round(aligned.overlap, 4),
        "coverage": round(aligned.coverage, 4),
        "brain_ml": round(_volume_ml(mask), 1),
        "brain_mask": extraction.method,
        "measures": extraction.measures,
        "template_to_t1_lps": None if fit is None else affine_matrix(fit),
        # Widening the grid for a large brain is part of the training, so it is not worth a warning here.
        "findings": [f.to_dict() for f in verdict.findings if f.level != "ok"],
    }
    with entry_in(work.folder).make(work.request, about) as staging:
        np.save(staging / ARRAYS, np.stack([encoded.source, target, counted]).astype(np.float16))
        write_image(mask, staging / MASK)
        origin: dict[str, Any] = {"path": str(case.pet), "sha256": pet.sha256, "unit": pet.unit}
        if from_pet:
            write_image(source, staging / SOURCE, {"Modality": "PET", "Units": pet.unit, "Source": origin})
            origin = {"path": str(case.t1), "sha256": t1.sha256}
        write_image(
            real if from_pet else mark_unmeasured(real, aligned.measured),
            staging / REAL,
            {
                "Modality": space.target_modality,
                "Units": space.output_unit,
                "UnitsMeaning": space.unit_meaning,
                **reference_of(space),
                "Simulated": about["simulated"],
                "Source": origin,
                "Alignment": aligned.record(),
            },
        )
        if fit is not None:
            if warp is not None:
                shutil.copyfile(warp_path, staging / WARP)
            np.save(staging / MNI, target_in_mni(real, region, fit if warp is None else invert_warp(warp)))
        about["seconds"] = round(time.perf_counter() - started, 2)
    return PreparedCase(case, work.folder, plain(about))


def target_in_mni(real: sitk.Image, region: sitk.Image, template_to_native: sitk.Transform) -> np.ndarray:
    """The target on the grid of the template, float16 [k, j, i], NaN outside of ``region``."""
    grid = Grid.of(load_template().t1)
    inside = sitk.Cast(region != 0, sitk.sitkFloat32)
    total, weight = (
        sitk.GetArrayFromImage(resample(image, grid, template_to_native)) for image in (real * inside, inside)
    )
    values = np.full(total.shape, np.nan, np.float32)
    np.divide(total, weight, out=values, where=weight > 0.5)
    return values.astype(np.float16)


def _sidecar(path: Path) -> dict[str, Any]:
    from MRI2PETLib.images.bids import read_sidecar

    return read_sidecar(path) if path.is_file() else {}


def _volume_ml(mask: sitk.Image) -> float:
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * np.prod(mask.GetSpacing()) / 1000)
