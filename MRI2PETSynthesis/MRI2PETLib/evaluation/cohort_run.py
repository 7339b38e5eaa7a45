"""Evaluate many scans one after the other: what is kept of each is a few numbers, never an image."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.case_loop import each_case, exit_code
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import ProgressCallback, Reporter
from MRI2PETLib.core.tables import open_table
from MRI2PETLib.evaluation.baselines import NETWORK, cubic_of_bundle
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT, CaseResult, evaluate_case
from MRI2PETLib.evaluation.cohort import (
    Cohort,
    Failure,
    Scan,
    model_of_all,
    notes_on_models,
    region_numbers,
)
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.cohort_maps import CohortMaps
from MRI2PETLib.evaluation.covariates import read_covariate
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.error_maps import MeanMapSums
from MRI2PETLib.evaluation.fid import SliceSets
from MRI2PETLib.evaluation.inputs import CaseImages, load_case
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.region_table import record_fields
from MRI2PETLib.evaluation.scaling import divide_by_mean
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.evaluation.slice_features import features_named
from MRI2PETLib.evaluation.specificity import (
    REAL_PET,
    SMOOTHED_PET,
    VectorStore,
    other_differences,
    specificity,
)
from MRI2PETLib.images.grid import crop_to
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.templates.regions import Parcellation

REGIONS_CSV = "regions.csv"


def evaluate_cohort(
    cases: Sequence[CohortCase],
    settings: EvaluationSettings,
    folder: Path,
    reporter: Reporter,
    atlases: Sequence[Parcellation] = (),
) -> Cohort:
    """Evaluate every case; one that fails is reported and left out (see :func:`.case_loop.each_case`).

    Writes ``regions.csv`` into ``folder`` as it goes. Vectors for the comparison with other people lie in a
    temporary folder.

    :raises MRI2PETError: if no case can be evaluated; see :func:`.read_covariate`.
    """
    covariates = [
        read_covariate(name, [(case.subject, case.entry(name)) for case in cases])
        for name in dict.fromkeys(settings.covariates)
    ]
    for note in filter(None, (covariate.left_out() for covariate in covariates)):
        reporter.warning(f"{note} In design.csv they have the mean." if settings.mni else note)
    scans: list[Scan] = []
    failed: list[Failure] = []
    frame: _Frame | None = None
    models: list[dict] = []
    simulated = False
    columns = ("case", "subject", "fold", *record_fields())
    with (
        tempfile.TemporaryDirectory(prefix="mri2pet-cohort-") as scratch,
        open_table(folder / REGIONS_CSV, columns) as add_rows,
    ):
        collection = _Collection(Path(scratch), folder, cases, settings)

        def evaluate(case: CohortCase, progress: ProgressCallback) -> tuple[CaseResult, _Frame, dict, bool]:
            progress(0, 1, "evaluating")
            images, result = _evaluate(case, settings, atlases)
            own = frame or _Frame.of(result)
            own.check(result)
            collection.add(len(scans), case, images, result)
            return result, own, images.model, bool(images.provenance.get("simulated"))

        for done in each_case(cases, evaluate, name=lambda case: case.case, reporter=reporter):
            case = done.case
            if done.error is not None:
                failed.append(Failure(case, done.error.message, done.error.hint))
            if done.result is not None:
                result, frame, own_model, is_simulated = done.result
                models.append(own_model)
                add_rows(
                    (case.case, case.subject, case.fold, *row.record().values()) for row in result.regions
                )
                scans.append(_scan(case, result, frame, done.seconds))
                simulated = simulated or is_simulated
        exit_code([failure.reason for failure in failed], len(cases))
        assert frame is not None
        reporter.progress(1, 1, "own against others")
        subjects = [scan.case.subject for scan in scans]
        own = specificity(collection.store, subjects, frame.predictors) if frame.direction.to_pet else []
        others = other_differences(collection.store, subjects) if frame.direction.to_pet else []
        collection.store.close()
    notes = notes_on_models(models)
    for note in notes:
        reporter.warning(note)
    return Cohort(
        scans=scans,
        failed=failed,
        unit=frame.unit,
        scale=frame.scale,
        predictors=frame.predictors,
        uses=frame.uses,
        regions=frame.regions,
        specificity=own,
        others=others,
        settings=settings,
        atlases=atlases,
        model=model_of_all(models),
        notes=notes,
        simulated=simulated,
        covariates=covariates,
        mean_maps=collection.maps.mean(),
        maps=collection.cohort_maps,
        fid=() if collection.sets is None else collection.sets.table(seed=settings.seed),
        direction=frame.direction,
    )


class _Collection:
    """What is kept of all scans besides their numbers: every PET in MNI space, sums of the maps of errors;
    where they were asked for slices, and maps in MNI space.
    """

    def __init__(
        self, scratch: Path, folder: Path, cases: Sequence[CohortCase], settings: EvaluationSettings
    ) -> None:
        self.store = VectorStore(scratch, len(cases))
        self.maps = MeanMapSums()
        self.cohort_maps = CohortMaps(folder, settings.mni_fwhm_mm) if settings.mni else None
        self.sets = None if settings.fid is None else SliceSets(features_named(settings.fid))
        self._scans_of = Counter(case.subject for case in cases)

    def add(self, row: int, case: CohortCase, images: CaseImages, result: CaseResult) -> None:
        """:param row: number of the scan among those that are evaluated."""
        if images.template_to_native is not None:
            self._store_vectors(row, images, result, images.template_to_native)
            if self.sets is not None:
                by_predictor = _by_predictor(images, result)
                self.sets.add(case.subject, by_predictor, result.cropped_mask, images.template_to_native)
        if result.in_mni is not None:
            self.maps.add(*result.in_mni, 1 / self._scans_of[case.subject])
            if self.cohort_maps is not None:
                self.cohort_maps.add(case, *result.in_mni, result.shown_unit)

    def _store_vectors(
        self, row: int, images: CaseImages, result: CaseResult, transform: sitk.Transform
    ) -> None:
        """The real PET and every prediction in MNI space, in the unit of the cohort."""
        for name, image in ((REAL_PET, result.real), (NETWORK, result.synthetic)):
            self.store.add(name, row, sitk.GetArrayViewFromImage(image), images.mask, transform)
        self.store.add(SMOOTHED_PET, row, result.smoothed, result.cropped_mask, transform)
        for predictor in result.predictors:
            if predictor.values is not None and predictor.name != NETWORK:
                self.store.add(predictor.name, row, predictor.values, result.cropped_mask, transform)


@dataclass(frozen=True)
class _Frame:
    """What all scans of a cohort must share, taken from the first."""

    unit: str
    scale: str
    predictors: list[str]
    uses: dict[str, str]
    regions: list[tuple[str, str]]
    direction: Direction

    @classmethod
    def of(cls, result: CaseResult) -> _Frame:
        return cls(
            direction=result.direction,
            unit=result.shown_unit,
            scale=STATED_UNIT if STATED_UNIT in result.scales else SCALE_FREE,
            predictors=[p.name for p in result.predictors],
            uses={p.name: p.uses for p in result.predictors},
            regions=_region_names(result),
        )

    def check(self, result: CaseResult) -> None:
        if result.direction.target != self.direction.target:
            raise InputError(
                f"It is a {result.direction.target_name}, the cohort of {self.direction.target_name}s.",
                "Evaluate the two apart.",
            )
        if result.shown_unit != self.unit:
            raise InputError(
                f"Its unit is {result.shown_unit}, that of the cohort {self.unit}.",
                "Bring all images into one unit, or compare patterns only (--scale-free).",
            )
        if _region_names(result) != self.regions:
            raise InputError("It has other regions than the first case.", "Give every case its T1, or none.")


def _region_names(result: CaseResult) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.parcellation, row.region) for row in result.regions))


def _evaluate(
    case: CohortCase, settings: EvaluationSettings, atlases: Sequence[Parcellation]
) -> tuple[CaseImages, CaseResult]:
    images = load_case(case.paths, case.own(settings))
    cubic = case.cubic or cubic_of_bundle(bundle_of(images.model))
    mean = None if case.training_mean is None else read_image(case.training_mean, kind="pet").image
    result = evaluate_case(
        images,
        atlases=atlases,
        cubic=cubic,
        training_mean=mean,
        seed=settings.seed,
        fwhm_mm=settings.fwhm_mm,
    )
    return images, result


def _scan(case: CohortCase, result: CaseResult, frame: _Frame, seconds: float) -> Scan:
    metrics: dict[tuple[str, str], dict[str, float | None]] = {}
    for scale, content in result.scales.items():
        for name, values in {NETWORK: content["network"], **content["baselines"]}.items():
            metrics[scale, name] = {key: values.get(key) for key in brain_metrics()}
    own_numbers = region_numbers()
    shape = (len(frame.predictors), len(frame.regions), len(own_numbers))
    numbers = np.full(shape, np.nan)
    predictor = {name: n for n, name in enumerate(frame.predictors)}
    region = {key: n for n, key in enumerate(frame.regions)}
    for row in result.regions:
        if row.scale == frame.scale:
            content = row.record()
            values = [content[name] for name in own_numbers]
            where = predictor[row.predictor], region[row.parcellation, row.region]
            numbers[where] = [np.nan if v is None else v for v in values]
    spaces = {
        (space.name, predictor): {key: values.get(key) for key in brain_metrics()}
        for space in result.spaces
        for predictor, values in space.metrics.items()
    }
    remarks = tuple(result.verdict.reasons("warn"))
    coverage, point_mm = result.pet_coverage, result.point_mm
    return Scan(case, metrics, numbers, round(seconds, 2), remarks, coverage, spaces, point_mm)


def _by_predictor(case: CaseImages, result: CaseResult) -> dict[str, np.ndarray]:
    """The real PET and every prediction on the grid of the cropped mask, in the unit of the cohort."""
    inside = sitk.GetArrayViewFromImage(result.cropped_mask) != 0
    images = {
        name: sitk.GetArrayFromImage(crop_to(image, case.whole_brain, 0.0))
        for name, image in ((REAL_PET, result.real), (NETWORK, result.synthetic))
    }
    for predictor in result.predictors:
        if predictor.values is not None and predictor.name not in images:
            free = STATED_UNIT not in result.scales
            images[predictor.name] = divide_by_mean(predictor.values, inside) if free else predictor.values
    return images
