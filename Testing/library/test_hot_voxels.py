"""A few hot voxels change no number: not the brain, not the scale of a PET."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.images.hot_voxels import mend_hot_voxels
from MRI2PETLib.images.io import read_image
from MRI2PETLib.preprocessing.pet import read_pet


def smooth(seed: int = 0, shape: tuple[int, int, int] = (30, 32, 34)) -> np.ndarray:
    """Like a PET: a ball of uptake around 3, air of 0."""
    k, j, i = (np.arange(n) - n / 2 for n in shape)
    ball = k[:, None, None] ** 2 + j[:, None] ** 2 + i**2 < 12**2
    return np.float32(np.where(ball, 3 + np.random.default_rng(seed).random(shape), 0))


@pytest.mark.parametrize("value", [1e7, -1e7, 1e4, 60.0])
@pytest.mark.parametrize(
    "places",
    [[(15, 16, 17)], [(0, 0, 0)], [(29, 31, 33)], [(15, 16, 17), (15, 16, 18), (14, 16, 17)]],
    ids=["brain", "corner", "last corner", "three side by side"],
)
def test_hot_voxels_get_the_median_of_their_neighbours(value: float, places: list) -> None:
    clean = smooth()
    hot = clean.copy()
    for place in places:
        hot[place] = value
    before = hot.copy()
    mended, (finding,) = mend_hot_voxels(hot, "PET.nii.gz")
    assert np.array_equal(hot, before), "the caller's voxels are not touched"
    assert finding.level == "warn" and f"{len(places)} single voxel" in finding.message
    others = np.ones(clean.shape, bool)
    others[tuple(np.transpose(places))] = False
    assert np.array_equal(mended[others], clean[others])
    assert np.abs(mended - clean).max() < 1  # of the spread of the uptake


def test_what_has_an_extent_is_no_hot_voxel() -> None:
    """A bladder of 4 x 4 x 4 voxels, 100 times the uptake of the brain, and a map without anything hot."""
    clean = smooth()
    bladder = clean.copy()
    bladder[2:6, 2:6, 2:6] = 300
    for values in (clean, bladder, np.zeros_like(clean)):
        same, findings = mend_hot_voxels(values, "PET.nii.gz")
        assert same is values and findings == ()


def test_not_measured_stays_not_measured() -> None:
    values = smooth()
    values[:5] = np.nan
    values[15, 16, 17] = 1e7
    mended, _ = mend_hot_voxels(values, "PET.nii.gz")
    assert np.isnan(mended[:5]).all() and mended[15, 16, 17] < 5


@pytest.mark.parametrize("kind", ["t1", "pet"])
def test_every_reader_mends_them(tmp_path: Path, kind: str) -> None:
    values = smooth(shape=(40, 42, 44)) * 100
    values[20, 21, 22] = 1e7
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((4.0, 4.0, 4.0))
    path = tmp_path / "image.nii.gz"
    sitk.WriteImage(image, str(path))
    read = read_image(path, kind="t1") if kind == "t1" else read_pet(path, unit="SUV")
    assert sitk.GetArrayViewFromImage(read.image).max() < 500
    assert "hot-voxels" in [finding.code for finding in read.verdict.findings]


def test_a_hot_voxel_changes_no_brain_and_no_pet(tmp_path: Path) -> None:
    """One voxel of 1e7 in a T1: the brain mask and the position are those of the clean one."""
    from MRI2PETLib.preprocessing.brain_mask import extract_brain
    from MRI2PETLib.simulation import simulate_subject

    t1 = simulate_subject(3, spacing_mm=3.0).t1
    array = sitk.GetArrayFromImage(t1)
    array[tuple(n // 2 for n in array.shape)] = 1e7
    hot = sitk.GetImageFromArray(array)
    hot.CopyInformation(t1)
    masks = []
    for name, image in (("clean", t1), ("hot", hot)):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
        extraction = extract_brain(read_image(tmp_path / f"{name}.nii.gz", kind="t1").image)
        assert extraction.verdict.level != "refuse"
        masks.append(sitk.GetArrayFromImage(extraction.mask) > 0)
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.9999
