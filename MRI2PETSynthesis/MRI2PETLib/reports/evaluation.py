"""Evaluate one case or a cohort into a folder; what is there from the same request is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter, part_of
from MRI2PETLib.core.requests import Request, Result, Source, located
from MRI2PETLib.evaluation.against import Against, against_table, check_same_people, check_same_unit
from MRI2PETLib.evaluation.baselines import cubic_of_bundle
from MRI2PETLib.evaluation.case import evaluate_case
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.cohort_maps import CohortMaps
from MRI2PETLib.evaluation.cohort_run import evaluate_cohort
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.paired import PairedRow
from MRI2PETLib.evaluation.reference_region import check_one_reference
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.person_values import is_control_group
from MRI2PETLib.images.sources import optional_source, source_of
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.normative.controls import fit_controls
from MRI2PETLib.reports.case_report import (
    ASYMMETRY_FILE,
    METRICS_FILE,
    PICTURE_FILE,
    REGIONS_FILE,
    REPORT_FILE,
    write_comparison,
)
from MRI2PETLib.reports.cohort_report import summary_lines, write_cohort
from MRI2PETLib.templates.atlases import (
    HARVARD_OXFORD,
    atlas_checksum,
    fetch_harvard_oxford,
    read_parcellation,
)
from MRI2PETLib.templates.regions import Parcellation

LEAST_OTHERS = 4  # people, for a z
REAL_IMAGE = "real.nii.gz"  # a name that users, too, give to images
EVALUATION_RECORD = "evaluation_status.json"


def read_atlases(settings: EvaluationSettings, remark: Callable[[str], None]) -> list[Parcellation]:
    """The atlases that the settings name.

    :param remark: is told where one that was fetched comes from.
    :raises InputError: if one cannot be used; for --labels with several.
    """
    if settings.labels is not None and len(settings.atlas) != 1:
        raise InputError("--labels belongs to one --atlas.", "Put the tables of several atlases beside them.")
    atlases = []
    for name in settings.atlas:
        if name.lower() == HARVARD_OXFORD:
            atlases.append(fetch_harvard_oxford())
            remark(atlases[-1].source)
        else:
            atlases.append(read_parcellation(Path(name), settings.labels, space=settings.atlas_space))
    return atlases


def evaluate_pair(
    paths: CasePaths,
    settings: EvaluationSettings,
    atlases: Sequence[Parcellation],
    output: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """Compare a synthetic with a real PET.

    :return: for the result event: ``files`` by role, ``pet_coverage`` (share of the brain that the real PET
        measured) and ``scales``, see :func:`.evaluate_case`.
    :raises InputError: see :func:`.load_case`; if the folder holds the evaluation of other images.
    """
    request = request_of_pair(paths, settings, atlases)
    result = _result_in(output)
    about = result.finished(request)
    if about is not None:
        reporter.log(f"{output}: already there, kept")
        return _with_paths(output, about)
    about = {}
    with result.attempt(request, reporter.warning):
        case = load_case(paths, settings, progress=part_of(reporter.progress, 0, 0.5))
        evaluation = evaluate_case(
            case,
            atlases=atlases,
            cubic=cubic_of_bundle(bundle_of(case.model)),
            seed=settings.seed,
            fwhm_mm=settings.fwhm_mm,
            progress=part_of(reporter.progress, 0.5, 0.9),
        )
        reporter.tell(evaluation.verdict)
        reporter.progress(0.9, 1, "writing the report")
        title = f"{paths.synthetic.name.split('.')[0]}: synthetic against real {case.direction.target_name}"
        with result.make(request, about) as staging:
            summary = write_comparison(staging, title, case, evaluation, atlases)
            about |= {
                "scales": summary["scales"],
                "pet_coverage": summary["pet_coverage"],
                "files": _files_of_pair(staging),
            }
    return _with_paths(output, about)


def evaluate_table(
    table: Path,
    title: str,
    cases: Sequence[CohortCase],
    settings: EvaluationSettings,
    atlases: Sequence[Parcellation],
    output: Path,
    reporter: Reporter,
    against: Against | None = None,
) -> dict[str, Any]:
    """Evaluate the cases of a table; a cohort in which some could not be is made again by the next run.

    :param against: compare with another model on the same people.
    :return: for the result event: ``files`` by role, ``people``, ``scans``, ``smallest_pet_coverage``,
        ``failed`` (case -> reason); further ``lines`` for a person.
    :raises MRI2PETError: if no case can be evaluated; if the folder holds the evaluation of another table;
        if the other model was not tried on the same people.
    """
    others = () if against is None else against.cases
    check_one_reference([case.synthetic for case in (*cases, *others)], settings)
    if against is not None:
        check_same_people(cases, against.cases, against.names)
        check_same_unit(cases, against, settings)
    request, result = request_of_cohort(table, cases, settings, atlases, against), _result_in(output)
    about = result.finished(request)
    if about is not None and not about["failed"]:
        reporter.log(f"{output}: already there, kept")
        return _with_paths(output, about)
    about = {}
    with result.attempt(request, reporter.warning), result.make(request, about) as staging:
        cohort = evaluate_cohort(cases, settings, staging, reporter, atlases)
        compared = () if against is None else _compared(cohort, against, reporter)
        write_cohort(staging, title, cohort, compared)
        if cohort.maps is not None:
            _write_scores(cohort.maps)
            cohort.maps.finish(cohort.covariates)
        about |= {
            "files": {"report": REPORT_FILE},
            "people": cohort.n_people,
            "scans": len(cohort.scans),
            "smallest_pet_coverage": min(scan.pet_coverage for scan in cohort.scans),
            "failed": {failure.case.case: failure.reason for failure in cohort.failed},
            "lines": summary_lines(cohort),
        }
    return _with_paths(output, about)


def _result_in(folder: Path) -> Result:
    """Names that users, too, give to files, are known before anything is computed."""
    names = {REAL_IMAGE, REPORT_FILE, METRICS_FILE, PICTURE_FILE, REGIONS_FILE, ASYMMETRY_FILE}
    return Result(folder, EVALUATION_RECORD, names)


def request_of_pair(
    paths: CasePaths, settings: EvaluationSettings, atlases: Sequence[Parcellation]
) -> Request:
    """What decides the evaluation of one case."""
    return Request(
        {"synthetic": source_of(paths.synthetic, "pet"), "pet": source_of(paths.pet, "pet")},
        {"t1": optional_source(paths.t1, "t1"), "mask": optional_source(paths.mask, "mask")},
        {**_settings(settings, atlases), "model": _model_checksum(paths.synthetic)},
    )


def _write_scores(maps: CohortMaps) -> None:
    """z of every scan: its residual against those of other people, of the controls where there are any."""
    residuals, row = maps.residuals(), np.ones(1)
    controls = [n for n, case in enumerate(maps.cases) if is_control_group(case.group)]
    of_person: dict[str, list[int]] = {}
    for n in controls or range(len(maps.cases)):
        of_person.setdefault(maps.cases[n].subject, []).append(n)
    if len(of_person) <= LEAST_OTHERS:
        return
    means = {person: residuals[scans].mean(axis=0) for person, scans in of_person.items()}
    scores = []
    for case, own in zip(maps.cases, residuals):
        others = np.array([values for person, values in means.items() if person != case.subject])
        scores.append(fit_controls(others, np.ones((len(others), 1))).z(own, row))
    maps.write_z(np.array(scores))


def _compared(cohort: Cohort, against: Against, reporter: Reporter) -> list[PairedRow]:
    """The other model's PETs are evaluated in the same way; of that only the comparison is kept."""
    reporter.log(f"evaluating {against.names[1]}")
    with tempfile.TemporaryDirectory(prefix="mri2pet-against-") as scratch:
        settings = replace(cohort.settings, fid=None, covariates=(), mni=False)
        other = evaluate_cohort(against.cases, settings, Path(scratch), reporter, cohort.atlases)
    return against_table(cohort, other, against.names)


def request_of_cohort(
    table: Path,
    cases: Sequence[CohortCase],
    settings: EvaluationSettings,
    atlases: Sequence[Parcellation],
    against: Against | None = None,
) -> Request:
    """What decides the evaluation of a cohort: all of its images, and what the table says of each."""
    inputs: dict[str, Source | None] = {}
    lines = []
    others = () if against is None else against.cases
    for which, case in [*(("", case) for case in cases), *(("against, ", case) for case in others)]:
        own = request_of_pair(case.paths, case.own(settings), ())
        inputs |= {f"{which}{case.case}: {role}": s for role, s in {**own.whose, **own.inputs}.items()}
        inputs[f"{which}{case.case}: training mean"] = optional_source(case.training_mean, "pet")
        about = (which, case.case, case.subject, case.fold, case.group, case.genotype, case.site)
        covariates = [case.entry(name) for name in settings.covariates]
        lines.append([*about, covariates, case.cubic and case.cubic.to_dict(), own.settings])
    names = None if against is None else list(against.names)
    about_all = {**_settings(settings, atlases), "cases": lines, "against": names}
    return Request({"table": source_of(table, "labels")}, inputs, about_all)


def _settings(settings: EvaluationSettings, atlases: Sequence[Parcellation]) -> dict[str, Any]:
    content = {**settings.to_dict(deciding=True), "atlases": [atlas_checksum(atlas) for atlas in atlases]}
    if settings.fid is not None:
        file = Path(settings.fid)
        content["fid"] = sha256_of(file) if file.is_file() else settings.fid
    return content


def _model_checksum(synthetic: Path) -> str | None:
    """Of the installed model that made a synthetic PET: its card and its baselines are in the report."""
    try:
        provenance = read_sidecar(synthetic).get("Provenance")
    except InputError:  # reading the image will tell
        return None
    model = provenance.get("model") if isinstance(provenance, dict) else None
    bundle = bundle_of(model) if isinstance(model, dict) else None
    return None if bundle is None else bundle.checksum


def _files_of_pair(folder: Path) -> dict[str, Any]:
    """What an evaluation wrote, by role."""
    maps = sorted((folder / "regions").glob("*.nii.gz"))
    stems = [path.name.removesuffix(".nii.gz") for path in maps]
    names = {
        "report": REPORT_FILE,
        "metrics": METRICS_FILE,
        "picture": PICTURE_FILE,
        "regions": REGIONS_FILE,
        "real": REAL_IMAGE,
    }
    labels = {s: {"image": f"regions/{s}.nii.gz", "names": f"regions/{s}.csv"} for s in stems}
    return {**names, "labels": labels}


def _with_paths(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    return {**about, "files": located(folder, about["files"])}
