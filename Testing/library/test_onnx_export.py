"""A model as an ONNX file: another runtime computes the same, and the file says on what grid and scale."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bundles import tiny_bundle, tiny_metadata
from MRI2PETLib.cli import main
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import Bundle, save_bundle


def export(bundle: Bundle, folder: Path) -> int:
    arguments = ["models", "export", str(bundle.folder), "--format", "onnx", "-o", str(folder)]
    return main([*arguments, "--progress", "none"])


def predicted(bundle: Bundle, source: np.ndarray) -> np.ndarray:
    options = {"samples": 1, "steps": 1, "seed": 0, "progress": no_progress}
    predict = get_family(bundle.family).predict
    images = [predict(n, torch.from_numpy(source), **options)[0] for n in bundle.networks()]
    return np.asarray(torch.stack(images).mean(0))


def test_another_runtime_computes_what_ours_does(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx (extra onnx)")
    pytest.importorskip("onnxscript", reason="needs onnxscript (extra onnx)")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra dev)")
    bundle = tiny_bundle(tmp_path / "tiny")
    assert export(bundle, tmp_path) == 0
    session = runtime.InferenceSession(tmp_path / "tiny.onnx", providers=["CPUExecutionProvider"])
    source = np.random.default_rng(0).random((1, 1, 32, 32, 32)).astype(np.float32)
    (theirs,) = session.run(["pred"], {"image": source})
    np.testing.assert_allclose(theirs, predicted(bundle, source), atol=5e-5)
    model = onnx.load(tmp_path / "tiny.onnx")
    about = {p.key: p.value for p in model.metadata_props}
    assert json.loads(about["model_space"]) == bundle.space.to_dict()
    assert about["weights_sha256"] == bundle.sha256 and "not measured" in about["note"]
    assert "percentiles 1 and 99" in about["input"] and "PBR28, half of the ratio" in about["output"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny", "tiny.onnx"]  # no weights beside it


def test_a_model_that_samples_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("monai", reason="needs monai (extra diffusion)")
    from MRI2PETLib.models import diffusion

    arguments = {"channels": [16, 32], "n_blocks": 1}
    metadata = tiny_metadata(family="diffusion", network=arguments)
    bundle = save_bundle(tmp_path / "samples", diffusion.build(arguments), metadata, "# samples\n")
    assert export(bundle, tmp_path) == 5
    assert "ONNX holds one" in capsys.readouterr().err and not list(tmp_path.glob("*.onnx"))


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export(tiny_bundle(tmp_path / "tiny"), tmp_path) == 6
    assert "mri2pet[onnx]" in capsys.readouterr().err and not list(tmp_path.glob("*.onnx"))
