"""Where a PET was measured: what lies outside its field of view is no uptake of zero."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from MRI2PETLib.core.findings import Finding

# The end of a field of view cuts through the uptake; the end of a head or of a stripped brain tapers. So much
# of the largest cross-section must be left in the plane beside the empty ones (a cap of 1 % of a brain: .2).
_LEAST_SECTION = 0.2
_UPTAKE = 0.25  # of the 98th percentile of what is not 0
# Likewise: more than a cubic spline leaves of the uptake behind the end of a scan. A plane with fewer such
# voxels than this share of the largest section has specks of noise.
_FAINT, _SPECKS = 0.1, 0.003
# Where less than this share of what is above traces is uptake, the tracer binds to a small part of the brain
# (striatum: a dopamine transporter, a map of BPnd). The rest is weak, but measured.
_FOCAL, _TRACES = 0.1, 0.02
# Of planes oblique to the array, in voxels: what counts as one slab, and as mixed with zeros.
_SLAB, _MIXED = 2.0, 1.5
# A flat face: normals within 4 degrees, at least this share of the hull; nearer to an axis (1 degree) it is
# one of the planes above.
_FLAT_COSINE, _AXIS_COSINE, _LEAST_FACE = math.cos(math.radians(4)), math.cos(math.radians(1)), 0.02
# A scan that was smoothed after it was cut fades at its end, all of a section alike: so much of the largest
# one is above half of what is highest there. The end of a head or brain is a spot (up to .19 at 12 mm FWHM).
_FADING_SECTION, _TOP_VOXELS = 0.25, 5
# It has faded where its mean grows by less a plane. From 10 to 50 % are 1.28 SD of a Gaussian, and 2 SD
# behind the middle 98 % are left; planes are whole.
_STEADY_GROWTH, _SD_10_TO_50, _SDS_OF_EDGE, _ROUNDING, _LONGEST_FADE = 1.03, 1.2816, 2.0, 0.35, 0.4
# A round field of view: columns of uptake over this share of the longest one stand on a circle, so close to
# it (voxels), at least so many, over this share of its circumference. None lies outside of it.
_DEEP_COLUMN, _ON_CIRCLE, _BEYOND_CIRCLE, _FEWEST_ON_CIRCLE, _LEAST_ARC = 0.3, 0.65, 1.3, 12, 0.08
_FITS, _OF_DEEP = 5, 0.5  # a section that is cut has long columns at its own outline too, which are dropped
# The fade at its rim is looked at from so many voxels outside, in sectors (radians) with such columns, by
# this percentile of the uptake.
_RIM, _SECTOR, _HIGH = 5, math.radians(5), 90
# Share of a region that a PET must have measured: the mean of less is that of another region.
MIN_REGION_COVERAGE = 0.9
# Share of the brain, and what counts as all of it.
MIN_COVERAGE, _ALL = 0.5, 0.999


def measured_voxels(values: np.ndarray) -> np.ndarray:
    """Where an image was measured, as a boolean array.

    Not measured is what is not finite, whole planes of exact zeros between others, and the exact zeros behind
    a plane, of any direction, that cuts through the uptake at an end of the scan. Another value that fills
    the border of the volume counts as zero does, and so do the traces that a spline or noise left there. A
    plane oblique to the array is the edge of a field of view that was resampled: the last voxels before it
    are mixed with zeros, so they are left out too. So are the planes over which a scan fades that was
    smoothed after it was cut, and what lies outside of a cylinder along an axis of the array that cuts
    through the uptake.

    Not noticed: zeros around a sphere, an ellipsoid or a tilted cylinder, and some of those around an
    ellipse.

    :param values: [k, j, i], NaN where a program marked voxels as outside.
    """
    measured = np.isfinite(values)
    present = measured & (values != 0) & (values != _fill_value(values))
    if not present.any():
        return measured
    high = float(np.percentile(values[present], 98))
    if high <= 0:
        return measured
    above_traces = present & (np.abs(values) > _TRACES * high)
    if (values[above_traces] > _UPTAKE * high).sum() < _FOCAL * above_traces.sum():
        high = float(np.median(np.abs(values[above_traces])))
    uptake, clear = (present & (values > share * high) for share in (_UPTAKE, _FAINT))
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        has_values, section = present.any(axis=others), uptake.sum(axis=others)
        filled, active = (
            np.flatnonzero(has_values),
            np.flatnonzero(clear.sum(axis=others) > _SPECKS * section.max()),
        )
        least = _least_section(filled[-1] + 1 - filled[0], 1.0) * section.max()
        planes: list[slice | np.ndarray] = [slice(None)] * 3
        gaps = np.flatnonzero(~has_values)
        planes[axis] = gaps[(gaps > filled[0]) & (gaps < filled[-1])]
        measured[tuple(planes)] = False
        for at_start in (True, False):
            first = active[0] if at_start else active[-1]
            n_empty = int(first if at_start else len(section) - 1 - first)
            is_cut = bool(section[first] >= max(least, 1))
            least_of_fade = least if is_cut else max(least, _FADING_SECTION * section.max())
            along = np.moveaxis(values, axis, 0)[:: 1 if at_start else -1]
            n_faded = _n_faded(along, n_empty, least_of_fade, len(filled), is_cut)
            n_left_out = max(n_faded, n_empty if is_cut else 0)
            planes[axis] = slice(0, n_left_out) if at_start else slice(len(section) - n_left_out, None)
            measured[tuple(planes)] = False
        outside = _outside_of_circle(values, uptake, axis)
        if outside is not None:
            measured &= ~np.expand_dims(outside, axis)
    for normal, end in _oblique_ends(values, clear, uptake):
        measured[_heights(normal, values.shape) > end] = False
    return measured


def _fill_value(values: np.ndarray) -> float:
    """The value other than 0 that fills most of the faces of a volume; 0 if none fills a tenth of one."""
    faces = [plane for axis in range(3) for plane in (values.take(0, axis), values.take(-1, axis))]
    border = np.concatenate([face.ravel() for face in faces])
    constants, counts = np.unique(border[np.isfinite(border) & (border != 0)], return_counts=True)
    if not len(counts) or counts.max() < 0.1 * min(face.size for face in faces):
        return 0.0
    return float(constants[counts.argmax()])


def _n_faded(planes: np.ndarray, n_empty: int, least: float, n_filled: int, is_cut: bool) -> int:
    """How many planes at the start of a volume hold a scan that fades there, since it was smoothed after it
    was cut, and those before it; 0 if it ends otherwise.

    :param n_empty: planes at this end without more than traces; ``least``: voxels of a section that a cut
        leaves; ``n_filled``: planes of the scan; ``is_cut``: it ends in a section that large.
    """
    if n_empty == 0:
        return 0
    edge = np.nan_to_num(planes[n_empty])
    level = _level_of_section(edge, least, is_cut)
    if level is None:
        return 0
    end = _end_of_fade(np.nan_to_num(planes[:, edge > level]).mean(axis=1), n_empty)
    return end if end - n_empty <= _LONGEST_FADE * n_filled else 0


def _level_of_section(edge: np.ndarray, least: float, is_cut: bool) -> float | None:
    """The value above which the voxels of a plane are the section that a cut left; ``None``: it is no cut."""
    ordered = np.sort(edge, axis=None)
    level = float(ordered[-_TOP_VOXELS:].mean() / 2)
    if (edge > level).sum() >= max(least, 1):
        return level
    n = min(math.ceil(least), edge.size - 1)
    return float(ordered[-n - 1]) if is_cut and n > 0 and ordered[-n - 1] < ordered[-1] else None


def _end_of_fade(profile: np.ndarray, n_empty: int) -> int:
    """How many entries of a profile that grows from empty ones, as a smoothed edge does, lie before the end
    of that edge; 0 if it never ends.
    """
    growth = profile[n_empty + 1 :] / np.maximum(profile[n_empty:-1], 1e-9)
    if not (steady := np.flatnonzero(growth < _STEADY_GROWTH)).size:
        return 0
    share = profile[: n_empty + steady[0] + 1] / profile[n_empty + steady[0]]
    low, middle = (_crossing(share, level) for level in (0.1, 0.5))
    return math.ceil(middle + _SDS_OF_EDGE * (middle - low) / _SD_10_TO_50 - _ROUNDING)


def _crossing(share: np.ndarray, level: float) -> float:
    """Where a profile that grows reaches a level for the last time, between two planes."""
    below = np.flatnonzero(share < level)
    if not below.size:
        return 0.0
    n = int(below[-1])
    return n + float((level - share[n]) / (share[n + 1] - share[n]))


def _outside_of_circle(values: np.ndarray, uptake: np.ndarray, axis: int) -> np.ndarray | None:
    """The columns along an axis that a round field of view left out: [rows, columns], ``None`` without one.

    Columns at the outline of a head or brain hold little; where a circle cuts through it, they are long.
    """
    lengths = uptake.sum(axis=axis)
    outline = lengths > 0
    rim = outline & ~ndimage.binary_erosion(outline)
    if not outline.any():
        return None
    longest = lengths.max()
    # At one and a half voxels from the outline of an ellipsoid.
    of_ellipsoid = math.sqrt(6.0 / longest)
    deep = rim & (lengths > max(_DEEP_COLUMN, of_ellipsoid) * longest)
    if deep.sum() < _FEWEST_ON_CIRCLE:
        return None
    rows, columns = np.indices(outline.shape)
    n_deep = int(deep.sum())
    for _ in range(_FITS):
        (row, column), radius = _circle(np.argwhere(deep).astype(float))
        away = np.hypot(rows - row, columns - column)
        off = np.abs(away[deep] - radius)
        if np.percentile(off, 90) <= _ON_CIRCLE:
            break
        deep = deep & (np.abs(away - radius) <= max(np.percentile(off, 80), _ON_CIRCLE))
    if (
        deep.sum() < max(_LEAST_ARC * 2 * math.pi * radius, _OF_DEEP * n_deep)
        or np.percentile(off, 90) > _ON_CIRCLE
        or away[outline].max() > radius + _BEYOND_CIRCLE
    ):
        return None
    sector = np.floor(np.arctan2(rows - row, columns - column) / _SECTOR)
    near = np.isin(sector, sector[deep])
    ring = np.rint(radius + _RIM - away).astype(int)  # 0 outside, then inwards
    columns_of = np.moveaxis(np.nan_to_num(values), axis, -1)
    profile = np.array(
        [np.percentile(columns_of[near & (ring == n)], _HIGH) if (near & (ring == n)).any() else 0.0
         for n in range(_RIM + max(2, int(radius / 2)))]
    )  # fmt: skip
    n_empty = int(np.argmax(profile > _FAINT * profile.max()))
    return ring < max(n_empty, _end_of_fade(profile, n_empty))


def _circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the circle through points [n, 2], by least squares (Kasa 1976)."""
    mean = points.mean(axis=0)
    own = points - mean
    solution = np.linalg.lstsq(np.c_[2 * own, np.ones(len(own))], (own**2).sum(axis=1), rcond=None)[0]
    return solution[:2] + mean, math.sqrt(max(0.0, solution[2] + (solution[:2] ** 2).sum()))


def _oblique_ends(
    values: np.ndarray, clear: np.ndarray, uptake: np.ndarray
) -> list[tuple[np.ndarray, float]]:
    """Planes oblique to the array that end the field of view in the uptake: unit normal (outwards), height
    (index units) above which nothing was measured.

    They are flat faces of the convex hull of what is clear; the hull of a head or a brain is curved.
    """
    from scipy.spatial import ConvexHull, QhullError

    if clear.all():
        return []
    points = _ends_of_rows(clear)
    try:
        hull = ConvexHull(points)
    except QhullError:  # all in one plane
        return []
    corners = hull.points[hull.simplices]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area, normals = np.linalg.norm(across, axis=1) / 2, hull.equations[:, :3]
    inside = np.argwhere(uptake).astype(np.float32)
    ends: list[tuple[np.ndarray, float]] = []
    while len(area) and area.max() > 0:
        near = normals @ normals[area.argmax()] > _FLAT_COSINE
        size, normal = float(area[near].sum()), area[near] @ normals[near]
        normal = normal / np.linalg.norm(normal)
        area, normals = area[~near], normals[~near]
        if size < _LEAST_FACE * hull.area:
            continue
        end = float((points @ normal).max())
        below = end - inside @ normal.astype(np.float32)
        depth = float(below.max()) + 1
        section = np.histogram(below, bins=np.arange(0.0, depth + 2 * _SLAB, _SLAB))[0]
        least = _least_section(depth, _SLAB) * section.max()
        if np.abs(normal).max() >= _AXIS_COSINE or least <= 0:
            continue
        is_cut = bool(section[0] >= least)
        least_of_fade = least if is_cut else max(least, _FADING_SECTION * section.max())
        faded = _faded_slabs(values, normal, end, depth, least_of_fade / _SLAB, is_cut)
        if faded or is_cut:
            ends.append((normal, end - max(faded, _MIXED)))
    return ends


def _faded_slabs(
    values: np.ndarray, normal: np.ndarray, end: float, depth: float, least: float, is_cut: bool
) -> float:
    """As :func:`_n_faded`, over slabs of a voxel below the height ``end`` of an oblique plane."""
    n_slabs = _RIM + int(_LONGEST_FADE * depth)
    slab = np.floor(end - _heights(normal, values.shape)).astype(int) + _RIM
    edge = np.nan_to_num(values[slab == _RIM])
    level = _level_of_section(edge, least, is_cut) if edge.size > _TOP_VOXELS else None
    if level is None:
        return 0.0
    n_section = int((edge > level).sum())
    profile = np.zeros(n_slabs)
    for n in range(n_slabs):
        own = np.nan_to_num(values[slab == n])
        profile[n] = np.sort(own)[-n_section:].mean() if len(own) else 0.0
    return float(max(0, _end_of_fade(profile, _RIM) - _RIM))


def _least_section(depth: float, slab: float) -> float:
    """How much of the largest section the last slab of a cut has at least.

    An ellipsoid's has 2 ``slab`` / ``depth`` of it: much, in large voxels. Twice that is asked for.
    """
    return max(_LEAST_SECTION, 4 * slab / depth)


def _ends_of_rows(present: np.ndarray) -> np.ndarray:
    """First and last voxel of each row, which have the same convex hull as all of them: [n, 3]."""
    k, j = np.nonzero(present.any(axis=2))
    rows = present[k, j]
    first, last = rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([k, j, i], axis=1) for i in (first, last)]).astype(float)


def _heights(normal: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How far each voxel lies along a direction, [k, j, i]."""
    k, j, i = (n * np.arange(size) for n, size in zip(normal, shape))
    return k[:, None, None] + j[:, None] + i


def why_left_out(covered: float) -> str:
    """Why a region has no numbers; empty where enough of it was measured.

    :param covered: share (0..1) of the region that the PET measured.
    """
    if covered >= MIN_REGION_COVERAGE:
        return ""
    if covered == 0:
        return "outside the field of view of the PET"
    return f"only {100 * covered:.0f} % of it is inside the field of view of the PET"


def judge_pet_coverage(coverage: float) -> tuple[Finding, ...]:
    """What is to be said of the share (0..1) of a brain that a PET measured."""
    if coverage >= _ALL:
        return ()
    if coverage < MIN_COVERAGE:
        message = f"The PET covers {100 * coverage:.0f} % of the brain: the two do not overlap."
        hint = "Check that T1 and PET are of one person; --register rigid searches the position."
        return (Finding("refuse", "pet-field-of-view", message, hint),)
    message = f"{100 * (1 - coverage):.1f} % of the brain is outside the field of view of the PET."
    return (Finding("warn", "pet-field-of-view", message, "Those voxels are left out."),)
