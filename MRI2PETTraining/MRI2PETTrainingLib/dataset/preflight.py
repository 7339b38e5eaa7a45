"""From a dataset to cases in model space; all its faults are reported before any training."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from MRI2PETLib.core.case_loop import exit_code
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.progress import Reporter, part_of
from MRI2PETLib.images.similar_subjects import LAST_PART, TWO_SPELLINGS
from MRI2PETLib.images.subjects import read_overrides
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.preprocessing.frame_window import are_one_window, windows_text
from MRI2PETLib.preprocessing.tracers import tracer_label
from MRI2PETTrainingLib.dataset.cache import Preparation, PreparedCase, disk_use, prepare_cases
from MRI2PETTrainingLib.dataset.checks import check_manifest
from MRI2PETTrainingLib.dataset.manifest import Manifest, TrainingCase, read_dataset, write_manifest
from MRI2PETTrainingLib.run_folder import CASES
from MRI2PETTrainingLib.settings import TrainingSettings

GENOTYPES = ("HAB", "MAB", "LAB")
_VOLUME_TOLERANCE = 0.15  # of two brains of one person
_MOST_LINES = 5  # of one kind of warning


def prepare_dataset(
    run: Path,
    cache: Path,
    space: ModelSpace,
    settings: TrainingSettings,
    *,
    reporter: Reporter,
    check_split: Callable[[Sequence[TrainingCase]], object] = lambda cases: None,
) -> tuple[Manifest, dict[str, PreparedCase]]:
    """Read, check and prepare a dataset; the table of all cases goes to ``RUN/cases.csv``.

    :param check_split: called before anything is prepared, which takes long; raises if these cases cannot be
        split as they must be.
    :returns: the manifest with the reasons of all exclusions, and the cases in use, prepared.
    :raises InputError: if a case cannot be used (unless ``exclude_bad``), or the dataset contradicts itself.
    :raises MRI2PETError: if all cases are left out because they cannot be used.
    """
    subjects = None if settings.subjects is None else read_overrides(settings.subjects)
    manifest = read_dataset(settings.dataset, subject_pattern=settings.subject_pattern, overrides=subjects)
    if settings.window is not None:
        manifest = manifest.with_window(settings.window)
    if settings.adjust_genotype:
        manifest = check_genotypes(manifest)
    for finding in manifest.about:
        reporter.warning(f"{finding.message} {finding.hint}")
    manifest, sources = check_manifest(manifest, part_of(reporter.progress, 0, 0.1))
    _warn_of_people(manifest, reporter)
    usable = [case for case in manifest.used if case.case in sources]
    if usable:  # else the reasons are told below
        check_split(usable if settings.exclude_bad else manifest.used)
    prepared, failed = prepare_cases(
        usable,
        sources,
        space,
        cache,
        preparation=Preparation(settings.register, settings.realign_frames),
        workers=settings.workers,
        progress=part_of(reporter.progress, 0.1, 1),
    )
    manifest = manifest.noting({name: [finding] for name, finding in failed.items()})
    manifest = manifest.noting({name: entry.findings for name, entry in prepared.items()})
    manifest = manifest.noting(_volume_findings(list(prepared.values())))
    bad = _refused(manifest)
    cases = len(manifest.used)
    if settings.exclude_bad:
        manifest = manifest.excluding(bad)
    table = {
        name: {
            "pet_unit": str(entry.about["unit"]),
            "overlap": str(entry.about["overlap"]),
            "coverage": str(entry.about["coverage"]),
            "brain_ml": str(entry.about["brain_ml"]),
        }
        for name, entry in prepared.items()
    }
    write_manifest(run / CASES, manifest, table)
    for case in manifest.cases:
        warnings = [f for f in manifest.findings.get(case.case, ()) if f.level == "warn"]
        for finding in warnings:
            reporter.log(f"{case.case}: {finding.message} {finding.hint}".strip())
    if bad and not settings.exclude_bad:
        name, reason = next(iter(bad.items()))
        raise InputError(
            f"{len(bad)} of {cases} cases cannot be used. {name}: {reason}",
            f"All of them are in {run / CASES}: correct them, or leave them out (--exclude-bad; in Slicer "
            "under Advanced).",
        )
    exit_code(list(bad.values()), cases)
    used = {case.case: prepared[case.case] for case in manifest.used}
    check_units(list(used.values()))
    check_copies(list(used.values()))
    _tell(manifest, used, reporter)
    return manifest, used


def smallest_coverage(prepared: Mapping[str, PreparedCase]) -> float:
    """The least share (0..1) of a brain that a PET of the cases measured."""
    return min(float(entry.about["coverage"]) for entry in prepared.values())


def _warn_of_people(manifest: Manifest, reporter: Reporter) -> None:
    """Say before anything is computed who may be one person: a leak that nothing later would notice."""
    of_people = (TWO_SPELLINGS, LAST_PART)
    warnings = [
        f for case in manifest.used for f in manifest.findings.get(case.case, ()) if f.code in of_people
    ]
    lines = list(dict.fromkeys(f"{f.message} {f.hint}" for f in warnings))
    for line in lines[:_MOST_LINES]:
        reporter.warning(line)
    if len(lines) > _MOST_LINES:
        reporter.warning(f"{len(lines) - _MOST_LINES} more such warnings are in {CASES}.")


def check_genotypes(manifest: Manifest) -> Manifest:
    """Leave out low-affinity binders; every other case needs HAB or MAB.

    :raises InputError: for a missing or unknown genotype: it is never assumed.
    """
    reasons = {}
    for case in manifest.used:
        if case.genotype.upper() not in GENOTYPES:
            raise InputError(
                f"{case.case!r} has {f'the genotype {case.genotype!r}' if case.genotype else 'no genotype'}.",
                "Adjusting for genotype needs HAB, MAB or LAB for every case; exclude the case otherwise.",
            )
        if case.genotype.upper() == "LAB":
            reasons[case.case] = "low-affinity binder (LAB): its PET shows little specific binding"
    return manifest.excluding(reasons)


def check_units(prepared: Sequence[PreparedCase]) -> None:
    """Raise if the PETs are in different units.

    :raises InputError: with the number of cases in each unit.
    """
    units = Counter(str(entry.about["unit"]) for entry in prepared)
    if len(units) > 1:
        text = ", ".join(
            f"{n} without a stated unit" if unit == "unknown" else f"{n} in {unit}"
            for unit, n in units.most_common()
        )
        raise InputError(
            f"The PETs are in different units: {text}.",
            "Bring all into one unit, or state the unit of each in the manifest (column unit).",
        )


def check_copies(prepared: Sequence[PreparedCase]) -> None:
    """Raise if two subjects share an image, whatever the bytes of its file (compressed or named otherwise).

    :raises InputError: naming both.
    """
    owners: dict[bytes, PreparedCase] = {}
    for entry in prepared:
        for what, values in zip(("T1", "PET"), entry.arrays()):
            first = owners.setdefault(hashlib.sha256(values.tobytes()).digest(), entry)
            if first.case.subject != entry.case.subject:
                raise InputError(
                    f"{entry.case.case!r} (subject {entry.case.subject!r}) and {first.case.case!r} (subject "
                    f"{first.case.subject!r}) hold the same {what}: one person under two ids.",
                    "Give both cases one subject, or remove the copy.",
                )


def _volume_findings(prepared: Sequence[PreparedCase]) -> dict[str, list[Finding]]:
    """Warn about scans of one person whose brains differ in size."""
    first: dict[str, PreparedCase] = {}
    findings: dict[str, list[Finding]] = defaultdict(list)
    for entry in sorted(prepared, key=lambda p: p.case.case):
        reference = first.setdefault(entry.case.subject, entry)
        a, b = reference.about["brain_ml"], entry.about["brain_ml"]
        if abs(a - b) > _VOLUME_TOLERANCE * max(a, b):
            message = (
                f"The brain measures {b:.0f} mL, that of {reference.case.case} of the same subject "
                f"{entry.case.subject!r} {a:.0f} mL: two people under one id?"
            )
            hint = "Look at both T1s and correct the subject."
            findings[entry.case.case].append(Finding("warn", "brain-volume", message, hint))
    return findings


def _refused(manifest: Manifest) -> dict[str, str]:
    """Why each case in use cannot be used."""
    reasons = {}
    for case in manifest.used:
        refusing = [f for f in manifest.findings.get(case.case, ()) if f.level == "refuse"]
        if refusing:
            reasons[case.case] = " ".join(f"{f.message} {f.hint}".strip() for f in refusing)
    return reasons


def _tell(manifest: Manifest, used: Mapping[str, PreparedCase], reporter: Reporter) -> None:
    cases: list[TrainingCase] = [entry.case for entry in used.values()]
    groups = Counter(case.group or "no group" for case in cases)
    reporter.log(
        f"{len(cases)} cases of {len({c.subject for c in cases})} people ("
        + ", ".join(f"{n} {group}" for group, n in groups.most_common())
        + f"); cache {disk_use(list(used.values())) / 1e6:.0f} MB, "
        f"{fmean(float(entry.about['seconds']) for entry in used.values()):.3g} s a case to prepare."
    )
    if len(groups) == 1:
        reporter.log("All cases are of one group: the folds need no balance.")
    unknown = [c.case for c in cases if used[c.case].about["unit"] == "unknown"]
    if unknown:
        reporter.warning(
            f"The unit of {len(unknown)} PETs is not stated. The target of the model is a ratio, so training "
            "works; it must be linear in activity all the same."
        )
    _tell_tracers(list(used.values()), reporter)
    _tell_windows(list(used.values()), reporter)
    for case in manifest.cases:
        if case.exclude:
            reporter.warning(f"{case.case} is left out: {case.exclude}")


def _tell_tracers(prepared: Sequence[PreparedCase], reporter: Reporter) -> None:
    """Warn when the PETs are of different tracers."""
    counts = Counter(tracer_label(entry.about["tracer"]) for entry in prepared)
    counts.pop("", None)
    if len(counts) > 1:
        text = ", ".join(f"{n} of {tracer}" for tracer, n in counts.most_common(_MOST_LINES))
        reporter.warning(
            f"The PETs are of different tracers: {text}. Their patterns differ: train on each of them alone."
        )


def _tell_windows(prepared: Sequence[PreparedCase], reporter: Reporter) -> None:
    """Warn when the PETs show different minutes after the injection."""
    windows = [entry.minutes for entry in prepared if entry.minutes]
    if are_one_window(windows):
        return
    reporter.warning(
        f"The PETs show different minutes after the injection: {windows_text(windows)}. Give one window "
        "(--window, or the column window_min), or train on each of them alone."
    )
