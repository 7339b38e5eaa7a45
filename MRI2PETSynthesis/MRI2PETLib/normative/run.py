"""Build the norm of a run into a folder; what is there from the same request is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.files import make_folder, output_folder, staged_folder
from MRI2PETLib.core.progress import Reporter, part_of
from MRI2PETLib.core.requests import Request, Source
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.covariates import Covariate
from MRI2PETLib.evaluation.reference_region import named_reference, references_of
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.images.sources import optional_source, source_of
from MRI2PETLib.models.bundle import METADATA, Bundle, read_bundle
from MRI2PETLib.models.store import copy_bundle
from MRI2PETLib.normative.build import (
    BRAIN_REFERENCE,
    choose_controls,
    collect,
    fit_norm,
    norm_covariates,
    notes_on,
    notes_on_model,
    notes_on_repeated,
    partly_stated,
    regions_on,
    source_of_run,
)
from MRI2PETLib.normative.card import write_norm_card, write_norm_regions
from MRI2PETLib.normative.kept_readouts import KeptReadouts
from MRI2PETLib.normative.norm import Norm, PredictedBy
from MRI2PETLib.normative.norm_folder import (
    FORMAT_OF_NORM,
    MODEL,
    NORM_FILE,
    norm_source,
    read_norm,
    write_norm,
)
from MRI2PETLib.normative.settings import LEAST_PEOPLE, NormSettings
from MRI2PETLib.templates.atlases import atlas_checksum
from MRI2PETLib.templates.regions import Parcellation

ENSEMBLE_OF_RUN = "ensemble"
READOUTS = Path("cache") / "normative"


def build_norm(
    run: Path,
    cases: Sequence[CohortCase],
    settings: NormSettings,
    atlases: Sequence[Parcellation],
    output: Path,
    reporter: Reporter,
) -> Norm:
    """The norm of the controls of a run, from an earlier call of the same request or a new one.

    :param cases: of the run, see :func:`.cohort_cases.read_run_scans`.
    :raises InputError: too few controls, covariates that cannot be used, or a folder of something else.
    """
    group, controls = choose_controls(cases, settings)
    if settings.reference_region is None:
        _check_one_reference(controls)
        settings = replace(settings, reference_region=_reference_of(controls))
    covariates = norm_covariates(controls, settings.covariates)
    bundle = _ensemble(run)
    request = _request(group, controls, covariates, settings, atlases, bundle)
    before = _norm_in(output, run)
    if before is not None and before.about.request == request.checksum:
        reporter.log(f"{output}: already there, kept")
        return before
    number = len({case.subject for case in controls})
    for note in (*notes_on(number, settings), *partly_stated(controls, settings.covariates)):
        reporter.warning(note)
    output_folder(output)
    parcellations = regions_on(mni_grid(), atlases)
    inner = _Part(reporter, 0.9)
    readouts = KeptReadouts(run / READOUTS, partial(_request_of_readout, settings=settings, atlases=atlases))
    data, own, shared, notes = collect(controls, covariates, parcellations, settings, readouts, inner)
    people = len(data.people)
    more = notes_on_repeated(people, shared["n_scans"]) + notes_on_model(shared["demonstration"])
    more += shared["mixed"]
    for note in (*notes, *more):
        reporter.warning(note)
    about: dict[str, Any] = {
        "unit": shared["unit"],
        "reference_region": settings.reference_region
        or (BRAIN_REFERENCE if shared["unit"] == "SUVR" else ""),
        "tracer": shared["tracer"],
        "group": group,
        "n_people": people,
        "n_scans": shared["n_scans"],
        "simulated": shared["simulated"],
        "demonstration": people < LEAST_PEOPLE or shared["demonstration"],
        "fwhm_mm": settings.fwhm_mm,
        "threshold": settings.threshold,
        "covariates": own,
        "predicted_by": _predicted_by(shared, bundle),
        "window_min": shared["minutes"],
        "notes": (*notes_on(people, settings), *more),
        "source": source_of_run(run),
        "request": request.checksum,
    }
    norm = fit_norm(data, parcellations, about, settings, part_of(reporter.progress, 0.9, 0.98))
    reporter.progress(0.98, 1, "writing the norm")
    with staged_folder(output, last=NORM_FILE) as staging:
        write_norm_card(staging, norm)
        write_norm_regions(staging, norm)
        if bundle is not None:
            copy_bundle(bundle, make_folder(staging / MODEL))
        write_norm(staging, norm)
        if bundle is None and (output / MODEL).is_dir():  # of the run as it was before
            os.replace(output / MODEL, staging / f".{MODEL}")
            shutil.rmtree(staging / f".{MODEL}")
    readouts.remove(controls)
    return read_norm(output)


def _check_one_reference(controls: Sequence[CohortCase]) -> None:
    """:raises InputError: if predictions are SUVR by different regions: they have no common mean."""
    names = references_of([case.synthetic for case in controls])
    if len(names) > 1:
        raise InputError(
            f"The predictions of the controls are SUVR by different regions: {', '.join(names)}.",
            "Bring all to one region (--reference-region NAME).",
        )


def _reference_of(controls: Sequence[CohortCase]) -> str | None:
    """The named region that the predictions of a run are SUVR by, if it is one for all."""
    names = {named_reference(case.synthetic) for case in controls}
    return (names.pop() or None) if len(names) == 1 else None


class _Part(Reporter):
    """Passes everything on; progress fills the first ``share`` of the whole."""

    def __init__(self, reporter: Reporter, share: float) -> None:
        self._reporter, self._share = reporter, share

    def progress(self, done: float, total: float, stage: str) -> None:
        self._reporter.progress(self._share * done, total, stage)

    def log(self, message: str) -> None:
        self._reporter.log(message)

    def warning(self, message: str) -> None:
        self._reporter.warning(message)


def _predicted_by(shared: Mapping[str, Any], bundle: Bundle | None) -> PredictedBy:
    """The models of the folds that predicted the controls, and the ensemble that has them all."""
    own = set() if bundle is None else {bundle.sha256, *bundle.weights.values()}
    names = {name: shared["model"][name] for name in ("id", "name", "version")}
    return PredictedBy(**names, checksums=tuple(sorted(shared["checksums"] | own)))


def _ensemble(run: Path) -> Bundle | None:
    folder = run / ENSEMBLE_OF_RUN
    return read_bundle(folder) if (folder / METADATA).is_file() else None


def _norm_in(output: Path, run: Path) -> Norm | None:
    """The sound norm that is in a folder.

    :raises InputError: if something else is there, or the norm of another run.
    """
    if not output.is_dir():
        return None
    there = [path.name for path in output.iterdir() if not path.name.startswith(".")]
    if there and NORM_FILE not in there:
        raise InputError(
            f"{output} is not empty and holds no norm ({sorted(there)[0]} is there).",
            "Choose another folder (-o).",
        )
    if there and norm_source(output) != source_of_run(run):  # even where it is damaged
        raise InputError(f"{output} holds the norm of another run.", "Choose another folder (-o).")
    with suppress(MRI2PETError):  # else it is built again
        return read_norm(output)
    return None


def _sources(case: CohortCase) -> dict[str, Source | None]:
    return {
        "synthetic": source_of(case.synthetic, "pet"),
        "pet": source_of(case.real, "pet"),
        "t1": optional_source(case.t1, "t1"),
        "mask": optional_source(case.mask, "mask"),
    }


def _request_of_readout(
    case: CohortCase, *, settings: NormSettings, atlases: Sequence[Parcellation]
) -> Request:
    """What decides the readout of one control."""
    names = ("fwhm_mm", "reference_region", "pet_unit", "register")
    own = {name: getattr(settings, name) for name in names}
    atlas_checksums = [atlas_checksum(atlas) for atlas in atlases]
    read = {"unit": case.pet_unit, "window": case.window, "atlases": atlas_checksums, "for": FORMAT_OF_NORM}
    return Request({}, _sources(case), {**own, **read})


def _request(
    group: str,
    cases: Sequence[CohortCase],
    covariates: Sequence[Covariate],
    settings: NormSettings,
    atlases: Sequence[Parcellation],
    bundle: Bundle | None,
) -> Request:
    inputs: dict[str, Source | None] = {}
    lines = []
    for case in cases:
        inputs |= {f"{case.case}: {role}": source for role, source in _sources(case).items()}
        values = [c.values.get(case.subject) for c in covariates]
        lines.append([case.subject, case.pet_unit, case.window, values])
    return Request(
        {},
        inputs,
        {
            **settings.to_dict(deciding=True),
            "group": group,
            "covariates": [c.name for c in covariates],
            "cases": lines,
            "atlases": [atlas_checksum(atlas) for atlas in atlases],
            "model": None if bundle is None else bundle.checksum,
        },
    )
