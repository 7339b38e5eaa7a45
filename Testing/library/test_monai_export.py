"""A model exported for MONAI: MONAI's own tools run it, and it says what ours does."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.models.bundle import Bundle, read_bundle


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Bundle, Path]:
    bundle = tiny_bundle(tmp_path / "tiny")
    assert main(["models", "export", str(bundle.folder), "--format=monai", "-o", str(tmp_path)]) == 0
    with zipfile.ZipFile(tmp_path / "tiny-monai.zip") as archive:
        archive.extractall(tmp_path / "out")
    return bundle, tmp_path / "out" / "tiny"


def test_ours_reads_it_as_the_same_model(exported: tuple[Bundle, Path]) -> None:
    bundle, folder = exported
    again = read_bundle(folder)
    assert again.sha256 == bundle.sha256 and again.space == bundle.space
    assert {**again.metadata, **bundle.metadata} == again.metadata
    by_schema = (
        "schema version changelog monai_version pytorch_version numpy_version required_packages_version"
    )
    by_schema += " task description authors copyright network_data_format"
    assert set(by_schema.split()) <= again.metadata.keys()
    assert again.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [32, 32, 32]


def test_monai_checks_and_runs_it(exported: tuple[Bundle, Path], tmp_path: Path) -> None:
    """create_workflow and verify_net_in_out, and a volume through MONAI equals ours voxel by voxel."""
    scripts = pytest.importorskip("monai.bundle")
    pytest.importorskip("ignite")
    bundle, folder = exported
    config, about = str(folder / "configs/inference.json"), str(folder / "configs/metadata.json")
    where = {"bundle_root": str(folder), "device": "$torch.device('cpu')"}
    scripts.verify_net_in_out("network_def", about, config, device="cpu", bundle_root=str(folder))
    values = np.random.default_rng(0).random((32, 32, 32)).astype(np.float32)  # [i, j, k]
    (folder / "images").mkdir()
    nib.save(nib.Nifti1Image(values, np.diag([6.0, 6.0, 6.0, 1.0])), folder / "images" / "a.nii.gz")
    files = {"config_file": config, "meta_file": about, "logging_file": str(folder / "configs/logging.conf")}
    workflow = scripts.create_workflow(workflow_type="infer", **files, **where)
    assert workflow.check_properties() in (None, [])
    workflow.run()
    (path,) = (folder / "eval").rglob("*.nii.gz")
    saved = nib.load(path)
    with torch.inference_mode():
        ours = bundle.network()(torch.from_numpy(values.transpose(2, 1, 0).copy())[None, None])[0, 0]
    np.testing.assert_allclose(saved.get_fdata(), ours.numpy().transpose(2, 1, 0), atol=1e-6)
    np.testing.assert_allclose(saved.affine, np.diag([6.0, 6.0, 6.0, 1.0]))


def test_metadata_follow_the_schema(exported: tuple[Bundle, Path]) -> None:
    """verify_metadata, where somebody has put the schema (it is fetched otherwise)."""
    scripts = pytest.importorskip("monai.bundle")
    pytest.importorskip("jsonschema")
    schema = os.environ.get("MRI2PET_MONAI_SCHEMA")
    if not schema:
        pytest.skip("needs MONAI's metadata schema in a file (set MRI2PET_MONAI_SCHEMA)")
    scripts.verify_metadata(str(exported[1] / "configs/metadata.json"), schema)
