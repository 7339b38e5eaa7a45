"""What a norm tells its readers: the card and the table of its regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.files import write_text
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.normative.build import ALL_VOXELS
from MRI2PETLib.normative.calibration import CalibrationRow, ExplainedShare, family_threshold
from MRI2PETLib.normative.controls import least_controls
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.norm_folder import CARD_FILE, REGIONS_OF_NORM
from MRI2PETLib.normative.person import CONDITIONAL, KINDS, pair_label, region_label
from MRI2PETLib.preprocessing.frame_window import windows_text

KIND_NAMES = {"residual": "z (real - predicted)", "real": "unconditional z (real PET, no T1)"}


def what_the_t1_adds(share: ExplainedShare) -> str:
    """A sentence on whether the prediction is worth more than the mean of the controls."""
    if share.share is None or share.low is None or share.high is None:
        return f"What the T1 adds cannot be said: {share.reason}."
    size = f"{100 * share.share:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f} %)"
    if share.low > 0:
        return f"The prediction from the T1 explains {size} of the variance between controls: it adds."
    if share.high < 0:
        return f"The prediction from the T1 adds noise ({size} of the variance): read the unconditional z."
    return (
        f"The prediction from the T1 explains {size} of the variance between controls: it is not "
        "shown to add anything; read the unconditional z beside it."
    )


def write_norm_card(folder: Path, norm: Norm) -> None:
    """``card.md``."""
    about = norm.about
    rows = {kind: about.calibration[kind][0] for kind in KINDS if about.calibration[kind]}
    thresholds = {kind: family_threshold(about.maxima["voxels"][kind]) for kind in KINDS}
    limit = thresholds[CONDITIONAL]
    numbers = [covariate.name for covariate in about.covariates if not covariate.names]
    lines = [
        "# Norm of controls" + (": DEMONSTRATION" if about.demonstration else ""),
        "",
        *(f"**{note}**\n" for note in about.notes),
        f"What real PETs of {about.n_people} controls ({about.n_scans} scans"
        + (f", group {about.group!r}" if about.group else "")
        + (", SIMULATED people" if about.simulated else "")
        + ") show beyond what a model that had never seen them predicted from their T1s. This folder "
        "holds no image, name or place of a person; of single controls it has, unnamed, the largest |z| and "
        "cluster of each" + "".join(f", the lowest and highest {name}" for name in numbers) + ".",
        "",
        f"- Unit: {about.unit_text}. Tracer: {about.tracer or 'not stated'}. Minutes after the "
        f"injection: {windows_text([about.window_min]) if about.window_min else 'not stated by all alike'}.",
        f"- Maps: MNI space, {norm.grid.GetSpacing()[0]:g} mm, by the non-linear registration of the T1, "
        f"smoothed by {about.fwhm_mm:g} mm (FWHM).",
        f"- Allowed for: {', '.join(c.about() for c in about.covariates) or 'nothing'}.",
        f"- Predicted by: {about.predicted_by.name or about.predicted_by.id or 'not stated'}.",
        f"- {what_the_t1_adds(about.explained[ALL_VOXELS])}",
        f"- SD by voxel and region: shrunk towards what variances over the brain are like (Smyth 2004); "
        f"worth {norm.models['voxels'][CONDITIONAL].prior.freedom:.1f} people.",
        "- Family-wise threshold (5 %) by the controls' own maxima: "
        + ("too few controls (19 are needed)." if limit is None else f"|z| > {limit:.2f}."),
        f"- {_coverage(norm)}",
        "",
        "## Can the z be believed?",
        "Each control scored by the others, all voxels; nominal shares are 5 % and 0.27 %, mean 0, SD 1.",
        "",
        "| | mean | SD | beyond 1.96 | beyond 3 |",
        "|---|---|---|---|---|",
        *(f"| {KIND_NAMES[kind]} | {_calibration_cells(row)} |" for kind, row in rows.items()),
        "",
        "By region: regions.csv. A region whose interval of the share beyond 1.96 leaves out 5 % is "
        "not to be believed.",
        "",
        "Not for clinical use. A z says how rare a value is among these controls, not why.",
        "",
    ]
    write_text(folder / CARD_FILE, "\n".join(lines))


def _coverage(norm: Norm) -> str:
    """Which regions rest on fewer than all controls, and which on too few."""
    people = norm.about.n_people
    least, few, none = least_controls(people), [], []
    for (_, _, label), count in zip(_region_names(norm), norm.models["regions"][CONDITIONAL].count):
        named = f"{label} ({int(count)})"
        if count < least:
            none.append(named)
        elif count < people:
            few.append(named)
    voxels = norm.models["voxels"][CONDITIONAL].count
    share = 100 * float(np.mean(voxels < people)) if voxels.size else 0.0
    secret = (
        " Where counts differ by one, the covariates of an unnamed control can be computed."
        if norm.about.covariates and share
        else ""
    )
    return (
        f"A voxel, region or pair of regions needs {least} of the {people} controls. "
        f"{share:.0f} % of the voxels rest on fewer than all (maps/count.nii.gz); "
        f"regions: {', '.join(few) or 'none'}. Without a z: {', '.join(none) or 'none'}.{secret}"
    )


def _calibration_cells(row: CalibrationRow) -> str:
    sd = "" if row.sd is None else f"{row.sd:.2f}"
    return f"{row.mean:.2f} | {sd} | {100 * row.beyond_196:.1f} % | {100 * row.beyond_3:.2f} %"


def write_norm_regions(folder: Path, norm: Norm) -> None:
    """``regions.csv``: a line a region, then a line a pair of regions (left - right, %)."""
    rows = []
    for part, names in (("regions", _region_names(norm)), ("asymmetry", _pair_names(norm))):
        for number, (parcellation, region, label) in enumerate(names):
            row: dict[str, Any] = {"parcellation": parcellation, "region": region}
            row["unit"] = norm.about.unit if part == "regions" else "%"
            row["controls"] = int(norm.models[part][CONDITIONAL].count[number])
            share = norm.about.explained.get(label)
            for name in ("share", "low", "high"):
                row[f"explained_{name}"] = None if share is None else getattr(share, name)
            for kind in KINDS:
                model = norm.models[part][kind]
                row[f"{kind}_mean"] = model.coefficients[0, number]
                row[f"{kind}_sd"] = np.sqrt(model.variance[number])
                own = next((r for r in norm.about.calibration[kind] if r.unit == label), None)
                for name in ("beyond_196", "low", "high", "beyond_3"):
                    column = name if name.startswith("beyond") else f"beyond_196_{name}"
                    row[f"{kind}_{column}"] = None if own is None else getattr(own, name)
            rows.append(row)
    write_table(folder / REGIONS_OF_NORM, list(rows[0]), rows)


def _region_names(norm: Norm) -> list[tuple[str, str, str]]:
    return [(*key, region_label(*key)) for key in norm.regions.keys]


def _pair_names(norm: Norm) -> list[tuple[str, str, str]]:
    sides = norm.regions.sides
    return [
        (p.parcellation, f"{p.region} (left - right)", pair_label(p.parcellation, p.region)) for p in sides
    ]
