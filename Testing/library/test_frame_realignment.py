"""Frame-to-frame realignment on a simulated dynamic PET whose motion is known exactly."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from MRI2PETLib.preprocessing.frame_realignment import RealignedMean, realigned_mean
from MRI2PETLib.preprocessing.pet import read_pet

SIZE, SPACING = (48, 52, 44), (4.0, 4.0, 4.0)
CENTRE = np.array([94.0, 102.0, 86.0])
# Degrees about x, y, z and mm along them; frame 2 is the longest and does not move.
MOTIONS = [
    (3, -2, 1, 2, -3, 4),
    (-1, 1, 3, 5, 1, -2),
    (0, 0, 0, 0, 0, 0),
    (2, 3, -2, -4, 2, 3),
    (0, 0, 4, 0, 0, 0),
]
DURATIONS = [300.0, 300.0, 600.0, 300.0, 300.0]
WEIGHTS = np.array(DURATIONS) / 1800.0


def motion(parameters: tuple[float, ...]) -> sitk.Euler3DTransform:
    """From points of the still head to points of the moved one."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(CENTRE.tolist())
    transform.SetRotation(*(math.radians(a) for a in parameters[:3]))
    transform.SetTranslation(parameters[3:])
    return transform


def uptake(points: np.ndarray) -> np.ndarray:
    """A head of Gaussian blobs, exact at any point ([..., 3] mm), so that motion needs no interpolation."""
    rng = np.random.default_rng(5)
    total = 2.0 * np.exp(-((((points - CENTRE) / (55, 65, 50)) ** 2).sum(-1) ** 3))
    for _ in range(14):
        centre, radius = CENTRE + rng.uniform(-40, 40, 3), rng.uniform(7, 16)
        total += rng.uniform(-0.8, 1.5) * np.exp(-0.5 * ((points - centre) ** 2).sum(-1) / radius**2)
    return total.clip(0)


@cache
def frames(noise: float = 0.0) -> list[np.ndarray]:
    """Five frames of the moving head [k, j, i]; the level falls by 5 % a frame."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in SIZE[::-1]), indexing="ij")
    points = np.stack([i, j, k], -1) * np.array(SPACING)
    rng = np.random.default_rng(6)
    made = []
    for number, parameters in enumerate(MOTIONS):
        inverse = motion(parameters).GetInverse()
        matrix = np.array(sitk.Euler3DTransform(inverse).GetMatrix()).reshape(3, 3)
        offset = np.array(inverse.TransformPoint((0.0, 0.0, 0.0)))
        still = uptake(points @ matrix.T + offset) * (1 - 0.05 * number)
        speckle = gaussian_filter(rng.standard_normal(still.shape), 0.4)
        made.append((still + noise * np.sqrt(still * 2) * speckle / speckle.std()).astype(np.float32))
    return made


def realigned(made: list[np.ndarray]) -> RealignedMean:
    return realigned_mean(lambda t: made[t], WEIGHTS, DURATIONS, SPACING)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_motion_is_found_to_half_a_millimetre_and_half_a_degree(noise: float) -> None:
    result = realigned(frames(noise))
    assert result.reference == 2
    rng = np.random.default_rng(7)
    head = CENTRE + rng.uniform(-60, 60, (50, 3))
    assert [m.frame for m in result.motions] == [0, 1, 3, 4]
    for one in result.motions:
        truth = motion(MOTIONS[one.frame])
        apart = [np.subtract(one.transform.TransformPoint(p), truth.TransformPoint(p)) for p in head.tolist()]
        assert np.linalg.norm(apart, axis=1).mean() < 0.5
        turned, right = (np.array(t.GetMatrix()).reshape(3, 3) for t in (one.transform, truth))
        angle = math.degrees(math.acos(min(1.0, (np.trace(turned @ right.T) - 1) / 2)))
        assert angle < 0.5
        moved = [np.subtract(truth.TransformPoint(p), p) for p in head.tolist()]
        assert one.displacement_mm == pytest.approx(np.linalg.norm(moved, axis=1).mean(), abs=1.0)
    # Frame 4 only turns, by 4 degrees.
    assert result.motions[3].rotation_deg == pytest.approx(4, abs=0.5)


def test_mean_of_realigned_frames_is_that_of_a_still_head() -> None:
    made = frames()
    still = made[2] * sum(w * (1 - 0.05 * n) for n, w in enumerate(WEIGHTS)) / 0.9
    inside = (slice(4, -4),) * 3
    blurred = sum(w * frame for w, frame in zip(WEIGHTS, made))
    error = float(np.abs(realigned(made).values - still)[inside].max())
    assert error < 0.03 * still.max()
    assert error < 0.2 * float(np.abs(blurred - still)[inside].max())


def test_voxels_that_a_frame_did_not_measure_are_averaged_over_the_others() -> None:
    """The reference misses a slab, the other frames do not; a slab that none measured stays NaN."""
    whole = realigned(frames()).values
    made = [frame.copy() for frame in frames()]
    made[2][30:] = np.nan
    for frame in made:
        frame[42:] = np.nan
    values = realigned(made).values
    assert np.isnan(values[42:, 26, 24]).any()
    assert np.isfinite(values[:38, 10:40, 10:40]).all()
    np.testing.assert_allclose(values[5:28], whole[5:28], atol=0.05)


def test_read_pet_tells_the_motion(tmp_path: Path) -> None:
    made = frames()
    image = sitk.JoinSeries([sitk.GetImageFromArray(frame) for frame in made])
    image.SetSpacing((*SPACING, 1.0))
    path = tmp_path / "sub-01_pet.nii.gz"
    sitk.WriteImage(image, str(path))
    starts = [3600, 3900, 4200, 4800, 5100]
    sidecar = {"Units": "SUV", "FrameTimesStart": starts, "FrameDuration": DURATIONS}
    (tmp_path / "sub-01_pet.json").write_text(json.dumps(sidecar))
    still = read_pet(path, window_min=(60, 90))
    assert "realignment" not in still.metadata
    pet = read_pet(path, window_min=(60, 90), realign_frames=True)
    about = pet.metadata["realignment"]
    assert about["reference_frame"] == 2
    assert [frame["frame"] for frame in about["frames"]] == [0, 1, 3, 4]
    assert about["frames"][3]["rotation_deg"] == pytest.approx(4, abs=0.5)
    assert about["mean_displacement_mm"] > 3
    (finding,) = [f for f in pet.verdict.findings if f.code == "frames-realigned"]
    assert finding.level == "warn" and "4 frames were realigned to frame 2" in finding.message
    # A window of one frame: nothing to realign, the frame as it is.
    one = read_pet(path, window_min=(70, 80), realign_frames=True)
    np.testing.assert_allclose(sitk.GetArrayFromImage(one.image), made[2], rtol=1e-5)
    assert [f.code for f in one.verdict.findings] == ["frames-realigned"]
