"""Reports as HTML: data into templates gives one self-contained page for screen, print and keyboard.

The words, the sections and their order are in ``templates/``, one file a report.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MRI2PETLib.evaluation.metrics import Metric

TEMPLATES = Path(__file__).parent / "templates"
Cell = str | float | int | None


@dataclass(frozen=True)
class ReportTable:
    """A table: the first column heads its rows, rows in ``lead`` stand out, ``None`` is shown as a dash."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    lead: Sequence[int] = (0,)


@dataclass(frozen=True)
class Picture:
    """A PNG, with what it shows in words (``alt``) and the line below it."""

    png: bytes | Path
    alt: str
    caption: str

    @property
    def source(self) -> str:
        """The picture itself as an address, so that the page needs no other file."""
        content = self.png.read_bytes() if isinstance(self.png, Path) else self.png
        return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def render(template: str, title: str, *, folder: Path = TEMPLATES, **content: Any) -> str:
    """A whole page. All content is escaped; a name that the template uses and nobody gave is an error.

    :param folder: of the template, which may extend those of :data:`TEMPLATES`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda value: number_text(value) if isinstance(value, float) else str(value)
    return environment.get_template(template).render(title=title, **content)


def number_text(value: float) -> str:
    """Three significant digits, plain numbers from 0.0001 to a million, with a true minus sign."""
    size = abs(value)
    if size < 1e-12:
        return "0"
    text = f"{value:.3g}" if size < 1000 or size >= 1e6 else f"{value:.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def p_value(p: float | None) -> Cell:
    """A p value as usually printed."""
    return p if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float | None) -> Cell:
    """A percentage with one decimal."""
    return None if value is None else f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def metric_cell(metric: Metric, value: float | None) -> Cell:
    """The value of a metric as it stands in a table."""
    return percent(value) if metric.unit == "%" else value


def interval(value: float | None, low: float | None, high: float | None) -> Cell:
    """A value with the ends of its interval in brackets, to two digits of half of its width."""
    if value is None:
        return None
    if low is None or high is None or not high > low:
        return number_text(value)
    decimals = min(6, max(0, 1 - math.floor(math.log10((high - low) / 2))))
    middle, start, end = (f"{round(v, decimals) + 0.0:.{decimals}f}" for v in (value, low, high))
    return f"{middle} ({start} to {end})".replace("-", "\N{MINUS SIGN}")


def spread(mean: float | None, sd: float | None) -> Cell:
    """Mean and SD as one cell: the SD with two digits, the mean to the same decimal."""
    if mean is None:
        return None
    if sd is None or sd < 1e-12:
        return number_text(mean)
    decimals = max(0, 1 - math.floor(math.log10(sd)))
    if decimals > 6:
        return number_text(mean)
    mean = round(mean, decimals) + 0.0  # no minus zero
    return f"{mean:.{decimals}f} \N{PLUS-MINUS SIGN} {sd:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
