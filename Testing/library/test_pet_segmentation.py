"""The tissues of a PET: the most likely mixture, known tissues come back, scale does not matter."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import optimize, stats

from MRI2PETLib.core.errors import QualityError
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.preprocessing.pet_segmentation import T1_CONTRAST, fit_mixture, segment_pet, template_tissues
from MRI2PETLib.templates.icbm152 import load_template

IDENTITY = sitk.AffineTransform(3)


def test_the_mixture_is_the_most_likely_one() -> None:
    """SciPy maximises the same likelihood without expectation maximisation."""
    rng = np.random.default_rng(0)
    first = rng.uniform(0.1, 0.9, 800)
    priors = np.stack([first, 1 - first])
    values = np.where(rng.uniform(size=800) < first, rng.normal(1, 0.2, 800), rng.normal(2, 0.4, 800))

    def unlikelihood(x: np.ndarray) -> float:
        density = [p * stats.norm.pdf(values, m, s) for p, m, s in zip(priors, x[:2], np.exp(x[2:]))]
        return -float(np.log(np.sum(density, axis=0)).mean())

    best = optimize.minimize(unlikelihood, [0.5, 2.5, 0, 0], method="BFGS")
    mixture = fit_mixture(values, priors, 1)
    assert mixture.means[:, 0] == pytest.approx(best.x[:2], abs=2e-3)
    assert mixture.sds[:, 0] == pytest.approx(np.exp(best.x[2:]), abs=2e-3)
    assert mixture.log_likelihood == pytest.approx(-best.fun, abs=1e-5)
    density = np.stack(
        [p * stats.norm.pdf(values, m, s) for p, m, s in zip(priors, best.x, np.exp(best.x[2:]))]
    )
    np.testing.assert_allclose(mixture.posteriors, density / density.sum(0), atol=0.01)


def test_a_tissue_may_have_two_levels() -> None:
    """Grey matter of the cortex and of the cerebellum in an amyloid PET."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(m, 0.05, 500) for m in (1.0, 2.0, 1.5)])
    priors = np.repeat([[0.95, 0.95, 0.05], [0.05, 0.05, 0.95]], 500, axis=1)
    mixture = fit_mixture(values, priors, 2)
    assert sorted(mixture.means[0]) == pytest.approx([1.0, 2.0], abs=0.02)
    assert mixture.shares.sum(1) == pytest.approx([1, 1])
    assert (mixture.posteriors.argmax(0) == np.repeat([0, 0, 1], 500)).mean() > 0.99


@pytest.mark.parametrize("uptake", [(1.0, 0.3, 0.1), (1.0, 1.8, 0.3)])
def test_known_tissues_come_back(uptake: tuple[float, float, float]) -> None:
    """FDG- and amyloid-like: which tissue is the brighter one follows from the PET."""
    template = load_template()
    maps = np.stack([sitk.GetArrayFromImage(getattr(template, name)) for name in T1_CONTRAST])
    tissue, inside = maps.argmax(0), sitk.GetArrayFromImage(template.mask) > 0
    noise = np.random.default_rng(0).normal(0, 0.05, tissue.shape)
    activity = np.where(inside, np.choose(tissue, uptake) + noise, 0).astype(np.float32)
    pet = Grid.of(template.t1).image(activity)
    segmented = segment_pet(pet, template.mask, IDENTITY)
    assert list(segmented.means.values()) == pytest.approx(uptake, abs=0.02)
    expected = np.choose(tissue, list(T1_CONTRAST.values()))[inside]
    away = np.abs(sitk.GetArrayFromImage(segmented.contrast)[inside] - expected)
    assert (away < 0.05).mean() > 0.98
    louder = segment_pet(pet * 50, template.mask, IDENTITY)
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(louder.contrast), sitk.GetArrayFromImage(segmented.contrast), atol=1e-4
    )


def test_the_template_is_shown_in_the_contrast_of_a_t1() -> None:
    template = load_template()
    inside = sitk.GetArrayViewFromImage(template.mask) > 0
    t1, contrast = (sitk.GetArrayFromImage(image)[inside] for image in (template.t1, template_tissues()))
    assert np.corrcoef(t1, contrast)[0, 1] > 0.85 and contrast.max() <= 1


def test_a_pet_without_contrast_is_refused() -> None:
    mask = load_template().mask
    with pytest.raises(QualityError, match="no contrast"):
        segment_pet(sitk.Cast(mask, sitk.sitkFloat32), mask, IDENTITY)
