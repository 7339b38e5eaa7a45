"""Compare a person with a norm into a folder; what is there from the same request is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib import __version__
from MRI2PETLib.core.files import output_folder, write_json, write_text
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import Reporter, part_of
from MRI2PETLib.core.requests import Request, Result, Source, located
from MRI2PETLib.core.tables import write_rows
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image
from MRI2PETLib.images.sources import optional_source, source_of
from MRI2PETLib.models.bundle import DEMONSTRATION, DEMONSTRATION_NOTE
from MRI2PETLib.normative.build import ALL_VOXELS
from MRI2PETLib.normative.card import KIND_NAMES, what_the_t1_adds
from MRI2PETLib.normative.case import load_person
from MRI2PETLib.normative.design import design_row, parse_covariates
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.norm_folder import read_norm
from MRI2PETLib.normative.person import CONDITIONAL, KINDS, person_in_mni
from MRI2PETLib.normative.score import ClusterScore, Scores, score_person, z_on_t1
from MRI2PETLib.normative.settings import ScorePaths, ScoreSettings
from MRI2PETLib.preprocessing.frame_window import windows_text
from MRI2PETLib.preprocessing.template_warp import invert_warp
from MRI2PETLib.reports import norm_tables
from MRI2PETLib.reports.case_report import PICTURE_FILE, REPORT_FILE, provenance_lines
from MRI2PETLib.reports.norm_figure import ScoredImages, norm_figure, norm_viewer
from MRI2PETLib.reports.norm_summary import summary_of_score
from MRI2PETLib.reports.page import Picture, render
from MRI2PETLib.reports.texts import coverage_sentence
from MRI2PETLib.reports.viewer import Viewer
from MRI2PETLib.synthesis.case_files import SIMULATED_PERSON

SCORE_RECORD, SCORE_FILE = "norm_status.json", "score.json"
MAP_NAMES = {"residual": "z", "real": "z_unconditional"}


def score_into(
    paths: ScorePaths, settings: ScoreSettings, output: Path, reporter: Reporter, norm: Norm | None = None
) -> dict[str, Any]:
    """Compare the real PET of a person with a norm.

    :param norm: that of ``paths``, where it is read already.
    :return: for the result event: ``files`` by role, ``largest`` (cluster), ``demonstration``, ``lines`` for
        a person.
    :raises InputError: see :func:`.read_norm`, :func:`.load_person`, :func:`.parse_covariates`.
    """
    norm = norm or read_norm(paths.norm)
    values, findings = parse_covariates(norm.about.covariates, settings.covariate)
    for note in norm.about.notes:
        reporter.warning(note)
    output_folder(output)
    request = score_request(paths, settings, norm)
    result = Result(output, SCORE_RECORD, {REPORT_FILE, SCORE_FILE, PICTURE_FILE, "regions.csv"})
    about = result.finished(request)
    if about is not None:
        reporter.log(f"{output}: already there, kept")
        return {**about, "files": located(output, about["files"])}
    about = {}
    with result.attempt(request, reporter.warning), result.make(request, about) as staging:
        progress = part_of(reporter.progress, 0, 0.85)
        case, verdict = load_person(paths, settings, norm, staging, progress)
        verdict += findings
        reporter.tell(verdict)
        reporter.progress(0.85, 1, "comparing with the norm")
        row = design_row(norm.about.covariates, values)
        scores = score_person(norm, person_in_mni(case, norm.grid), row)
        reporter.progress(0.92, 1, "writing the report")
        title = f"{paths.pet.name.split('.')[0]} against the norm of {norm.about.n_people} controls"
        about |= _write(staging, title, norm, case, scores, verdict, settings)
    return {**about, "files": located(output, about["files"])}


def score_request(paths: ScorePaths, settings: ScoreSettings, norm: Norm) -> Request:
    """What decides a comparison."""
    inputs: dict[str, Source | None] = {
        "mask": optional_source(paths.mask, "mask"),
        "synthetic": optional_source(paths.synthetic, "pet"),
    }
    whose = {"pet": source_of(paths.pet, "pet"), "t1": source_of(paths.t1, "t1")}
    return Request(whose, inputs, {**settings.to_dict(deciding=True), "norm": norm.checksum})


def _write(
    folder: Path,
    title: str,
    norm: Norm,
    case: CaseImages,
    scores: Scores,
    verdict: Verdict,
    settings: ScoreSettings,
) -> dict[str, Any]:
    """All files of a comparison; returns what the record keeps of it."""
    assert case.warp is not None and case.t1 is not None  # or it has been refused
    simulated = bool(case.provenance.get("simulated"))
    note = _note(norm, case.model, simulated)
    about = {**GENERATED_BY, "Description": note, "Norm": norm.checksum}
    z_native = {kind: z_on_t1(norm, scores.z[kind], case.mask, case.warp) for kind in KINDS}
    in_unit = {**about, "Units": norm.about.unit}
    meaning = {kind: {**about, "Units": "z", "Meaning": KIND_NAMES[kind]} for kind in KINDS}
    for kind in KINDS:
        name = MAP_NAMES[kind]
        write_image(z_native[kind], folder / f"{name}.nii.gz", meaning[kind], forms=case.forms)
        in_mni = Grid.of(norm.grid).image(np.nan_to_num(scores.z[kind]).astype(np.float32))
        write_image(in_mni, folder / f"{name}_mni.nii.gz", meaning[kind])
    for name, image in (("real", case.real), ("predicted", case.synthetic)):
        write_image(image, folder / f"{name}.nii.gz", in_unit, forms=case.forms)
    files = {"report": REPORT_FILE, "score": SCORE_FILE, "picture": PICTURE_FILE, "regions": "regions.csv"}
    files |= {name: f"{name}.nii.gz" for name in (*MAP_NAMES.values(), "real", "predicted")}
    files |= {f"{name}_mni": f"{name}_mni.nii.gz" for name in MAP_NAMES.values()}
    write_rows(folder / "regions.csv", scores.regions)
    for name, rows in (("asymmetry", scores.asymmetry), ("clusters", scores.clusters)):
        if rows:
            write_rows(folder / f"{name}.csv", rows)
            files[name] = f"{name}.csv"
    point = _point(norm, scores, case)
    images = ScoredImages(case.t1, case.mask, case.synthetic, case.real, z_native, norm.about.unit)
    picture = norm_figure(images, folder / PICTURE_FILE, title=title, note=note, point_mm=point)
    largest = next((c._asdict() for c in scores.clusters if c.kind == CONDITIONAL), None)
    content = {
        "title": title,
        "description": note,
        "software": {"name": "MRI2PET", "version": __version__},
        "unit": norm.about.unit,
        "norm": {"checksum": norm.checksum, "people": norm.about.n_people, "notes": norm.about.notes},
        "demonstration": norm.about.demonstration,
        "simulated": simulated,
        "explained": norm.about.explained[ALL_VOXELS]._asdict(),
        "thresholds": scores.thresholds,
        "peak_lps_mm": list(point),
        "clusters": [c._asdict() for c in scores.clusters],
        "regions": [r._asdict() for r in scores.regions],
        "asymmetry": [r._asdict() for r in scores.asymmetry],
        "quality": verdict.to_dict(),
        "provenance": case.provenance,
    }
    write_json(folder / SCORE_FILE, content)
    viewer = norm_viewer(images, point, note)
    write_text(
        folder / REPORT_FILE, _page(title, note, norm, case, scores, verdict, settings, picture, viewer)
    )
    return {
        "files": files,
        "largest": largest,
        "demonstration": norm.about.demonstration,
        "lines": [
            _first_sentence(scores.clusters, CONDITIONAL),
            what_the_t1_adds(norm.about.explained[ALL_VOXELS]),
        ],
    }


def _note(norm: Norm, model: Mapping[str, Any], simulated: bool) -> str:
    """:param model: provenance of the model that predicted this person's PET, empty where it is not known."""
    words = "DEMONSTRATION NORM. " if norm.about.demonstration else ""
    words += f"{DEMONSTRATION_NOTE} " if model.get("intended_use") == DEMONSTRATION else ""
    words += "The norm is of SIMULATED people. " if norm.about.simulated else ""
    words += f"{SIMULATED_PERSON} " if simulated else ""
    return f"{words}How rare the PET of a person is among {norm.about.n_people} controls: no diagnosis."


def _point(norm: Norm, scores: Scores, case: CaseImages) -> tuple[float, float, float]:
    """The farthest z by the T1, in a cluster or not, as a point of the T1 (LPS mm)."""
    z = np.abs(np.nan_to_num(scores.z[CONDITIONAL]))
    k, j, i = (int(n) for n in np.unravel_index(int(z.argmax()), z.shape))
    in_mni = scores.peak_mm or norm.grid.TransformIndexToPhysicalPoint((i, j, k))
    assert case.warp is not None
    x, y, s = invert_warp(case.warp).TransformPoint(in_mni)
    return x, y, s


def _first_sentence(clusters: Sequence[ClusterScore], kind: str) -> str:
    own = [c for c in clusters if c.kind == kind]
    if not own:
        return f"{KIND_NAMES[kind]}: no voxel beyond the threshold."
    first = own[0]
    where = f" in {first.region}" if first.region else ""
    return (
        f"{KIND_NAMES[kind]}: {len(own)} cluster{'s' if len(own) > 1 else ''}; the farthest peak is "
        f"{first.peak_z:.1f}{where} (real PET {first.sign}, p {first.p_peak:.3f} over the brain)."
    )


def _families(norm: Norm, scores: Scores) -> str:
    limits = [
        f"{KIND_NAMES[kind]} {'cannot be said' if limit is None else f'{limit:.2f}'}"
        for kind, limit in scores.thresholds.items()
    ]
    return (
        f"p over the whole brain, by the controls' own maxima: at least {1 / (norm.about.n_people + 1):.3f} "
        f"with {norm.about.n_people} controls. |z| that 5 % of controls exceed anywhere: {'; '.join(limits)}"
        + (" (19 controls are needed)." if None in scores.thresholds.values() else ".")
    )


def _page(
    title: str,
    note: str,
    norm: Norm,
    case: CaseImages,
    scores: Scores,
    verdict: Verdict,
    settings: ScoreSettings,
    picture: Path,
    viewer: Viewer,
) -> str:
    clusters, no_clusters = norm_tables.cluster_tables(scores)
    caption = (
        "T1, predicted and real PET on one scale, z by the T1 and unconditional z on one symmetric scale "
        "(|z| below 1 is left bare), in three planes through the farthest z by the T1."
    )
    about = norm.about
    facts = {
        "Norm": f"{about.n_people} controls, {about.unit_text}, {about.fwhm_mm:g} mm FWHM",
        "Minutes of the controls": windows_text([about.window_min]) if about.window_min else "not stated",
        "Checksum of the norm": norm.checksum,
        "Allowed for": ", ".join(c.about() for c in about.covariates) or "nothing",
    }
    return render(
        "norm_score.html",
        title,
        viewer=viewer,
        about=note,
        warnings=about.notes,
        summary=summary_of_score(norm, scores),
        facts=[
            f"One person's real PET against {about.n_people} controls, {about.unit_text}.",
            coverage_sentence(case.pet_coverage),
        ],
        planes=Picture(picture, alt=f"{caption} The tables give the values.", caption=caption),
        norm=about,
        clusters=clusters,
        no_clusters=no_clusters,
        families=_families(norm, scores),
        regions=norm_tables.region_table_of_scores(scores),
        reasons=[f"{r.region} ({r.parcellation}): {r.remark}." for r in scores.regions if r.remark],
        asymmetry=norm_tables.asymmetry_table_of_scores(scores),
        added=what_the_t1_adds(about.explained[ALL_VOXELS]),
        explained=norm_tables.explained_table(about),
        calibration=norm_tables.calibration_table(norm),
        quality=verdict.level,
        remarks=[coverage_sentence(case.pet_coverage), *verdict.reasons()],
        settings=settings.to_dict(),
        provenance={**facts, **provenance_lines(case.provenance, case.model)},
    )
