"""SUVR by a named region, for synthetic and real PET alike: of images whose levels are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from evaluation_cases import like, sidecar, write_subject
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.options import reference_region
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.reference_region import (
    check_one_reference,
    check_references,
    divide_by_region,
    named_reference,
    reference_mask,
)
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import REFERENCE_REGIONS, WHOLE_BRAIN

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)
pytestmark = pytest.mark.usefixtures("quick_registration")


def test_the_regions_lie_where_their_names_say() -> None:
    """Cerebellum below MNI z = -15, occipital cortex behind y = -70, both on both sides."""
    brain = load_template().mask
    for name, axis, sign, limit in (("cerebellum", 2, -1, 15.0), ("occipital", 1, -1, 70.0)):
        mask = reference_mask(name, brain, IDENTITY)
        index = np.argwhere(sitk.GetArrayViewFromImage(mask))
        points = np.array([mask.TransformIndexToPhysicalPoint(p[::-1].tolist()) for p in index]) * (-1, -1, 1)
        assert (sign * points[:, axis] > limit).all()
        assert 0.4 < (points[:, 0] > 0).mean() < 0.6
        assert len(points) * 0.008 > 5  # mL
    whole = reference_mask(WHOLE_BRAIN, brain, None)
    assert np.array_equal(sitk.GetArrayFromImage(whole) != 0, sitk.GetArrayFromImage(brain) != 0)
    with pytest.raises(InputError, match="where is the cerebellum"):
        reference_mask("cerebellum", brain, None)


def test_each_image_is_divided_by_its_own_mean() -> None:
    brain = load_template().mask
    region = reference_mask("cerebellum", brain, IDENTITY)
    inside = sitk.GetArrayViewFromImage(region) != 0
    pets = [like(np.where(inside, level, 3.0).astype(np.float32), brain) for level in (2.0, 800.0)]
    divided, record, findings = divide_by_region(pets, "cerebellum", region, brain)
    for image, level in zip(divided, (2.0, 800.0)):
        values = sitk.GetArrayFromImage(image)
        np.testing.assert_allclose(values[inside], 1.0, rtol=1e-6)
        np.testing.assert_allclose(values[~inside], 3.0 / level, rtol=1e-6)
    assert record["means"] == pytest.approx([2.0, 800.0])
    assert [f.code for f in findings] == ["reference-region"]
    half = sitk.GetArrayFromImage(brain)
    half[:, :, : half.shape[2] // 2] = 0
    with pytest.raises(InputError, match="cannot be used: only 5"):
        divide_by_region(pets, "cerebellum", region, like(half, brain))
    with pytest.raises(InputError, match="0 mL"):
        divide_by_region(pets, "cerebellum", region, brain != brain)
    with pytest.raises(InputError, match="mean in the reference region"):
        divide_by_region([pets[0] * 0.0], "cerebellum", region, brain)


def test_units_need_not_match(tmp_path: Path) -> None:
    """A real PET in SUV against a synthetic one in SUVR, without the T1: by the affine of the sidecar."""
    subject = simulate_subject(5, spacing_mm=6.0)
    files = write_subject(tmp_path, subject)
    paths = CasePaths(files["synthetic"], files["suv"], None, files["mask"])
    with pytest.raises(InputError, match="cannot be compared"):
        load_case(paths, EvaluationSettings())
    case = load_case(paths, EvaluationSettings(reference_region="cerebellum"))
    assert case.unit == "SUVR"
    region = reference_mask("cerebellum", case.mask, case.template_to_native.GetInverse())
    inside = sitk.GetArrayViewFromImage(region) != 0
    for image in (case.real, case.synthetic):
        assert sitk.GetArrayViewFromImage(image)[inside].mean() == pytest.approx(1, abs=1e-4)
    write_image(subject.pet, tmp_path / "n.nii.gz", {**sidecar(subject), "Units": "normalised"})
    with pytest.raises(InputError, match="zero is lost"):
        load_case(
            CasePaths(tmp_path / "n.nii.gz", files["suv"], None, files["mask"]),
            EvaluationSettings(reference_region="occipital"),
        )
    with pytest.raises(InputError, match="makes both PETs SUVR"):
        load_case(paths, EvaluationSettings(reference_region="occipital", scale_free=True))


def test_the_option_names_the_regions_that_there_are() -> None:
    assert reference_region().metadata["option"].choices == REFERENCE_REGIONS


def _stating(folder: Path, name: str, reference: str) -> Path:
    (folder / f"{name}.json").write_text(json.dumps({"Units": "SUVR", "ReferenceRegion": reference}))
    return folder / f"{name}.nii.gz"


def test_regions_of_other_programs_are_compared_by_name(tmp_path: Path) -> None:
    real = _stating(tmp_path, "real", "Pons")
    as_they_are, rescaled = EvaluationSettings(), EvaluationSettings(to_synthetic_unit=True)
    assert check_references("pons", real, "SUVR", as_they_are) == ()
    with pytest.raises(InputError, match="by the brain mask, .* by Pons"):
        check_references("", real, "SUVR", as_they_are)
    whole = _stating(tmp_path, "whole", "whole brain")
    assert check_references("brain mask", whole, "SUVR", as_they_are) == ()
    # Which region that is, nobody says: the real PET over its mean in the brain would be something else.
    with pytest.raises(InputError, match="SUVR by the pons: the real one cannot be brought"):
        check_references("pons", real, "SUV", rescaled)
    for region in ("", "brain mask", "whole brain", "Cerebellum"):
        assert check_references(region, real, "SUV", rescaled) == ()
    assert named_reference(_stating(tmp_path, "own", "Cerebellum")) == "cerebellum"


def test_models_of_different_regions_are_not_compared_in_one_table(tmp_path: Path) -> None:
    """With --to-synthetic-unit each real PET would follow its own model: errors of two scales."""
    pets = [_stating(tmp_path, name, name) for name in ("brain mask", "whole brain", "cerebellum")]
    settings = EvaluationSettings(to_synthetic_unit=True)
    check_one_reference(pets[:2], settings)
    with pytest.raises(InputError, match="different regions: brain mask, cerebellum"):
        check_one_reference(pets, settings)
    check_one_reference(pets, EvaluationSettings(reference_region="cerebellum"))
    check_one_reference(pets, EvaluationSettings(scale_free=True))
