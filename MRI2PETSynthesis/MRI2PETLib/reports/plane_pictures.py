"""Pictures of planes through a head, drawn with Pillow: a fifth of the time of the same in matplotlib.

Rows are planes, columns what lies over the head; all have one scale of millimetres. Colour bars, a title and
words stand around them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.reports.figures import PLANES, Plane, cut_plane, position_words, words_below

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_PANEL, _GAP, _EDGE = 342, 8, 8  # pixels: the widest plane, between planes, around the page
_TITLE, _HEAD, _TEXT, _SMALL = 21, 18, 15, 13  # sizes of letters
_TICKS = 6  # at most
_COMPRESSION = 3  # of zlib's 9: half of the time of 6, files a tenth larger


class Overlay(NamedTuple):
    """What lies over the head: ``values`` from ``low`` to ``high``, where ``valid`` is not 0.

    ``colors``: from one end to the other, float [n, 3] from 0 to 1. Voxels are shown as they are:
    interpolation would mix the rim with the zeros outside the brain.
    """

    values: sitk.Image
    valid: sitk.Image
    colors: NDArray[np.float64]
    low: float
    high: float
    opacity: float


class PictureColumn(NamedTuple):
    """A column of planes and its title."""

    title: str
    overlay: Overlay | None = None


class ScaleBar(NamedTuple):
    """The scale of an overlay, below the columns from ``first`` to ``last``."""

    label: str
    overlay: Overlay
    first: int
    last: int


def draw_planes(
    head: sitk.Image,
    window: tuple[float, float],
    columns: Sequence[PictureColumn],
    bars: Sequence[ScaleBar],
    path: Path,
    *,
    point: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    title: str,
    note: str,
) -> None:
    """Write a PNG.

    :param head: what lies below, in grey from one end of the ``window`` to the other.
    :param point: where the planes cross; ``bounds``: where they end (LPS mm).
    :raises OutputError: if the file cannot be written.
    """
    from PIL import Image, ImageDraw

    per_mm = _PANEL / float(max((bounds[1] - bounds[0])[[0, 1]]))
    rows = [[_panel(head, window, c, p, point, bounds, per_mm) for c in columns] for p in PLANES]
    width = len(columns) * (_PANEL + _GAP) - _GAP + 2 * _EDGE
    above = _wrapped(title, _font(_TITLE, bold=True), width - 2 * _EDGE)
    below = [line for words in words_below(note) for line in _wrapped(words, _font(_TEXT), width - 2 * _EDGE)]
    tops = [_EDGE + len(above) * _line(_TITLE) + _line(_HEAD)]
    for row in rows:
        tops.append(tops[-1] + row[0].height + _GAP)
    end = tops[-1] + _bar_height(bars)
    page = Image.new("RGB", (width, end + len(below) * _line(_TEXT) + _EDGE), "white")
    draw = ImageDraw.Draw(page)
    middles = [_EDGE + _PANEL // 2 + n * (_PANEL + _GAP) for n in range(len(columns))]
    for number, line in enumerate(above):
        y = _EDGE + number * _line(_TITLE)
        draw.text((width // 2, y), line, "black", _font(_TITLE, bold=True), "ma")
    for column, middle in zip(columns, middles):
        draw.text((middle, tops[0] - _line(_HEAD)), column.title, "black", _font(_HEAD), "ma")
    for row, plane, top in zip(rows, PLANES, tops):
        for panel, middle in zip(row, middles):
            left = middle - panel.width // 2
            page.paste(panel, (left, top))
            _dress(draw, (left, top), panel.size, plane, point)
    for bar in bars:
        _draw_bar(page, draw, bar, middles[bar.first], middles[bar.last], tops[-1])
    for number, line in enumerate(below):
        draw.text((width // 2, end + number * _line(_TEXT)), line, "black", _font(_TEXT), "ma")
    with atomic_path(path) as temporary:
        page.save(temporary, compress_level=_COMPRESSION)


def _panel(
    head: sitk.Image,
    window: tuple[float, float],
    column: PictureColumn,
    plane: Plane,
    point: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    per_mm: float,
) -> Image:
    """A plane with what lies over it."""
    from PIL import Image

    grey = _levels(cut_plane(head, plane.normal, point, *bounds), *window, 256).astype(np.float32)
    pixels = np.repeat(grey[..., np.newaxis], 3, axis=2)
    over = column.overlay
    if over is not None:
        values, valid = (
            cut_plane(image, plane.normal, point, *bounds, nearest=True)
            for image in (over.values, over.valid)
        )
        inside = valid > 0
        colors = 255 * over.colors[_levels(values[inside], over.low, over.high, len(over.colors))]
        pixels[inside] += over.opacity * (colors - pixels[inside])
    if plane.upright:
        pixels = pixels[::-1]
    picture = Image.fromarray(np.rint(pixels).astype(np.uint8))
    size = (round(picture.width * per_mm), round(picture.height * per_mm))
    return picture.resize(size, Image.Resampling.NEAREST)


def _levels(values: np.ndarray, low: float, high: float, count: int) -> NDArray[np.intp]:
    """Values between both ends as numbers from 0 to ``count`` - 1."""
    scaled = (values.astype(np.float64) - low) * (count / (high - low))
    return np.clip(scaled, 0, count - 1).astype(np.intp)


def _dress(
    draw: ImageDraw, corner: tuple[int, int], size: tuple[int, int], plane: Plane, point: np.ndarray
) -> None:
    """Letters of the sides, and the position of the plane."""
    (x, y), (width, height) = corner, size
    bold = _font(_TEXT, bold=True)
    left, right, top, bottom = plane.sides
    draw.text((x + 5, y + height // 2), left, "white", bold, "lm")
    draw.text((x + width - 5, y + height // 2), right, "white", bold, "rm")
    draw.text((x + width // 2, y + 5), top, "white", bold, "ma")
    draw.text((x + width // 2, y + height - 5), bottom, "white", bold, "md")
    draw.text((x + 6, y + height - 6), position_words(plane, point), "white", _font(_SMALL), "ld")


def _bar_height(bars: Sequence[ScaleBar]) -> int:
    return 10 + 8 + _line(_SMALL) + _line(_TEXT) + 6 if bars else 0


def _draw_bar(page: Image, draw: ImageDraw, bar: ScaleBar, first: int, last: int, top: int) -> None:
    """A scale and what it shows, below columns whose middles are ``first`` and ``last``."""
    from PIL import Image

    width, height = round(0.6 * (last - first) + 0.9 * _PANEL), 8
    x, y, (low, high) = (first + last - width) // 2, top + 10, bar.overlay[3:5]
    strip = Image.fromarray(np.rint(255 * bar.overlay.colors[np.newaxis]).astype(np.uint8))
    page.paste(strip.resize((width, height), Image.Resampling.NEAREST), (x, y))
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline="black")
    for value, words in ticks(low, high, width):
        at = x + round((value - low) / (high - low) * (width - 1))
        draw.line((at, y + height, at, y + height + 4), "black")
        draw.text((at, y + height + 5), words, "black", _font(_SMALL), "ma")
    font = _font(_TEXT)
    widest = last - first + _PANEL + _GAP
    if font.getlength(bar.label) > widest:
        font = _font(_SMALL)
    draw.text(((first + last) // 2, y + height + 5 + _line(_SMALL)), bar.label, "black", font, "ma")


def ticks(low: float, high: float, width: int) -> list[tuple[float, str]]:
    """Round numbers of a scale that is ``width`` pixels long, and how they are written there: at most six,
    ten pixels and more apart.
    """
    font, span = _font(_SMALL), high - low
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    for step in (f * p for p in (power, 10 * power, 100 * power) for f in (1.0, 2.0, 2.5, 5.0)):
        numbers = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        decimals = next(d for d in range(20) if math.isclose(round(step, d), step, rel_tol=1e-6))
        words = [f"{n * step:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for n in numbers]
        widest = max((font.getlength(w) for w in words), default=0.0)
        if len(numbers) <= _TICKS and step / span * width >= widest + 10:
            break
    return list(zip((numbers * step).tolist(), words))


def _line(size: int) -> int:
    """Pixels from one line of letters of a size to the next."""
    return round(1.35 * size)


@cache
def _font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib; that itself need not be imported for it."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / f"DejaVuSans{'-Bold' if bold else ''}.ttf"), size)


def _wrapped(text: str, font: FreeTypeFont, width: int) -> list[str]:
    """Lines of at most ``width`` pixels."""
    letters = len(text)
    while letters > 1:
        lines = textwrap.wrap(text, letters)
        widest = max((font.getlength(line) for line in lines), default=0.0)
        if widest <= width:
            return lines
        letters = min(letters - 1, math.ceil(letters * width / widest))
    return [text] if text else []
