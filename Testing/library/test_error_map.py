"""The error that a model states by region, beside its prediction: as an image, a file and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETLib.templates.regions import built_in_parcellations, pull_labels

ABOUT: dict[str, Any] = {
    "what": "Error in three people",
    "unit": "SUVR",
    "parcellation": "paper21",
    "sd": {"left thalamus": 0.3, "right putamen": 0.2, "elsewhere": 0.1},
}


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(3, spacing_mm=4.0)


def test_each_region_has_its_own_sd_and_the_rest_that_of_elsewhere(
    person: SimulatedSubject, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "m", uncertainty=ABOUT)
    result = synthesize(person.t1, bundle, device="cpu")
    assert result.error_sd is not None and result.error_sd.GetSize() == person.t1.GetSize()
    values = sitk.GetArrayFromImage(result.error_sd)
    brain = sitk.GetArrayFromImage(result.mask) != 0
    regions = next(p for p in built_in_parcellations() if p.name == "paper21")
    labels = pull_labels(regions, person.t1, result.extraction.template_to_native)
    for label, name in regions.names.items():
        where = brain & (labels == label)
        assert where.any() and np.unique(values[where]).tolist() == [
            np.float32(ABOUT["sd"].get(name, ABOUT["sd"]["elsewhere"]))
        ], name
    assert np.all(values[brain & (labels == 0)] == np.float32(0.1)) and np.all(values[~brain] == 0)


def test_regions_that_are_not_built_in_leave_the_map_out_with_a_reason(
    person: SimulatedSubject, tmp_path: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "m", uncertainty={**ABOUT, "parcellation": "mine"})
    result = synthesize(person.t1, bundle, device="cpu")
    assert result.error_sd is None
    assert [f.message for f in result.verdict.findings if f.code == "no-error-map"] == [
        "The model states its error in the regions 'mine', which are not built in."
    ]


def test_the_command_writes_the_map_and_what_it_is(person: SimulatedSubject, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "m", uncertainty=ABOUT)
    t1 = write_image(person.t1, tmp_path / "anna_T1w.nii.gz")
    arguments = ["synthesize", t1, "--model", bundle.folder, "-o", tmp_path / "out", "--progress", "none"]
    assert main([str(a) for a in arguments]) == 0
    (image,) = (tmp_path / "out").glob("*_desc-syntheticErrorSD_pet.nii.gz")
    about = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert about["Units"] == "SUVR" and about["Description"].startswith("Error in three people. ")
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(image))).max() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sd": {"elsewhere": float("nan")}}, "NaN"),
        ({"sd": {"elsewhere": -0.1}}, "a number for each region"),
        ({"sd": {"elsewhere": True}}, "a number for each region"),
        ({"sd": {"left thalamus": 0.1}}, "a number for each region"),
        ({"sd": {str(n): 0.1 for n in range(1000)} | {"elsewhere": 0.1}}, "a number for each region"),
        ({"sd": [0.1]}, "a number for each region"),
        ({"what": None}, "needs what"),
        ({"unit": "g/mL"}, "unit of 'uncertainty' is 'g/mL', that of the target 'SUVR'"),
    ],
)
def test_an_error_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    folder = tiny_bundle(tmp_path / "m").folder
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "uncertainty": {**ABOUT, **change}}))
    with pytest.raises(BundleError, match=reason):
        read_bundle(folder)
