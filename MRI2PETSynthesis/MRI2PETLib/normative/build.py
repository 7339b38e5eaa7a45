"""Build a norm from the people that a cross-validation left out: what their T1 does not predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.case_loop import each_case
from MRI2PETLib.core.checksums import sha256_of_value
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import ProgressCallback, Reporter, part_of
from MRI2PETLib.evaluation.cohort import notes_on_models
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.covariates import Covariate, read_covariate
from MRI2PETLib.evaluation.inputs import CaseImages, load_case
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.person_values import group_of_controls
from MRI2PETLib.images.subjects import word_key
from MRI2PETLib.models.bundle import DEMONSTRATION, DEMONSTRATION_NOTE
from MRI2PETLib.normative.calibration import calibration_row, explained_variance
from MRI2PETLib.normative.clusters import find_clusters, largest_volume_ml
from MRI2PETLib.normative.controls import fit_controls, least_controls, left_out_scores
from MRI2PETLib.normative.design import NormCovariate, design_row
from MRI2PETLib.normative.kept_readouts import KeptReadouts
from MRI2PETLib.normative.norm import FAMILIES, PARTS, Norm, NormAbout
from MRI2PETLib.normative.person import (
    KINDS,
    Readout,
    RegionSet,
    pair_label,
    person_in_mni,
    read_out,
    region_label,
)
from MRI2PETLib.normative.settings import (
    ENOUGH_PEOPLE,
    LARGEST_NUMBER,
    LEAST_PEOPLE,
    MOST_COLUMNS,
    NO_COVARIATES,
    USUAL_COVARIATES,
    NormSettings,
)
from MRI2PETLib.preprocessing.frame_window import are_one_window, windows_text
from MRI2PETLib.preprocessing.tracers import tracer_name
from MRI2PETLib.templates.regions import Parcellation, built_in_parcellations

_LEAST_EVER = least_controls(0)  # even of a demonstration
_LEAST_FREEDOM = 5  # people beyond the columns of the design
ALL_VOXELS = "all voxels"
BRAIN_REFERENCE = "brain mask"


@dataclass(frozen=True)
class ControlData:
    """All controls: ``values`` by part and kind, [person, unit]."""

    people: tuple[str, ...]
    values: Mapping[str, Mapping[str, np.ndarray]]
    design: np.ndarray
    inside: np.ndarray
    regions: RegionSet


def choose_controls(cases: Sequence[CohortCase], settings: NormSettings) -> tuple[str, list[CohortCase]]:
    """The scans of the controls, and the name of their group (empty: everybody).

    :raises InputError: if it is not clear who they are, or there are too few.
    """
    groups = sorted({case.group for case in cases} - {""})
    group = group_of_controls(groups) if settings.group is None else settings.group
    if group is None:
        raise InputError(
            f"The run has the groups {', '.join(groups)}, not one of them called control or the like.",
            "Say which are the controls: --group NAME.",
        )
    if group:
        alike = [name for name in groups if word_key(name) == word_key(group)]
        if not alike:
            raise InputError(
                f"The run has no group {group!r}.", f"Its groups: {', '.join(groups) or 'none'}."
            )
        group = group if group in alike else alike[0]
    controls = [case for case in cases if not group or case.group == group]
    check_enough(len({case.subject for case in controls}), settings)
    return group, controls


def check_enough(people: int, settings: NormSettings) -> None:
    """:raises InputError: if there are too few people for a norm."""
    least = _LEAST_EVER if settings.allow_few else LEAST_PEOPLE
    if people < least:
        remedy = f"A demonstration can be made of {_LEAST_EVER} or more (--allow-few)."
        raise InputError(
            f"There are {people} controls; a norm needs {least} or more.",
            "Add controls." if settings.allow_few else f"Add controls. {remedy}",
        )


def norm_covariates(cases: Sequence[CohortCase], names: Sequence[str]) -> list[Covariate]:
    """What the table says of the controls, as a norm allows for it.

    Without ``names`` those of :data:`.USUAL_COVARIATES` that everybody has and that differ among people.

    :raises InputError: see :func:`.read_covariate`; if one is the same for all controls, or too large.
    """
    if NO_COVARIATES in names:
        return []
    people = {case.subject for case in cases}
    covariates = []
    for name in names or USUAL_COVARIATES:
        scans = [(case.subject, case.entry(name)) for case in cases]
        if not names and len({s for s, text in scans if text}) < len(people):
            continue
        covariate = read_covariate(name.strip().lower(), scans)
        own = [v for v in covariate.values.values() if isinstance(v, float)]
        if max(map(abs, own), default=0) > LARGEST_NUMBER:
            raise InputError(f"{name} has numbers beyond {LARGEST_NUMBER:g}.", "Write it in a larger unit.")
        if len({v for v in covariate.values.values() if v is not None}) > 1:
            covariates.append(covariate)
        elif names:
            raise InputError(f"All controls have the same {name}.", f"Leave out --covariates {name}.")
    return covariates


def partly_stated(cases: Sequence[CohortCase], names: Sequence[str]) -> list[str]:
    """What to tell of usual covariates that :func:`norm_covariates` leaves out: not everybody has one."""
    people, notes = {case.subject for case in cases}, []
    others = [] if names else [covariate.name for covariate in norm_covariates(cases, ())]
    for name in () if names else USUAL_COVARIATES:
        known_of = {case.subject for case in cases if case.entry(name)}
        if known_of and known_of != people:
            without = len(people) - len(known_of)
            notes.append(
                f"The norm does not allow for {name}: {without} of {len(people)} controls have none. "
                f"{' '.join(f'--covariates {column}' for column in (*others, name))} allows for it and "
                "leaves them out."
            )
    return notes


def collect(
    cases: Sequence[CohortCase],
    covariates: Sequence[Covariate],
    parcellations: Sequence[Parcellation],
    settings: NormSettings,
    readouts: KeptReadouts,
    reporter: Reporter,
) -> tuple[ControlData, tuple[NormCovariate, ...], dict[str, Any], list[str]]:
    """Read all controls, one after the other; of each only numbers in MNI space stay.

    :param readouts: the readouts that a build before this one has made already.
    :return: the data, the covariates as the norm keeps them, what all share (unit, tracer, ...), and what to
        tell of those who are left out.
    :raises InputError: if the units differ, or too few controls are left.
    """
    grid = mni_grid()
    template = sitk.GetArrayViewFromImage(grid) != 0
    regions = RegionSet.of(parcellations)
    notes = []
    incomplete = [c.name for c in covariates if None in c.values.values()]
    usable = [case for case in cases if all(c.values.get(case.subject) is not None for c in covariates)]
    if len(usable) < len(cases):
        notes.append(f"{len(cases) - len(usable)} scans are left out: no {', '.join(incomplete)} is stated.")
    scans: dict[str, list[Readout]] = {}
    shared: dict[str, Any] = {}
    models: list[dict[str, str]] = []
    minutes: dict[str, tuple[float, float] | None] = {}
    tracer_of: dict[str, str] = {}

    def work(case: CohortCase, progress: ProgressCallback) -> tuple[Readout, dict[str, Any]]:
        own = EvaluationSettings(
            register=settings.register,
            pet_unit=settings.pet_unit,
            reference_region=settings.reference_region,
        )
        before = readouts.read(case)
        if before is None:
            loaded = load_case(case.paths, case.own(own), progress=part_of(progress, 0, 0.9))
            readout = read_out(person_in_mni(loaded, grid), regions, grid, settings.fwhm_mm)
            before = readout.inside(template), _facts(loaded)
            readouts.keep(case, *before)
        readout, facts = before
        if shared and (facts["unit"], facts["to_pet"]) != (shared["unit"], shared["to_pet"]):
            raise InputError(
                f"Its unit is {facts['unit']}, that of the others {shared['unit']}.", "Bring all into one."
            )
        return readout, facts

    for done in each_case(usable, work, name=lambda case: case.case, reporter=reporter):
        if done.result is None:
            notes.append(f"{done.case.case} is left out: {done.error}")
            continue
        readout, facts = done.result
        shared = shared or facts
        for name in ("simulated", "demonstration"):
            shared[name] = shared[name] or facts[name]
        models.append(facts["model"])
        minutes[done.case.case], tracer_of[done.case.case] = facts["minutes"], facts["tracer"]
        scans.setdefault(done.case.subject, []).append(readout)
    check_enough(len(scans), settings)
    own_covariates = tuple(NormCovariate.of(c, tuple(scans)) for c in covariates)
    rows = {
        person: design_row(own_covariates, {c.name: c.values[person] for c in covariates})  # type: ignore
        for person in scans
    }
    data = assemble(scans, np.array([rows[person] for person in scans]), template, regions)
    check_design(data.design, own_covariates)
    shared["n_scans"] = sum(map(len, scans.values()))
    shared["checksums"] = {model["sha256"] for model in models} - {""}
    shared["minutes"], windows = shared_window(minutes)
    shared["tracer"], tracers = shared_tracer(tracer_of.values())
    shared["mixed"] = [*windows, *tracers, *notes_on_models(models)]
    return data, own_covariates, shared, notes


def shared_window(
    minutes: Mapping[str, Sequence[float] | None],
) -> tuple[tuple[float, float] | None, list[str]]:
    """The minutes that all scans show, ``None`` if some do not say or they differ, and what to tell of it."""
    windows = [(start, end) for start, end in filter(None, minutes.values())]
    if not are_one_window(windows):
        return None, [f"The PETs of the controls show different minutes: {windows_text(windows)}."]
    return (windows[0] if len(windows) == len(minutes) > 0 else None), []


def shared_tracer(texts: Iterable[str]) -> tuple[str, list[str]]:
    """The tracer of all scans that state one, empty if they differ, and what to tell of it."""
    labels = {tracer_name(text): text for text in texts if text}
    if len(labels) > 1:
        return "", [f"The PETs of the controls are of different tracers: {', '.join(labels.values())}."]
    return next(iter(labels.values()), ""), []


def assemble(
    scans: Mapping[str, Sequence[Readout]], design: np.ndarray, template: np.ndarray, regions: RegionSet
) -> ControlData:
    """All controls side by side; repeated scans of a person are averaged.

    :param scans: whose maps are :meth:`.Readout.inside` the template.
    :param design: [person, column]; ``template``: where the brain is, bool [k, j, i].
    """
    values: dict[str, dict[str, np.ndarray]] = {part: {} for part in PARTS}
    for kind in KINDS:
        for part, name in zip(PARTS, ("maps", "regions", "asymmetry")):
            people = [[getattr(scan, name)[kind] for scan in own] for own in scans.values()]
            values[part][kind] = np.array([np.mean(own, axis=0) for own in people])
    there = np.isfinite(values["voxels"][KINDS[0]]).sum(axis=0)
    enough = there >= least_controls(len(scans))
    inside = np.zeros_like(template)
    inside[template] = enough
    values["voxels"] = {kind: values["voxels"][kind][:, enough] for kind in KINDS}
    return ControlData(tuple(scans), values, design, inside, regions)


def check_design(design: np.ndarray, covariates: Sequence[NormCovariate]) -> None:
    """:raises InputError: if the covariates cannot be told apart, or leave too few people."""
    people, columns = design.shape
    names = ", ".join(c.name for c in covariates)
    if columns > MOST_COLUMNS:
        raise InputError(
            f"The covariates {names} need {columns} columns; a norm has {MOST_COLUMNS} at most.",
            "Leave some out (--covariates), or write names that mean the same alike.",
        )
    if np.linalg.matrix_rank(design) < columns:
        raise InputError(f"The covariates {names} cannot be told apart.", "Leave one out (--covariates).")
    if covariates and people - columns < _LEAST_FREEDOM:
        raise InputError(
            f"{people} controls are too few to allow for {names} ({columns - 1} columns).",
            f"Leave some out; {NO_COVARIATES!r} for none.",
        )


def _facts(case: CaseImages) -> dict[str, Any]:
    if not case.direction.to_pet or case.unit is None:
        raise InputError("A norm is of PET with a unit.", "Train a model from T1 to PET.")
    return {
        "unit": case.unit,
        "to_pet": case.direction.to_pet,
        "tracer": case.direction.tracer,
        "simulated": bool(case.provenance.get("simulated")),
        "demonstration": case.model.get("intended_use") == DEMONSTRATION,
        "model": {key: str(case.model.get(key) or "") for key in ("id", "name", "version", "sha256")},
        "minutes": case.minutes,
    }


def fit_norm(
    data: ControlData,
    parcellations: Sequence[Parcellation],
    about: Mapping[str, Any],
    settings: NormSettings,
    progress: ProgressCallback,
) -> Norm:
    """The models of all parts, and what left-out controls say of them.

    :param about: the fields of :class:`.NormAbout` that are not computed here.
    """
    models = {
        part: {kind: fit_controls(data.values[part][kind], data.design) for kind in KINDS} for part in PARTS
    }
    grid = Grid.of(mni_grid())
    maxima: dict[str, dict[str, list[float]]] = {family: {} for family in FAMILIES}
    calibration = {}
    for number, kind in enumerate(KINDS):
        progress(number, len(KINDS) + 1, "leaving controls out")
        scores = {part: left_out_scores(data.values[part][kind], data.design) for part in PARTS}
        for part in PARTS:
            maxima[part][kind] = sorted(_largest(scores[part]))
        whole = np.full(data.inside.shape, np.nan)
        sizes = []
        for row in scores["voxels"]:
            whole[data.inside] = row
            sizes.append(largest_volume_ml(find_clusters(whole, grid, settings.threshold)))
        maxima["clusters_ml"][kind] = sorted(sizes)
        rows = [calibration_row(ALL_VOXELS, scores["voxels"], independent=False)]
        rows += [
            calibration_row(region_label(*k), scores["regions"][:, n])
            for n, k in enumerate(data.regions.keys)
        ]
        sides = (pair_label(p.parcellation, p.region) for p in data.regions.sides)
        rows += [calibration_row(name, scores["asymmetry"][:, n]) for n, name in enumerate(sides)]
        calibration[kind] = tuple(row for row in rows if row is not None)
    progress(len(KINDS), len(KINDS) + 1, "what the T1 explains")
    real, residual = (data.values["regions"][kind] for kind in reversed(KINDS))
    explained = {
        region_label(*key): explained_variance(
            real[:, [n]], residual[:, [n]], data.design, seed=settings.seed
        )
        for n, key in enumerate(data.regions.keys)
    }
    real, residual = (data.values["voxels"][kind] for kind in reversed(KINDS))
    explained[ALL_VOXELS] = explained_variance(real, residual, data.design, seed=settings.seed)
    complete = NormAbout(maxima=maxima, explained=explained, calibration=calibration, **about)
    mask = grid.image(data.inside.astype(np.uint8))
    return Norm(complete, mask, data.inside, tuple(parcellations), models)


def _largest(scores: np.ndarray) -> list[float]:
    """Largest |score| of each person who has any."""
    there = scores[np.isfinite(scores).any(axis=1)] if scores.size else scores[:0]
    return [float(v) for v in np.nanmax(np.abs(there), axis=1)] if len(there) else []


def regions_on(grid: sitk.Image, atlases: Sequence[Parcellation] = ()) -> tuple[Parcellation, ...]:
    """The built-in regions and those of atlases in MNI space, inside the brain mask ``grid``, on its grid."""
    result = []
    inside = sitk.Cast(grid != 0, sitk.sitkInt32)
    for p in (*built_in_parcellations(), *atlases):
        if p.space != "mni":
            raise InputError(f"The atlas {p.name!r} is not in MNI space.", "Give an atlas in MNI space.")
        labels = sitk.Resample(p.labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        result.append(
            Parcellation(p.name, sitk.Cast(labels, sitk.sitkInt32) * inside, p.names, "mni", p.source)
        )
    return tuple(result)


def notes_on(people: int, settings: NormSettings) -> list[str]:
    """What every use of a norm of so many people says first."""
    if people < LEAST_PEOPLE:
        return [
            f"DEMONSTRATION: a norm of {people} people is too small to judge anyone by; at least "
            f"{LEAST_PEOPLE} are needed."
        ]
    if people < ENOUGH_PEOPLE:
        return [f"{people} controls are few: {ENOUGH_PEOPLE} or more are advised."]
    return []


def notes_on_repeated(people: int, scans: int) -> list[str]:
    """What every use of a norm says where some controls were scanned more than once."""
    if scans <= people:
        return []
    return [
        f"{scans} scans of {people} controls: repeated scans are averaged, and a mean varies less than one "
        "scan. The z of a single scan tend to be too large."
    ]


def notes_on_model(is_demonstration: bool) -> list[str]:
    """What every use of a norm says where a demonstration model predicted any of its controls."""
    return [f"Controls were predicted by a {DEMONSTRATION_NOTE}"] if is_demonstration else []


def source_of_run(run: Path) -> str:
    """What tells one run from another without naming it."""
    return sha256_of_value(str(run.resolve()))
