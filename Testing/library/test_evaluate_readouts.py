"""What ``mri2pet evaluate`` leaves for readouts: rescaled real PET, label maps, positions of regions."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from evaluation_cases import like, predicted, real_suvr, sidecar, write_subject
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import staged_folder, write_text
from MRI2PETLib.evaluation.compare import measure, measure_each
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.metrics import AS_IS, SMOOTHED
from MRI2PETLib.evaluation.region_table import central_voxel_mm, native_part
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.io import same_grid, write_image
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.templates.regions import Parcellation

pytestmark = pytest.mark.usefixtures("quick_registration")

SCALED = EvaluationSettings(to_synthetic_unit=True)


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return simulate_subject(12, spacing_mm=4.0)


@pytest.fixture(scope="module")
def files(subject: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_subject(tmp_path_factory.mktemp("case"), subject)


def evaluate(out: Path, *arguments: object) -> int:
    return main(["evaluate", "-o", str(out), "--progress", "none", *map(str, arguments)])


def inside(image: sitk.Image, mask: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)[sitk.GetArrayViewFromImage(mask) > 0]


def unstated(subject: SimulatedSubject, folder: Path, factor: float = 37.0) -> Path:
    """The real PET times a factor, without a unit."""
    values = sitk.GetArrayFromImage(subject.pet) * np.float32(factor)
    return write_image(like(values, subject.t1), folder / "unstated.nii.gz")


# --- unit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.01, 1.0, 5e3])
def test_any_linear_unit_becomes_suvr(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path, factor: float
) -> None:
    real = unstated(subject, tmp_path, factor)
    with pytest.raises(InputError, match="not stated"):
        load_case(CasePaths(files["synthetic"], real))
    case = load_case(CasePaths(files["synthetic"], real), SCALED)
    assert case.unit == "SUVR" and case.to_synthetic_unit
    result = inside(case.real, case.mask)
    assert result.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    original = inside(subject.pet, case.mask)
    assert np.allclose(result, original / original.mean(dtype=np.float64), rtol=1e-5)
    record = case.provenance["rescaling"]
    assert record["from"] == "unknown" and record["to"] == "SUVR"
    assert record["divided_by"] == pytest.approx(factor * original.mean(dtype=np.float64), rel=1e-5)
    assert "real-rescaled" in [f.code for f in case.verdict.findings]


def test_a_normalised_synthetic_pet_asks_for_minimum_to_maximum(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    values = predicted(subject)
    synthetic = write_image(
        like(values / values.max(), subject.t1), tmp_path / "n.nii.gz", sidecar(subject, "normalised")
    )
    case = load_case(CasePaths(synthetic, files["suv"]), SCALED)
    result, original = inside(case.real, case.mask), inside(subject.pet, case.mask)
    assert (result.min(), result.max()) == (0, 1)
    assert np.allclose(result, (original - original.min()) / np.ptp(original), atol=1e-5)
    assert case.provenance["rescaling"]["maximum"] == pytest.approx(float(original.max()))


def test_what_cannot_be_brought_to_a_unit_is_refused(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    paths = CasePaths(files["synthetic"], files["suv"])
    with pytest.raises(InputError, match="no PET can be brought to that unit"):
        load_case(paths, replace(SCALED, synthetic_unit="SUV"))
    with pytest.raises(InputError, match="zero is lost"):
        load_case(paths, replace(SCALED, pet_unit="normalised"))
    with pytest.raises(InputError, match="without a unit"):
        load_case(paths, replace(SCALED, scale_free=True))


@pytest.mark.parametrize("matrix", [[], "x", [[1, 2], [3]], [["=1+1"] * 4] * 4, [[0.0] * 4] * 4, {"a": 1}])
def test_an_edited_transform_is_refused(files: dict[str, Path], tmp_path: Path, matrix: object) -> None:
    synthetic = tmp_path / "s.nii.gz"
    synthetic.write_bytes(files["synthetic"].read_bytes())
    content = json.loads(files["synthetic"].with_name("synthetic.json").read_text())
    content["Provenance"]["preprocessing"]["template_to_t1_lps"] = matrix
    synthetic.with_name("s.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="The transform in the sidecar .* is not valid"):
        load_case(CasePaths(synthetic, files["real"]))


def test_registration_and_unit_work_together(subject: SimulatedSubject, tmp_path: Path) -> None:
    """A PET turned, moved, on its own grid and in no stated unit."""
    person = simulate_subject(12, spacing_mm=3.0)
    files = write_subject(tmp_path / "person", person)
    grid = sitk.Image(76, 80, 70, sitk.sitkFloat32)
    grid.SetSpacing((2.6, 2.7, 2.8))
    grid.SetOrigin((-98.0, -118.0, -74.0))
    motion = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.08, -0.05, 0.06, (9.0, -7.0, 12.0))
    moved = sitk.Resample(person.pet * 900.0, grid, motion.GetInverse(), sitk.sitkLinear, 0.0)
    real = write_image(moved, tmp_path / "moved.nii.gz")
    case = load_case(CasePaths(files["synthetic"], real, files["T1"]), replace(SCALED, register="rigid"))
    assert case.unit == "SUVR" and "rigid" in case.provenance["alignment"]["method"]
    result = inside(case.real, case.mask)
    assert result.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    expected = real_suvr(person)[sitk.GetArrayViewFromImage(case.mask) > 0]
    assert np.corrcoef(result, expected)[0, 1] > 0.9


# --- files ---------------------------------------------------------------------------------------


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_real_pet_and_labels_are_written_for_lookup(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    atlas = write_image(subject.tissue, tmp_path / "own atlas.nii.gz")
    (tmp_path / "own atlas.csv").write_text("1,grey matter\n2,white matter\n")  # CSF has no name
    out = tmp_path / "out"
    mine = out / "regions" / "old.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_text("of nobody knows whom")
    arguments = ["--synthetic", files["synthetic"], "--pet", unstated(subject, tmp_path)]
    arguments += ["--to-synthetic-unit", "--atlas", atlas, "--atlas-space", "native"]
    assert evaluate(out, *arguments) == InputError.exit_code and mine.is_file()
    mine.unlink()
    assert evaluate(out, *arguments) == 0
    maps = {p.name for p in (out / "regions").iterdir()}
    names = ("brain", "tissue", "hemispheres", "paper21", "own atlas")
    assert maps == {f"{name}.{ending}" for name in names for ending in ("nii.gz", "csv")}
    grid = sitk.ReadImage(str(files["synthetic"]))
    real = sitk.ReadImage(str(out / "real.nii.gz"))
    brain = sitk.ReadImage(str(out / "regions" / "brain.nii.gz"))
    about = json.loads((out / "real.json").read_text())
    assert same_grid(real, grid) and about["Units"] == "SUVR" and about["Synthetic"] is False
    assert about["ReadoutOf"]["rescaling"]["to"] == "SUVR"
    assert inside(real, brain).mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    rows = [row for row in read_table(out / "regions.csv") if row["predictor"] == "network"]
    content = json.loads((out / "metrics.json").read_text())
    scale = next(iter(content["scales"]))
    for name in names:
        image = sitk.ReadImage(str(out / "regions" / f"{name}.nii.gz"))
        assert image.GetPixelID() == sitk.sitkUInt16 and same_grid(image, grid)
        labels, pet = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(real)
        assert not labels[sitk.GetArrayViewFromImage(brain) == 0].any()
        names_of = {int(r["label"]): r["region"] for r in read_table(out / "regions" / f"{name}.csv")}
        assert set(np.unique(labels).tolist()) <= {0, *names_of}
        for row in (r for r in rows if (r["parcellation"], r["scale"]) == (name, scale)):
            region = labels == int(row["label"])
            assert names_of[int(row["label"])] == row["region"]
            assert np.count_nonzero(region) == int(row["n_voxels"])
            if region.any():
                assert pet[region].mean(dtype=np.float64) == pytest.approx(float(row["mean_real"]), rel=1e-6)
                point = [float(row[f"{axis}_ras_mm"]) * sign for axis, sign in zip("xyz", (-1, -1, 1))]
                assert image[image.TransformPhysicalPointToIndex(point)] == int(row["label"])
    assert names_of == {
        1: "grey matter",
        2: "white matter",
        3: "label 3",
    }  # what no table names keeps its number
    assert "was divided by its mean in the brain" in (out / "report.html").read_text()


def test_an_atlas_with_the_name_of_a_built_in_one_is_refused(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atlas = write_image(subject.tissue, tmp_path / "tissue.nii.gz")
    (tmp_path / "tissue.csv").write_text("1,grey matter\n2,white matter\n3,CSF\n")
    pair = ("--synthetic", files["synthetic"], "--pet", files["real"])
    assert evaluate(tmp_path / "out", *pair, "--atlas", atlas, "--atlas-space", "native") == 3
    assert "Two sets of regions are called 'tissue'" in capsys.readouterr().err


def test_labels_that_do_not_fit_into_16_bits_stay_themselves() -> None:
    labels = np.array([[[0, 7, 70000, 9]]], dtype=np.int32)
    brain = sitk.GetImageFromArray(np.array([[[1, 1, 1, 0]]], dtype=np.uint8))
    for names, kind in (({7: "a", 70000: "b", 9: "c"}, sitk.sitkInt32), ({7: "a"}, sitk.sitkUInt16)):
        result = native_part(Parcellation("x", brain, names, "mni", "test"), labels, brain)
        assert result.labels.GetPixelID() == kind and result.space == "native"
        expected = [0, 7, 70000 if 70000 in names else 0, 0]
        assert sitk.GetArrayViewFromImage(result.labels).ravel().tolist() == expected


def test_a_folder_of_a_finished_set_is_replaced_as_a_whole_and_kept_when_writing_fails(
    tmp_path: Path,
) -> None:
    def write(name: str) -> None:
        with staged_folder(tmp_path, last="z.txt") as staging:
            (staging / "maps").mkdir()
            write_text(staging / "maps" / name, name)
            write_text(staging / "z.txt", name)
            if name == "broken":
                raise RuntimeError("full")

    write("a")
    write("b")
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["b"]
    with pytest.raises(RuntimeError):
        write("broken")
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["b"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["maps", "z.txt"]


# --- positions and speed --------------------------------------------------------------------------


def test_the_central_voxel_is_nearest_in_mm_and_always_inside() -> None:
    """An L of voxels on an anisotropic grid, and a ring, whose centroid lies outside of it."""
    grid = sitk.Image(9, 9, 3, sitk.sitkUInt8)
    grid.SetSpacing((1.0, 1.0, 10.0))
    grid.SetOrigin((100.0, 0.0, -5.0))
    where = np.zeros((3, 9, 9), dtype=bool)
    where[0, 0, 0], where[0, 0, 8], where[2, 4, 4] = True, True, True
    # centroid (i, j, k) = (4, 4/3, 2/3); squared mm: 16 + 16/9 + 44.4, the same, 0 + 64/9 + 177.8
    assert central_voxel_mm(np.flatnonzero(where), grid) == (100, 0, -5)
    j, i = np.indices((9, 9))
    ring = np.zeros((3, 9, 9), dtype=bool)
    ring[1] = np.abs(np.hypot(i - 4, j - 4) - 3) < 0.5
    point = central_voxel_mm(np.flatnonzero(ring), grid)
    assert point is not None and ring[grid.TransformPhysicalPointToIndex(point)[::-1]]
    assert central_voxel_mm(np.zeros(0, dtype=int), grid) is None


def test_metrics_of_several_images_at_once_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(5)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 22, 24)], indexing="ij")
    mask = (k**2 + j**2 + i**2) < 0.8
    real = (5 + 0.3 * np.sin(3 * k) + 0.1 * rng.normal(size=k.shape)).astype(np.float32)
    images = [(real + 0.2 * rng.normal(size=k.shape)).astype(np.float32) for _ in range(3)]
    images.append(np.full(k.shape, 5.0, np.float32))
    smoothed = smooth_in_mask(real, mask, (2.0, 2.0, 2.0), 4.0)
    together = measure_each(images, {AS_IS: real, SMOOTHED: smoothed}, mask)
    for image, metrics in zip(images, together):
        alone = measure(image, real, mask)
        against = measure(image, smoothed, mask)
        alone |= {f"smoothed_{n}": v for n, v in against.items() if f"smoothed_{n}" in metrics}
        assert metrics.keys() == alone.keys()
        for name, expected in alone.items():
            assert metrics[name].reason == expected.reason
            if expected.value is not None:
                assert metrics[name].value == pytest.approx(expected.value, rel=1e-12), name
