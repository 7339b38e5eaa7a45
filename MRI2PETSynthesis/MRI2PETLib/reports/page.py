"""Reports as HTML: data into templates gives one self-contained page for screen, print and keyboard.

The words, the sections and their order are in ``templates/``, one file a report.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.reports.viewer import PAGE_BYTES, Viewer, niivue, script_text

if TYPE_CHECKING:
    from jinja2 import Environment

    from MRI2PETLib.evaluation.metrics import Metric

TEMPLATES = Path(__file__).parent / "templates"
Cell = str | float | int | None
_PLACE_OF_DATA = '<script type="application/json" id="viewer-data">'


@dataclass(frozen=True)
class ReportTable:
    """A table: the first column heads its rows, ``None`` is shown as a dash. Rows in ``lead`` stand out, and
    the column of that number (0: none).
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str
    lead: Sequence[int] = (0,)
    lead_column: int = 0


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


def render(
    template: str, title: str, *, folder: Path = TEMPLATES, viewer: Viewer | None = None, **content: Any
) -> str:
    """A whole page. All content is escaped; a name that the template uses and nobody gave is an error.
    What the statistics state (their confidence, the fewest people) every template knows.

    The page forbids the browser everything but what stands in it: its own style and scripts (by their
    checksums) and pictures in the page. Nothing is fetched, sent or evaluated.

    :param folder: of the template, which may extend those of :data:`TEMPLATES`.
    :param viewer: images that can be scrolled through, which the template places by ``images``.
    """
    from markupsafe import Markup

    from MRI2PETLib.evaluation import spaces
    from MRI2PETLib.evaluation.agreement import LIMIT_SD
    from MRI2PETLib.evaluation.statistics import CONFIDENCE, MIN_GROUP

    environment = page_environment(folder)
    environment.globals |= {
        "confidence": f"{100 * CONFIDENCE:g} %",
        "limit_sd": LIMIT_SD,
        "min_group": MIN_GROUP,
        "mni_spacing_mm": f"{spaces.MNI_SPACING_MM:g}",
    }
    environment.filters["how_many"] = how_many
    environment.filters["cell"] = lambda value: number_text(value) if isinstance(value, float) else str(value)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    scripts = None if viewer is None else _scripts()
    content |= {"title": title, "style": Markup(style), "scripts": scripts, "viewer": viewer}
    hashes = [source_hash(scripts["own"]), scripts["niivue"].source_hash] if scripts else []
    policy = content_policy(style, hashes, "data:")  # NiiVue's letters are a picture in its script
    page = environment.get_template(template).render(policy=policy, **content)
    if viewer is None:
        return page
    data = script_text(viewer.data(PAGE_BYTES - len(page)))
    return page.replace(_PLACE_OF_DATA, _PLACE_OF_DATA + data, 1)


def _scripts() -> dict[str, Any]:
    """What stands at the end of a page with images: NiiVue, and the script that draws them."""
    from markupsafe import Markup

    library = niivue()
    return {
        "niivue": library,
        "license": Markup(library.license),
        "place_of_data": Markup(_PLACE_OF_DATA),
        "own": Markup((TEMPLATES / "viewer.js").read_text(encoding="utf-8")),
    }


def how_many(number: int, thing: str) -> str:
    """``1 case``, ``2 cases``, ``3 people``."""
    several = "people" if thing == "person" else f"{thing}s"
    return f"{number} {thing if number == 1 else several}"


def page_environment(*folders: Path) -> Environment:
    """Templates of these folders and of :data:`TEMPLATES`: all is escaped, a missing name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def content_policy(style: str, script_hashes: Sequence[str], images: str) -> str:
    """What a page lets the browser do: its own style, scripts and images, and nothing else.

    :param script_hashes: of what may run, see :func:`source_hash`.
    :param images: where they may come from, as the policy's ``img-src`` says it.
    """
    allowed = ["default-src 'none'", f"style-src '{source_hash(style)}'"]
    if script_hashes:
        allowed.append("script-src " + " ".join(f"'{one}'" for one in script_hashes))
    return "; ".join([*allowed, f"img-src {images}", "base-uri 'none'", "form-action 'none'"])


def source_hash(text: str) -> str:
    """A style or script as a policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


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
