"""``mri2pet view`` and the cell of a notebook: an image and a map over it, where they belong."""

from __future__ import annotations

import base64
import json
import re
import sys
import webbrowser
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import DependencyError
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image
from MRI2PETLib.reports.image_page import show

GRID = Grid((50, 50, 44), (3.0, 3.0, 3.0), (-74.0, -74.0, -65.0))


def ball(grid: Grid, radius_mm: float, value: float) -> np.ndarray:
    points = grid.points().reshape(3, *grid.shape)
    noise = np.random.default_rng(0).uniform(0.9, 1.1, grid.shape)
    inside: np.ndarray = np.where((points**2).sum(axis=0) < radius_mm**2, value * noise, 0)
    return inside.astype(np.float32)


def data_of(page: Path) -> dict[str, Any]:
    match = re.search(r'id="viewer-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert match is not None
    return dict(json.loads(match[1]))


def values_of(layer: dict[str, Any], size: list[int]) -> np.ndarray:
    """Voxels [k, j, i] of a layer."""
    halves = np.frombuffer(zlib.decompress(base64.b64decode(layer["codes"])), np.uint8).astype(np.int32)
    count = halves.size // 2
    steps = (halves[:count] | halves[count:] << 8).astype(np.int16).reshape(size[::-1])
    values: np.ndarray = np.cumsum(steps, axis=-1, dtype=np.int16) * layer["step"]
    return values


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked to open."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


def test_a_pet_lies_over_the_image_by_their_worlds(
    tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    t1 = write_image(GRID.image(ball(GRID, 60, 500)), tmp_path / "head.nii.gz", {"Units": "arbitrary"})
    other = Grid((60, 60, 60), (2.0, 2.5, 2.0), (59.0, 73.0, -59.0), (-1.0, 0, 0, 0, -1, 0, 0, 0, 1))
    note = {"Units": "SUV", "Description": "SYNTHETIC, not for diagnosis."}
    pet = write_image(other.image(ball(other, 30, 4)), tmp_path / "pet.nii.gz", note)
    page = tmp_path / "page.html"
    assert main(["view", str(t1), "--over", str(pet), "-o", str(page), "--progress", "none"]) == 0
    assert opened == [page.as_uri()] and str(page) in capsys.readouterr().out
    data = data_of(page)
    gray, over = data["layers"]
    assert (gray["name"], over["name"], over["unit"]) == ("head.nii.gz", "pet.nii.gz", "SUV")
    assert gray["colors"][128] == [128, 128, 128] and len(set(over["colors"][128])) == 3
    to_world = np.linalg.inv(np.vstack([data["toIndex"], [0, 0, 0, 1]]))
    k, j, i = np.nonzero(values_of(over, data["size"]))
    distance = np.linalg.norm((to_world @ [i, j, k, np.ones_like(i)])[:3], axis=0)  # the ball is about 0
    assert 27 < distance.max() < 34 and len(i) == pytest.approx(4 / 3 * np.pi * 30**3 / 27, rel=0.05)
    assert values_of(gray, data["size"]).max() == pytest.approx(550, rel=0.01)
    assert np.abs(data["point"]).max() < 3  # the middle of the head
    assert "SYNTHETIC, not for diagnosis." in page.read_text(encoding="utf-8")


def test_a_page_replaces_pages_only(
    tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    page, names = tmp_path / "page.html", ("a.nii.gz", "b.nii.gz")
    t1s = [write_image(GRID.image(ball(GRID, 60, 500)), tmp_path / name) for name in names]
    page.write_text("my notes")
    arguments = ["-o", str(page), "--no-open", "--progress", "none"]
    assert main(["view", str(t1s[0]), *arguments]) == 3 and page.read_text() == "my notes"
    assert "was not made by this program" in capsys.readouterr().err
    page.unlink()
    for t1, is_other in ((t1s[0], False), (t1s[0], False), (t1s[1], True)):
        assert main(["view", str(t1), *arguments]) == 0
        assert ("was the page of another image" in capsys.readouterr().err) == is_other


def test_a_map_with_values_below_0_is_symmetric_around_0(tmp_path: Path, opened: list[str]) -> None:
    t1 = write_image(GRID.image(ball(GRID, 60, 500)), tmp_path / "head.nii.gz")
    values = ball(GRID, 50, 1) * np.sign(GRID.points()[0].reshape(GRID.shape))
    change = write_image(GRID.image(values.astype(np.float32)), tmp_path / "z.nii.gz")
    page = tmp_path / "page.html"
    arguments = ["view", str(t1), "--over", str(change), "-o", str(page), "--no-open", "--progress", "none"]
    assert main(arguments) == 0 and opened == []
    low, high = data_of(page)["layers"][1]["window"]
    assert low == -high and 0.9 < high < 1.1


def test_the_page_has_the_name_of_the_image_and_lies_here(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    t1 = write_image(GRID.image(ball(GRID, 60, 500)), tmp_path / "sub-01_T1w.nii.gz")
    assert main(["view", str(t1), "--no-open", "--progress", "none"]) == 0
    assert (tmp_path / "sub-01_T1w.html").is_file()


def test_what_cannot_be_shown_is_refused(
    tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    t1 = write_image(GRID.image(ball(GRID, 60, 500)), tmp_path / "head.nii.gz")
    for more, words in (
        (["-o", str(t1)], "does not end in .html"),
        (["--over", str(tmp_path / "nothing.nii.gz"), "-o", str(tmp_path / "a.html")], "nothing.nii.gz"),
    ):
        assert main(["view", str(t1), *more, "--progress", "none"]) == 3
        assert words in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists() and opened == []


def result_of(t1: sitk.Image) -> Any:
    pet = Grid.of(t1).image(ball(GRID, 40, 1))
    return SimpleNamespace(pet=pet, unit="SUVR", mask=sitk.Cast(pet > 0, sitk.sitkUInt8))


def test_a_notebook_shows_a_result_over_its_t1() -> None:
    pytest.importorskip("ipyniivue", reason="needs ipyniivue (extra notebook)")
    import nibabel

    t1 = GRID.image(ball(GRID, 60, 500))
    view = show(result_of(t1), t1)
    first, second = view.volumes
    assert (first.colormap, second.colormap, second.opacity) == ("gray", "inferno", 0.8)
    assert first.cal_max > 500 and second.cal_min == 0 and 0.9 < second.cal_max < 1.2
    assert view.opts.is_radiological_convention
    image = nibabel.Nifti1Image.from_bytes(first.data)
    assert np.array_equal(np.asarray(image.dataobj).T, sitk.GetArrayFromImage(t1))
    corner = np.multiply(t1.TransformIndexToPhysicalPoint((0, 0, 0)), (-1, -1, 1))
    assert np.allclose(image.affine @ (0, 0, 0, 1), (*corner, 1))


def test_without_the_package_a_notebook_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    t1 = GRID.image(ball(GRID, 60, 500))
    with pytest.raises(DependencyError, match="ipyniivue is not installed") as raised:
        show(result_of(t1), t1)
    assert "mri2pet[notebook]" in raised.value.hint
