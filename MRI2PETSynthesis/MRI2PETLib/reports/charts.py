"""Plots of the reports: scatter, Bland-Altman, distributions, bars by region. PNG bytes, no state kept."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from MRI2PETLib.evaluation.agreement import bland_altman
from MRI2PETLib.evaluation.measure import correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito: told apart with the common colour vision deficiencies; shapes and line styles repeat the
# difference.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"
_MARKERS = "osD^vP*X"
AXIS_NAMES = ("synthetic PET", "real PET, smoothed")
MRI_AXIS_NAMES = ("synthetic MRI", "real MRI")


def agreement_png(
    synthetic: np.ndarray,
    real: np.ndarray,
    *,
    points: str,
    unit: str,
    title: str,
    groups: Sequence[str] | None = None,
    names: tuple[str, str] = AXIS_NAMES,
) -> bytes:
    """Scatter with the line of identity beside a Bland-Altman plot; ``points`` says what one point is.

    ``names``: of what is judged and of what it is judged against.
    """
    figure = _figure(10, 4.4)
    scatter_axis, agreement_axis = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=13)
    scatter(scatter_axis, synthetic, real, points=points, unit=unit, groups=groups, names=names)
    bland_altman_plot(agreement_axis, synthetic, real, points=points, unit=unit, groups=groups, names=names)
    return _png(figure)


def scatter(
    axis: Axes,
    synthetic: np.ndarray,
    real: np.ndarray,
    *,
    points: str,
    unit: str,
    groups: Sequence[str] | None = None,
    names: tuple[str, str] = AXIS_NAMES,
) -> None:
    """Synthetic over real, equal axes, identity dashed, r in the title."""
    _draw_points(axis, real, synthetic, groups)
    both = np.concatenate([synthetic, real])
    low, high = float(both.min()), float(both.max())
    pad = 0.05 * (high - low) or 0.05
    axis.plot([low - pad, high + pad], [low - pad, high + pad], "--", color=GREY, lw=1, label="equal")
    axis.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
    axis.set(xlabel=f"{names[1]} ({unit})", ylabel=f"{names[0]} ({unit})")
    r = correlation(synthetic, real)
    axis.set_title(
        f"{points}, n = {len(real)}, " + (f"r = {r.value:.2f}" if r.value is not None else "r: none")
    )
    axis.legend(fontsize=8, loc="upper left")


def bland_altman_plot(
    axis: Axes,
    synthetic: np.ndarray,
    real: np.ndarray,
    *,
    points: str,
    unit: str,
    groups: Sequence[str] | None = None,
    names: tuple[str, str] = AXIS_NAMES,
) -> None:
    """Difference over average with bias and limits of agreement, each labelled with its value."""
    _draw_points(axis, (synthetic + real) / 2, synthetic - real, groups)
    result = bland_altman(synthetic, real)
    if result.bias is not None and result.lower is not None and result.upper is not None:
        lines = ((result.bias, "bias", "-"), (result.lower, "-1.96 SD", ":"), (result.upper, "+1.96 SD", ":"))
        for value, name, style in lines:
            axis.axhline(value, color=ORANGE, ls=style, lw=1.3)
            axis.annotate(
                f"{name} {value:+.3g}",
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-3, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=ORANGE,
            )
    axis.axhline(0, color=GREY, lw=0.8)
    axis.margins(y=0.15)
    axis.set(xlabel=f"average of both ({unit})", ylabel=f"{names[0]} \N{MINUS SIGN} {names[1]} ({unit})")
    axis.set_title(f"Bland-Altman, {points}")


def distribution_png(values: dict[str, np.ndarray], *, unit: str, title: str) -> bytes:
    """Share of brain voxels by value, one outline each, on common bins."""
    figure = _figure(10, 3.6)
    axis = figure.subplots()
    top = max(float(np.percentile(v, 99.8)) for v in values.values())
    low = min(0.0, *(float(np.percentile(v, 0.2)) for v in values.values()))
    bins = np.linspace(low, top, 80)
    for (name, voxels), color, style in zip(
        values.items(), (ORANGE, BLUE, GREEN, GREY), ("-", "--", ":", "-.")
    ):
        share, _ = np.histogram(voxels, bins)
        axis.stairs(100 * share / len(voxels), bins, color=color, ls=style, lw=1.8, label=name)
    axis.set(xlabel=f"PET ({unit})", ylabel="brain voxels (%)", title=title)
    axis.legend()
    return _png(figure)


def region_bars_png(
    names: Sequence[str], series: Mapping[str, Sequence[float | None]], *, label: str, title: str
) -> bytes:
    """Horizontal points by region, one marker and colour a series; regions without a value stay empty."""
    figure = _figure(10, 0.29 * len(names) + 1.6)
    axis = figure.subplots()
    positions = np.arange(len(names))
    offsets = np.linspace(0.22, -0.22, len(series)) if len(series) > 1 else np.zeros(1)
    for (name, values), offset, color, marker in zip(
        series.items(), offsets, (ORANGE, BLUE, GREEN, GREY), _MARKERS
    ):
        x = np.array([np.nan if v is None else v for v in values], dtype=float)
        axis.plot(x, positions + offset, marker, color=color, ms=6, ls="none", label=name)
    axis.axvline(0, color=GREY, lw=0.8)
    axis.set_yticks(positions, names, fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", color="#dddddd", lw=0.6)
    axis.set(xlabel=label, title=title)
    axis.legend(loc="best", fontsize=9)
    return _png(figure)


def within_group_png(
    names: Sequence[str],
    real: Sequence[tuple[float | None, float | None]],
    synthetic: Sequence[tuple[float | None, float | None]],
    differs: Sequence[bool],
    *,
    unit: str,
    title: str,
) -> bytes:
    """Mean and SD of the real and the synthetic PET by region, side by side; a star where they differ."""
    figure = _figure(10, 0.29 * len(names) + 1.6)
    axis = figure.subplots()
    positions = np.arange(len(names))
    for values, offset, color, marker, name in (
        (real, -0.15, BLUE, "o", "real PET, smoothed"),
        (synthetic, 0.15, ORANGE, "s", "synthetic PET"),
    ):
        mean, sd = (np.array([np.nan if v is None else v for v in column]) for column in zip(*values))
        axis.errorbar(mean, positions + offset, xerr=sd, fmt=marker, color=color, ms=5, capsize=2, label=name)
    labels = [f"{name} *" if star else name for name, star in zip(names, differs)]
    axis.set_yticks(positions, labels, fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", color="#dddddd", lw=0.6)
    axis.set(xlabel=f"PET ({unit}), mean and SD over people; * differs", title=title)
    axis.legend(loc="best", fontsize=9)
    return _png(figure)


def _draw_points(axis: Axes, x: np.ndarray, y: np.ndarray, groups: Sequence[str] | None) -> None:
    names = list(dict.fromkeys(groups)) if groups is not None else [""]
    colors = (BLUE, ORANGE, GREEN, GREY, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
    for number, name in enumerate(names):
        in_group = (
            np.array([g == name for g in groups]) if groups is not None else np.ones(len(x), dtype=bool)
        )
        axis.plot(
            x[in_group],
            y[in_group],
            _MARKERS[number % len(_MARKERS)],
            color=colors[number % len(colors)],
            ms=5,
            alpha=0.75,
            ls="none",
            label=name or None,
        )


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format="png")
    return stream.getvalue()
