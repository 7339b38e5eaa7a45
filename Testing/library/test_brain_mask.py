"""Brain extraction: masks against known truth, what is kept as it is, and what is refused."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import Cancelled, DependencyError, InputError, MRI2PETError, QualityError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.images.io import same_grid
from MRI2PETLib.preprocessing import brain_extractors, fit_quality
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction, extract_brain
from MRI2PETLib.preprocessing.brain_mask_refinement import refine_mask
from MRI2PETLib.preprocessing.stripped_brain import stripped_mask
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.templates.icbm152 import load_template

sys.path.insert(0, str(Path(__file__).parent))
from head_phantom import dice, head_from_labels  # noqa: E402

LABELS = "labels/training_seg_{}.nii.gz"


@cache
def _head() -> SimulatedSubject:
    return simulate_subject(3, spacing_mm=2.0, head=True)


@cache
def _extracted() -> BrainExtraction:
    return extract_brain(_head().t1)


@cache
def _stripped() -> sitk.Image:
    return simulate_subject(4, spacing_mm=2.0).t1


def _codes(result: BrainExtraction) -> set[str]:
    return {f.code for f in result.verdict.findings}


def _rms_mm(a: sitk.Transform, b: sitk.Transform) -> float:
    """Distance between two transforms over the template's brain."""
    mask = load_template().mask
    index = np.argwhere(sitk.GetArrayViewFromImage(mask))[::997, ::-1].tolist()
    points = [mask.TransformIndexToPhysicalPoint(i) for i in index]
    apart = [np.subtract(a.TransformPoint(p), b.TransformPoint(p)) for p in points]
    return float(np.sqrt(np.square(apart).sum(axis=1).mean()))


def test_simulated_head_gets_its_brain() -> None:
    result = _extracted()
    assert result.method == "template"
    assert result.verdict.level == "ok", result.verdict.reasons()
    assert same_grid(result.mask, _head().t1)
    assert result.mask.GetPixelID() == sitk.sitkUInt8
    # The phantom's mask is the template's, which lies further out than the cortex; 0.91 between such
    # definitions on one real head.
    assert dice(result.mask, _head().brain_mask) > 0.90


def test_transform_maps_template_to_native() -> None:
    fitted = _extracted().template_to_native
    assert fitted is not None
    # The truth is an affine and a smooth warp of a few mm; wrong basins are more than 6 mm away.
    assert _rms_mm(fitted, _head().template_to_native) < 5.0


def test_registration_is_deterministic_and_reports_rising_progress() -> None:
    fractions: list[float] = []
    again = extract_brain(_head().t1, progress=lambda done, total, stage: fractions.append(done / total))
    assert again.measures == _extracted().measures
    assert dice(again.mask, _extracted().mask) == 1.0
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1


def test_progress_callback_can_cancel() -> None:
    def stop(done: float, total: float, stage: str) -> None:
        if done > 0.05:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        extract_brain(_head().t1, progress=stop)


def test_stripped_input_keeps_its_outline() -> None:
    t1 = _stripped()
    result = extract_brain(t1)
    assert result.method == "stripped"
    assert result.verdict.level != "refuse", result.verdict.reasons()
    inside = sitk.GetArrayViewFromImage(result.mask) > 0
    values = sitk.GetArrayViewFromImage(t1)
    # Only the smeared edge may be left out.
    assert values[~inside].max() <= 0.06 * np.percentile(values, 99.9)
    assert result.template_to_native is not None


def test_stripped_rule_needs_border_component_and_volume() -> None:
    t1 = _stripped()
    assert stripped_mask(t1) is not None
    assert stripped_mask(t1 + 100.0) is not None  # a constant background need not be 0
    assert stripped_mask(t1 * 1e-3) is not None
    assert stripped_mask(_head().t1) is None
    small = sitk.Image(t1)
    small.SetSpacing([s * 0.6 for s in t1.GetSpacing()])  # 0.22 of the volume
    assert stripped_mask(small) is None
    constant = sitk.Image([40, 40, 40], sitk.sitkFloat32)
    assert stripped_mask(constant) is None


def test_inverted_contrast_is_refused_also_when_stripped() -> None:
    t1 = _stripped()
    mask = stripped_mask(t1)
    assert mask is not None
    top = float(np.percentile(sitk.GetArrayViewFromImage(t1), 99.9))
    inverted = sitk.Mask(sitk.Clamp(1.2 * top - t1, lowerBound=0.05 * top), mask)
    result = extract_brain(sitk.Cast(inverted, sitk.sitkFloat32))
    assert "inverted-contrast" in _codes(result)
    assert result.verdict.level == "refuse"


def test_slab_is_refused() -> None:
    t1 = _head().t1
    up = int(np.argmax(np.abs(np.reshape(t1.GetDirection(), (3, 3))[2])))
    size, index = list(t1.GetSize()), [0, 0, 0]
    index[up], size[up] = size[up] // 2, 20
    try:
        result = extract_brain(sitk.RegionOfInterest(t1, size, index))
    except QualityError as error:
        assert error.message
    else:
        assert result.verdict.level == "refuse"
        assert any("40 mm top to bottom" in r for r in result.verdict.reasons("refuse"))


def test_noise_is_refused() -> None:
    noise = np.random.default_rng(0).normal(100, 20, (60, 60, 60)).astype(np.float32)
    image = sitk.GetImageFromArray(noise)
    image.SetSpacing((3.0, 3.0, 3.0))
    try:
        result = extract_brain(image)
    except QualityError as error:
        assert error.hint
    else:
        assert result.verdict.level == "refuse"
        assert "no-brain" in _codes(result)


def test_given_mask_is_kept() -> None:
    truth = _head().brain_mask
    result = extract_brain(_head().t1, mask=truth)
    assert result.method == "given"
    assert dice(result.mask, truth) == 1.0
    assert result.verdict.level == "ok", result.verdict.reasons()


def test_given_mask_on_another_grid_is_resampled_with_a_warning() -> None:
    truth = sitk.DICOMOrient(_head().brain_mask, "PIR")
    result = extract_brain(_head().t1, mask=truth)
    assert "mask-grid" in _codes(result)
    assert same_grid(result.mask, _head().t1)
    assert dice(result.mask, _head().brain_mask) > 0.999


@pytest.mark.parametrize("fault", ["empty", "elsewhere", "tiny"])
def test_bad_given_mask_is_refused(fault: str) -> None:
    mask = sitk.Image(_head().brain_mask)
    if fault == "empty":
        mask = mask * 0
    elif fault == "elsewhere":
        mask.SetOrigin([o + 400.0 for o in mask.GetOrigin()])
    else:
        mask = sitk.BinaryErode(mask, [22, 22, 22], sitk.sitkBall)
    with pytest.raises(InputError) as caught:
        extract_brain(_head().t1, mask=mask)
    assert caught.value.hint


def test_refinement_without_a_core_raises() -> None:
    image = sitk.AdditiveGaussianNoise(sitk.Image([60, 60, 60], sitk.sitkFloat32) + 10.0, 1.0, 0.0, 1)
    prior = sitk.Image([60, 60, 60], sitk.sitkUInt8)
    prior[25:35, 25:35, 25:35] = 1
    with pytest.raises(QualityError):
        refine_mask(image, prior)


def test_verdict_thresholds() -> None:
    fit = fit_quality.TemplateFit(sitk.AffineTransform(3), 0.40, 0.55, (1.0, 0.95, 0.9), 1.0)

    def level(source: fit_quality.MaskSource = "image", **changes: object) -> str:
        findings = fit_quality.judge_fit(replace(fit, **changes), source)  # type: ignore[arg-type]
        return Verdict(findings).level

    assert level() == "ok"
    assert level(correlation=0.35) == "warn"
    assert level(correlation=0.20) == "refuse"
    assert level(correlation=0.20, source="other") == "warn"
    assert level(correlation=-0.4, source="other") == level(correlation=-0.12, source="other") == "refuse"
    words = {r: fit_quality.judge_fit(replace(fit, correlation=r), "image")[0].message for r in (-0.4, -0.12)}
    assert "inverted" in words[-0.4] and words[-0.12].startswith("No T1-weighted brain was recognised")
    assert level(mutual_information=0.20) == "warn"
    assert level(mutual_information=0.10) == "refuse"
    assert level(scales=(1.0, 0.9, 0.7)) == "warn"
    assert level(scales=(10.0, 9.0, 9.0)) == "refuse"
    assert level(coverage=0.95) == "warn"
    assert level(coverage=0.5) == "refuse"


def test_extractors_that_are_missing_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    states = brain_extractors.available_extractors()
    assert states["template"] == "ready"
    assert "not installed" in states["hd-bet"] and "not installed" in states["synthstrip"]
    with pytest.raises(DependencyError) as caught:
        extract_brain(_stripped(), extractor="hd-bet")
    assert "pip install" in caught.value.hint
    with pytest.raises(DependencyError):
        extract_brain(_stripped(), extractor="no-such-tool")


def _fake_program(folder: Path, name: str, body: str) -> None:
    program = folder / name
    program.write_text(f"#!{sys.executable}\nimport sys\nargs = sys.argv[1:]\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name != "posix", reason="the stand-in program is a script with a shebang")
def test_hd_bet_needs_its_weights_and_runs_as_a_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.nii.gz"
    sitk.WriteImage(_head().brain_mask, str(truth))
    _fake_program(
        tmp_path,
        "hd-bet",
        "import shutil\n"
        "assert '--save_bet_mask' in args\n"
        f"shutil.copy({str(truth)!r}, args[args.index('-o') + 1].replace('.nii.gz', '_bet.nii.gz'))",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert "weights missing" in brain_extractors.available_extractors()["hd-bet"]
    with pytest.raises(DependencyError):
        brain_extractors.run_extractor("hd-bet", _head().t1)
    weights = brain_extractors.EXTRACTORS["hd-bet"].weights("hd-bet")
    assert weights is not None
    weights.parent.mkdir(parents=True)
    weights.touch()
    result = extract_brain(_head().t1, extractor="hd-bet")
    assert result.method == "hd-bet"
    assert dice(result.mask, _head().brain_mask) == 1.0


@pytest.mark.skipif(os.name != "posix", reason="the stand-in program is a script with a shebang")
def test_failing_or_cancelled_extractor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_program(tmp_path, "mri_synthstrip", "sys.exit('no memory left')")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    with pytest.raises(MRI2PETError, match="exit code 1") as caught:
        brain_extractors.run_extractor("synthstrip", _stripped())
    assert "no memory left" in caught.value.hint

    _fake_program(tmp_path, "mri_synthstrip", "import time\ntime.sleep(60)")

    def stop(done: float, total: float, stage: str) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        brain_extractors.run_extractor("synthstrip", _stripped(), progress=stop)


@pytest.mark.parametrize(
    ("subject", "seed", "spacing", "orientation"),
    [
        ("01", 103, (1.8, 1.8, 2.0), "PIR"),  # wide CSF spaces, chin raised by 35 degrees
        pytest.param("04", 104, (1.0, 1.0, 3.0), "LPS", marks=pytest.mark.slow),
        pytest.param("09", 205, (2.0, 2.0, 2.0), "RAS", marks=pytest.mark.slow),
    ],
)
def test_mask_of_synthesised_heads(
    shared_data: Path, subject: str, seed: int, spacing: tuple[float, float, float], orientation: str
) -> None:
    path = shared_data / LABELS.format(subject)
    head = head_from_labels(path, seed, spacing_mm=spacing, orientation=orientation)
    result = extract_brain(head.t1)
    assert result.verdict.level == "ok", result.verdict.reasons()
    assert dice(result.mask, head.brain) >= 0.95


def test_real_stripped_brain_is_kept(shared_data: Path) -> None:
    t1 = sitk.ReadImage(str(shared_data / "t1_2mm" / "sub-02_T1w_2mm.nii.gz"), sitk.sitkFloat32)
    result = extract_brain(t1)
    assert result.method == "stripped"
    assert result.verdict.level != "refuse"
    # 1545 mL in the original, which has a sharp edge.
    assert result.measures["volume_ml"] == pytest.approx(1545, rel=0.05)


@pytest.mark.slow
def test_real_head_in_four_orientations(shared_data: Path) -> None:
    path = shared_data / "heads" / "IXI012-HH-1211_T1.nii.gz"
    t1 = sitk.ReadImage(str(path), sitk.sitkFloat32)
    reference = extract_brain(t1)
    assert reference.verdict.level == "ok"
    for orientation in ("LAS", "RPI", "ASR"):
        turned = sitk.DICOMOrient(t1, orientation)
        result = extract_brain(turned)
        back = resample(result.mask, Grid.of(t1), interpolator=sitk.sitkNearestNeighbor)
        assert dice(back, reference.mask) > 0.98
