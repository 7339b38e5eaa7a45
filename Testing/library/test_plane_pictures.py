"""Pictures of planes: one scale of millimetres, scales that can be read, words that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib import colormaps
from matplotlib.image import imread

from MRI2PETLib.reports import plane_pictures
from MRI2PETLib.reports.colors import PET_IN_REPORTS, pet_colors
from MRI2PETLib.reports.plane_pictures import Overlay, PictureColumn, ScaleBar, draw_planes, ticks


@pytest.mark.parametrize("top", [0.0031, 0.167, 1.5, 2.0, 9.99, 12345.6])
@pytest.mark.parametrize("width", [308, 650])
@pytest.mark.parametrize("low", [0, -1])
def test_figures_of_a_scale_are_round_and_stand_apart(top: float, width: int, low: int) -> None:
    low_end = low * top
    marks = ticks(low_end, top, width)
    assert 2 <= len(marks) <= 6
    values = np.array([value for value, _ in marks])
    step = values[1] - values[0]
    assert np.allclose(np.diff(values), step) and low_end <= values[0] and values[-1] <= top
    assert any(np.isclose(step / 10 ** np.floor(np.log10(step) + 1e-9), (1, 2, 2.5, 5)))
    assert [float(words.replace("\N{MINUS SIGN}", "-")) for _, words in marks] == pytest.approx(values)
    font = plane_pictures._font(plane_pictures._SMALL)
    middles = (values - low_end) / (top - low_end) * width
    halves = [font.getlength(words) / 2 for _, words in marks]
    ends = [(m - h, m + h) for m, h in zip(middles, halves)]
    assert all(before[1] + 9 < after[0] for before, after in zip(ends, ends[1:]))


def test_the_colours_of_a_pet_are_those_of_its_name() -> None:
    expected = colormaps[PET_IN_REPORTS](np.linspace(0, 1, 256))[:, :3]
    assert np.abs(pet_colors() - expected).max() <= 0.5 / 255 + 1e-9


def ramp() -> sitk.Image:
    """40 x 60 x 50 voxels of 2 mm, growing with x."""
    image = sitk.GetImageFromArray(np.tile(np.arange(40, dtype=np.float32), (50, 60, 1)))
    image.SetSpacing((2.0, 2.0, 2.0))
    return image


def draw(path: Path, **options: object) -> np.ndarray:
    """A head of zeros under a ramp."""
    image = ramp()
    layer = Overlay(image, image >= 20, pet_colors(), 20.0, 39.0, 1.0)
    bounds = np.zeros(3), np.array([78.0, 118.0, 98.0])
    about = {"title": "title", "note": "note"} | options
    draw_planes(
        image * 0,
        (0.0, 1.0),
        [PictureColumn("T1"), PictureColumn("over", layer)],
        [ScaleBar("bar", layer, 1, 1)],
        path,
        point=np.array([40.0, 60.0, 50.0]),
        bounds=bounds,
        title=str(about["title"]),
        note=str(about["note"]),
    )
    return np.asarray(imread(path))[..., :3]


def test_a_millimetre_is_as_long_in_every_plane_and_values_have_their_colours(tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png")
    left = picture[:, : picture.shape[1] // 2]
    dark = left.max(axis=2) < 0.01
    rows = np.flatnonzero(dark.sum(axis=1) > 150)  # of planes: letters are shorter
    planes = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    widths = [np.ptp(np.flatnonzero(dark[plane].any(axis=0))) + 1 for plane in planes]
    per_mm = 342 / 118
    for size, mm in zip([*map(len, planes), *widths], (119, 99, 99, 79, 79, 119)):
        assert size == pytest.approx(mm * per_mm, abs=2)
    middle = planes[0][len(planes[0]) // 2 + 30]
    line = picture[middle, picture.shape[1] // 2 :]
    over = np.flatnonzero((line.min(axis=1) < 0.99) & (line.max(axis=1) > 0))
    assert line[over[0]] == pytest.approx(np.round(255 * pet_colors()[0]) / 255, abs=1e-6)
    assert line[over[-1]] == pytest.approx(pet_colors()[-1], abs=1e-6)
    assert len(over) == pytest.approx(20 * 2 * per_mm, abs=per_mm + 1)


@pytest.mark.parametrize("words", ["w" * 400, "words " * 100, "", "\u6f22" * 90])
def test_words_of_any_length_stay_on_the_page(tmp_path: Path, words: str) -> None:
    picture = draw(tmp_path / "a.png", title=words, note=words)
    assert (picture[:, :3] == 1).all() and (picture[:, -3:] == 1).all() and (picture[-3:] == 1).all()
    assert picture[:40].min() < 0.5  # the title, or the title of a column
