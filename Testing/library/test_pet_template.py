from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import QualityError
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.pet_template import (
    built_in_pet_template,
    built_in_pet_templates,
    fit_best_template,
    uptake_mask,
)
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.templates.icbm152 import load_template


@cache
def tilted(name: str) -> sitk.Image:
    """A PET of the pattern of a template, tilted by 8 degrees and with noise, on a grid of 4 mm."""
    pattern = built_in_pet_templates()[name]
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.14, 0.0, 0.05, (3.0, -4.0, 5.0))
    grid = Grid.covering((0.0, 18.0, 10.0), (200.0, 232.0, 200.0), 4.0)
    values = sitk.GetArrayFromImage(resample(pattern, grid, turn))
    rng = np.random.default_rng(0)
    return grid.image((values + 0.03 * rng.standard_normal(values.shape)).clip(0).astype(np.float32))


@pytest.mark.parametrize("name", ["TSPO-like ([11C]PBR28)", "amyloid-like, positive"])
def test_the_template_that_a_pet_was_made_from_fits_best_and_is_named(name: str) -> None:
    best = fit_best_template(tilted(name), built_in_pet_templates())
    assert best.name == name and next(iter(best.correlations)) == name
    assert best.fit.correlation > 0.9
    (remark,) = (f for f in best.fit.verdict.findings if f.code == "pet-template-choice")
    assert remark.level == "ok" and name in remark.message and "FDG-like 0." in remark.message


def test_correlations_are_those_of_numpy() -> None:
    """Patterns that lie on each other: r over the template's brain."""
    templates = built_in_pet_templates()
    inside = sitk.GetArrayViewFromImage(load_template().mask) > 0
    one, other = (
        sitk.GetArrayViewFromImage(templates[name])[inside]
        for name in ("amyloid-like, negative", "TSPO-like ([11C]PBR28)")
    )
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.33, abs=0.02)  # so one cannot stand for the other


def test_mixtures_of_tissue_by_hand() -> None:
    """Weights times the smoothed maps of the tissues; only the cerebrum of positives rises."""
    template, images = load_template(), built_in_pet_templates()
    smooth = [smooth_fwhm(image, 6.0) for image in (template.gm, template.wm, template.csf)]
    for name, weights in (("FDG-like", (1, 0.25, 0)), ("amyloid-like, negative", (0.62, 1, 0.25))):
        expected = sum(w * sitk.GetArrayFromImage(image) for w, image in zip(weights, smooth))
        np.testing.assert_allclose(sitk.GetArrayViewFromImage(images[name]), expected, rtol=0, atol=1e-4)
    change = images["amyloid-like, positive"] - images["amyloid-like, negative"]
    for point, low, high in (((28, 62, -40), -0.02, 0.02), ((0, -40, 30), 0.2, 0.6)):  # LPS mm
        value = change[change.TransformPhysicalPointToIndex([float(v) for v in point])]
        assert low < value < high, point  # the cerebellum stays, the frontal cortex rises


def test_one_template_is_no_choice_and_no_fit_is_refused() -> None:
    one = {"TSPO": built_in_pet_template()}
    fit = fit_best_template(tilted("TSPO-like ([11C]PBR28)"), one).fit
    assert not [f for f in fit.verdict.findings if f.code == "pet-template-choice"]
    flat = tilted("TSPO-like ([11C]PBR28)") * 0
    with pytest.raises(QualityError, match="single value"):
        fit_best_template(flat, one)


def brain_pet() -> sitk.Image:
    """The template's brain with uptake 1, a cold ventricle-like hole in it, blurred by 6 mm."""
    mask = load_template().mask
    values = sitk.GetArrayFromImage(mask).astype(np.float32)
    k, j, i = (n // 2 for n in values.shape)
    values[k - 4 : k + 4, j - 8 : j + 8, i - 4 : i + 4] = 0.1
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(mask)
    return smooth_fwhm(image, 6.0)


def test_the_edge_of_uptake_is_the_edge_of_the_brain() -> None:
    truth = sitk.GetArrayViewFromImage(load_template().mask) > 0
    wide = dilate(load_template().mask, 8.0)
    result = sitk.GetArrayFromImage(uptake_mask(brain_pet() * 13.0, wide)) > 0  # the unit cancels
    dice = 2 * (result & truth).sum() / (result.sum() + truth.sum())
    assert dice > 0.97
    assert (
        2
        * (truth & (sitk.GetArrayFromImage(wide) > 0)).sum()
        / (truth.sum() + (sitk.GetArrayFromImage(wide) > 0).sum())
        < 0.9
    )
    k, j, i = (n // 2 for n in truth.shape)
    assert result[k, j, i]  # a hole is part of the brain


def test_without_uptake_the_wide_mask_stays() -> None:
    mask = load_template().mask
    empty = sitk.Cast(mask, sitk.sitkFloat32) * 0
    same = sitk.GetArrayFromImage(uptake_mask(empty, mask)) == sitk.GetArrayViewFromImage(mask)
    assert same.all()
