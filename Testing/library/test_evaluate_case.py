"""``mri2pet evaluate`` on one case: known answers, alignment, units, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from evaluation_cases import like, predicted, sidecar, write_subject
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.evaluation.baselines import NETWORK, WARPED_AVERAGE, Person, predictors
from MRI2PETLib.evaluation.case import RegionRow, evaluate_case
from MRI2PETLib.evaluation.cubic import Cubic
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.inputs import CaseImages, load_case
from MRI2PETLib.evaluation.region_table import read_region_rows
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.formats import STATES_SD, sidecar_path
from MRI2PETLib.images.io import same_grid, write_image
from MRI2PETLib.images.values import value_moments
from MRI2PETLib.preprocessing.pet_registration import register_pet_to_t1
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.synthesis.run_checks import checks_of_comparison
from MRI2PETLib.templates.atlases import read_parcellation
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import built_in_parcellations
from MRI2PETLib.templates.uptake import population_uptake

pytestmark = pytest.mark.usefixtures("quick_registration")

IDENTITY = sitk.AffineTransform(3)
BY_HEADER = EvaluationSettings(register="header")


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return simulate_subject(11, spacing_mm=4.0)


@pytest.fixture(scope="module")
def files(subject: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_subject(tmp_path_factory.mktemp("case"), subject)


def evaluate(out: Path, *arguments: object) -> int:
    return main(["evaluate", "-o", str(out), "--progress", "none", *map(str, arguments)])


def refused(out: Path, capsys: pytest.CaptureFixture[str], message: str, *arguments: object) -> None:
    """The command fails with this message and a hint, no traceback, and leaves nothing."""
    code = evaluate(out, *arguments)
    error = capsys.readouterr().err
    assert code not in (0, 1), error
    assert message in error and "hint:" in error and "Traceback" not in error, error
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("person_desc-syntheticSD_pet.nii.gz", {}),
        ("person_desc-syntheticErrorSD_pet.nii.gz", {}),
        ("person.nii.gz", STATES_SD),
    ],
)
def test_a_map_of_sds_is_no_synthetic_pet(
    name: str, about: dict[str, str], files: dict[str, Path], tmp_path: Path
) -> None:
    """It lies beside the synthetic PET, states its unit, and is the first of ``*_pet.nii.gz``."""
    image = sitk.ReadImage(str(files["synthetic"]))
    write_image(image * 0.05, tmp_path / name, {"Synthetic": True, "Units": "SUVR", **about})
    with pytest.raises(InputError, match="map of SDs"):
        load_case(CasePaths(tmp_path / name, files["real"], files["T1"]), BY_HEADER)


def mni_case(synthetic: np.ndarray, real: np.ndarray) -> CaseImages:
    """A case on the template's own grid."""
    template = load_template()
    images = [like(a.astype(np.float32), template.t1) for a in (synthetic, real)]
    return CaseImages(*images, template.mask, template.t1, "SUVR", IDENTITY, Verdict())


def number(row: RegionRow, name: str) -> float:
    """A metric of a region that has it."""
    value = row.metrics[name]
    assert value is not None, (row.region, name)
    return value


# --- known answers -----------------------------------------------------------------------------


def test_a_case_writes_everything_with_the_baselines_beside_the_network(
    files: dict[str, Path], subject: SimulatedSubject, tmp_path: Path
) -> None:
    out = tmp_path / "Ergebnis für Ä"  # a folder with a space and letters beyond ASCII
    assert evaluate(out, "--synthetic", files["synthetic"], "--pet", files["real"], "--t1", files["T1"]) == 0
    maps = ("normdiff", "difference", "percent_difference", "squared_error", "real", "valid_mask")
    expected = {f"{n}.{e}" for n in maps for e in ("nii.gz", "json")}
    expected |= {"metrics.json", "regions", "regions.csv", "comparison.png", "report.html"}
    expected |= {"errors.png", "asymmetry.csv"}
    expected |= {"evaluation_status.json"}
    assert {p.name for p in out.iterdir()} == expected
    content = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)  # NaN would call it
    for scale in ("stated", "scale-free"):
        network, baselines = (content["scales"][scale][k] for k in ("network", "baselines"))
        assert network["pearson_r"] > baselines[WARPED_AVERAGE]["pearson_r"] > 0.3
        assert network["mse"] < baselines["constant"]["mse"]
        assert "coefficients" in baselines["cubic of T1"]["not_available"]["all"]
    spaces = content["spaces"]
    assert list(spaces) == ["native", "MNI, affine", "MNI, non-linear"]
    assert spaces["native"]["network"]["mse"] == content["scales"]["stated"]["network"]["mse"]
    for name in list(spaces)[1:]:
        assert spaces[name]["network"]["pearson_r"] > spaces[name][WARPED_AVERAGE]["pearson_r"] > 0.3
    for name in ("regions", "asymmetry"):
        assert "nan" not in (out / f"{name}.csv").read_text().lower().replace("anatomy", "")
    assert content["provenance"]["simulated"] and "SIMULATED" in content["description"]


def test_maps_lie_where_the_images_lie_and_hold_the_formula(files: dict[str, Path], tmp_path: Path) -> None:
    """The published maps carry the affine of the uncropped volume and lie many millimetres off."""
    evaluate(tmp_path / "out", "--synthetic", files["synthetic"], "--pet", files["real"])
    synthetic, real = (sitk.ReadImage(str(files[n])) for n in ("synthetic", "real"))
    maps = {
        n: sitk.ReadImage(str(tmp_path / "out" / f"{n}.nii.gz"))
        for n in ("normdiff", "difference", "valid_mask")
    }
    for image in maps.values():
        assert same_grid(image, synthetic)
    s, r, valid = (sitk.GetArrayFromImage(i) for i in (synthetic, real, maps["valid_mask"]))
    inside = valid > 0
    r_positive = np.clip(r, 0, None)[inside]
    expected = (s[inside] - r_positive) / (s[inside] + r_positive)
    assert np.allclose(sitk.GetArrayFromImage(maps["normdiff"])[inside], expected, atol=1e-5)
    assert np.allclose(sitk.GetArrayFromImage(maps["difference"])[s > 0], (s - r)[s > 0], atol=1e-5)
    assert not sitk.GetArrayFromImage(maps["normdiff"])[~inside].any()


def test_equal_images_are_equal(subject: SimulatedSubject) -> None:
    image = sitk.GetArrayFromImage(population_uptake("PBR28"))
    result = evaluate_case(mni_case(image, image))
    network = result.scales["stated"]["network"]
    assert network["mse"] == 0 and network["pearson_r"] == pytest.approx(1)
    assert network["slope"] == pytest.approx(1) and network["sd_ratio"] == pytest.approx(1)
    assert network["psnr_db"] is None and "equal" in network["not_available"]["psnr_db"]


def test_a_patient_against_the_mean_of_controls_lights_up_in_putamen_and_pallidum() -> None:
    """A phantom of the Huntington's disease pattern: putamen +18 %, pallidum +16 %, both sides."""
    mask = sitk.GetArrayViewFromImage(load_template().mask) > 0
    control = sitk.GetArrayFromImage(population_uptake("PBR28"))
    control = np.where(mask, control + 0.05, 0)
    paper = built_in_parcellations()[-1]
    labels = sitk.GetArrayViewFromImage(paper.labels)
    patient = control * (1 + 0.02 * np.random.default_rng(0).normal(size=control.shape))
    for label, name in paper.names.items():
        patient[labels == label] *= 1.18 if "putamen" in name else 1.16 if "pallidum" in name else 1.0
    result = evaluate_case(mni_case(control, patient))
    rows = {
        row.region: row
        for row in result.regions
        if (row.predictor, row.scale, row.parcellation) == (NETWORK, "stated", "paper21")
    }
    raised = sorted(rows, key=lambda name: number(rows[name], "normdiff_median"))[:4]
    assert set(raised) == {f"{s} {n}" for s in ("left", "right") for n in ("putamen", "pallidum")}
    assert number(rows["left putamen"], "percent_difference") == pytest.approx(100 * (1 / 1.18 - 1), abs=0.5)
    assert number(rows["left pallidum"], "normdiff_median") == pytest.approx((1 - 1.16) / 2.16, abs=0.005)
    assert number(rows["left putamen"], "roi_cnr_bias") > 0.3
    for side in ("left", "right"):
        assert abs(number(rows[f"{side} cerebral cortex"], "normdiff_median")) < 0.002
    assert "putamen" in result.largest or "pallidum" in result.largest
    x, y, z = result.point_mm
    assert (
        sitk.GetArrayViewFromImage(paper.labels)[paper.labels.TransformPhysicalPointToIndex((x, y, z))[::-1]]
        > 0
    )


def test_real_patients_against_the_mean_of_real_controls(shared_data: Path, tmp_path: Path) -> None:
    """Huntington's disease against controls, real [11C]PBR28 (Lois et al. 2018): putamen and pallidum are
    raised.

    Measured region means over cortex: controls 1.14 and 1.20, patients 1.35 and 1.39, so NormDiff is near
    -.08 and
    -.07; these three patients show -.07 and -.05. The fourth (patient01) has no symptoms yet and is left out.
    """
    template, identity = load_template(), sitk.Transform(3, sitk.sitkIdentity)
    maps = {}
    for path in sorted((shared_data / "pbr28").glob("sub-*.nii.gz")):
        on_grid = sitk.Resample(
            sitk.ReadImage(str(path), sitk.sitkFloat32), template.t1, identity, sitk.sitkLinear
        )
        maps[path.name[4:13]] = sitk.GetArrayFromImage(on_grid)
    controls = np.mean([m for n, m in maps.items() if n.startswith("control")], axis=0)
    patients = np.mean([maps[f"patient0{n}"] for n in (2, 3, 4)], axis=0)
    covered = sitk.And(template.mask, like((controls > 0.2).astype(np.uint8), template.t1))
    images = [like(a.astype(np.float32), template.t1) for a in (controls, patients)]
    names = (
        "WM Cortex Ventricle Thalamus Caudate Putamen Pallidum Brainstem Hippocampus Amygdala NAcc".split()
    )
    left = [f"{n},Left {name}" if name != "Brainstem" else f"{n},{name}" for n, name in enumerate(names, 1)]
    names.remove("Brainstem")
    right = [f"{n},Right {name}" for n, name in enumerate(names, 12)]
    (tmp_path / "names.csv").write_text("\n".join(left + right))
    file = shared_data / "atlas" / "HarvardOxfordsub-maxprob-thr25_space-MNI152NLin6_res-2x2x2.nii.gz"
    atlas = read_parcellation(file, tmp_path / "names.csv", space="mni")
    case = CaseImages(*images, covered, template.t1, "SUVR", IDENTITY, Verdict())
    result = evaluate_case(case, atlases=[atlas])
    network = [r for r in result.regions if (r.predictor, r.scale) == (NETWORK, "stated")]
    rows = {r.region.lower(): r for r in network if r.parcellation in (atlas.name, "paper21")}
    by_atlas = sorted(
        (r for r in network if r.parcellation == atlas.name), key=lambda r: number(r, "normdiff_median")
    )
    raised = {f"{side} {name}" for side in ("left", "right") for name in ("putamen", "pallidum")}
    assert {row.region.lower() for row in by_atlas[:4]} == raised
    for name in raised:
        assert number(rows[name], "normdiff_median") < -0.03 and number(rows[name], "roi_cnr_bias") > 1, name
    for name in ("left cortex", "right cortex", "left cerebral cortex", "right cerebral cortex"):
        assert abs(number(rows[name], "normdiff_median")) < 0.015, name
        assert abs(number(rows[name], "roi_cnr_bias")) < 0.2, name


def test_coordinates_are_ras_in_the_world_of_the_t1_and_in_mni_space(
    files: dict[str, Path], subject: SimulatedSubject, tmp_path: Path
) -> None:
    """The patient's left is negative; the label at the point is the region's, in MNI space the atlas's."""
    pair = ("--synthetic", files["synthetic"], "--pet", files["real"], "--t1", files["T1"])
    assert evaluate(tmp_path, *pair) == 0
    rows = [r for r in read_region_rows(tmp_path / "regions.csv") if r.predictor == NETWORK]
    rows = [r for r in rows if r.parcellation == "paper21" and r.scale == "stated" and r.n_voxels]
    labels = sitk.ReadImage(str(tmp_path / "regions" / "paper21.nii.gz"))
    middle = next(r.x_ras_mm or 0 for r in rows if r.region == "brainstem")
    atlas = built_in_parcellations()[-1].labels
    for row in rows:
        x, y, z = (getattr(row, f"{axis}_ras_mm") for axis in "xyz")
        assert labels[labels.TransformPhysicalPointToIndex((-x, -y, z))] == row.label
        if row.region.startswith(("left", "right")):
            assert (x < middle) == row.region.startswith("left"), row.region
        x, y, z = (getattr(row, f"mni_{axis}_ras_mm") for axis in "xyz")
        assert atlas[atlas.TransformPhysicalPointToIndex((-x, -y, z))] == row.label
    page = (tmp_path / "report.html").read_text()
    assert "R, A, S (mm)" in page and "MNI R, A, S (mm)" in page
    assert "point_ras_mm" in (tmp_path / "metrics.json").read_text()


PBR28 = Direction(tracer="PBR28")

# --- baselines ---------------------------------------------------------------------------------


def test_baselines_have_the_level_of_the_network_and_say_what_they_use(subject: SimulatedSubject) -> None:
    synthetic = predicted(subject)
    inside = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    person = Person(subject.brain_mask, subject.t1, PBR28, subject.template_to_native)
    cubic = Cubic((0.2, 1.0, 0.5, -0.9), 0.0)
    rows = predictors(synthetic, person, cubic=cubic, training_mean=population_uptake("PBR28"))
    assert [r.name for r in rows] == ["network", "constant", "cubic of T1", "training mean", "warped average"]
    for row in rows:
        assert row.values is not None and row.uses
        assert row.values[inside].mean() == pytest.approx(synthetic[inside].mean(), rel=1e-5)
    t1 = sitk.GetArrayViewFromImage(subject.t1)
    low, high = np.percentile(t1[inside], (1, 99))
    x = np.clip((t1 - low) / (high - low), 0, 1)[inside]
    cubic = rows[2].values[inside] if rows[2].values is not None else 0
    expected = 0.2 + x + 0.5 * x**2 - 0.9 * x**3
    assert np.allclose(cubic / cubic.mean(), expected / expected.mean(), rtol=1e-4)


def test_the_warped_average_follows_the_anatomy(subject: SimulatedSubject) -> None:
    """With the true (non-linear) transform it explains most of the noise-free PET; without one it says so."""
    synthetic = predicted(subject)
    inside = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    person = Person(subject.brain_mask, None, PBR28, subject.template_to_native)
    with_transform = predictors(synthetic, person)[-1]
    true = sitk.GetArrayViewFromImage(subject.pet_true)[inside]
    assert with_transform.values is not None
    assert np.corrcoef(with_transform.values[inside], true)[0, 1] > 0.75
    without = predictors(synthetic, Person(subject.brain_mask, None, PBR28, None))[-1]
    assert without.values is None and "MNI" in without.reason


# --- alignment and units -----------------------------------------------------------------------


def test_registration_brings_a_moved_pet_back(tmp_path: Path) -> None:
    """Mean target error <= 1 mm over the brain, for a PET turned by up to 8 degrees and moved by 20 mm."""
    motion = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.10, -0.08, 0.12, (14.0, -10.0, 20.0))
    grid = sitk.Image(96, 110, 92, sitk.sitkFloat32)
    grid.SetSpacing((2.08, 2.08, 2.03))
    grid.SetOrigin((-86.0, -124.0, -70.0))
    fine = simulate_subject(11, spacing_mm=2.0)
    folder = write_subject(tmp_path / "fine", fine)
    moved = sitk.Resample(fine.pet, grid, motion.GetInverse(), sitk.sitkLinear, 0.0)
    write_image(moved, tmp_path / "moved.nii.gz", {"Units": "SUVR"})
    paths = CasePaths(folder["synthetic"], tmp_path / "moved.nii.gz", folder["T1"])
    case = load_case(paths, EvaluationSettings(register="rigid"))
    assert case.provenance["alignment"]["overlap"] > 0.8
    result = register_pet_to_t1(moved, fine.t1, fine.brain_mask).transform
    back = motion.GetInverse()
    points = np.argwhere(sitk.GetArrayViewFromImage(fine.brain_mask) > 0)[::997]
    errors = []
    for k, j, i in points.tolist():
        native = fine.t1.TransformIndexToPhysicalPoint((i, j, k))
        errors.append(np.linalg.norm(np.subtract(back.TransformPoint(result.TransformPoint(native)), native)))
    assert np.mean(errors) <= 1.0


def test_a_pet_on_another_grid_in_the_same_space_is_resampled_by_header(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    turned = sitk.DICOMOrient(sitk.ReadImage(str(files["real"])), "PIR")
    write_image(turned, tmp_path / "turned.nii.gz", {"Units": "SUVR"})
    case = load_case(CasePaths(files["synthetic"], tmp_path / "turned.nii.gz"), BY_HEADER)
    original = load_case(CasePaths(files["synthetic"], files["real"]))
    a, b = (sitk.GetArrayViewFromImage(c.real) for c in (case, original))
    assert np.allclose(a, b, atol=1e-4)


def test_the_part_of_the_brain_that_the_pet_does_not_cover_is_left_out(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    cut = sitk.ReadImage(str(files["real"]))[:, :, 14:]
    write_image(cut, tmp_path / "cut.nii.gz", {"Units": "SUVR"})
    case = load_case(CasePaths(files["synthetic"], tmp_path / "cut.nii.gz"), BY_HEADER)
    assert not sitk.GetArrayViewFromImage(case.mask)[:14].any()
    assert "pet-field-of-view" in [f.code for f in case.verdict.findings]


def test_a_real_pet_beyond_the_scale_of_the_model_is_told(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    """The simulated PET is shown to a model whose scale ends at a value that a tenth of its voxels exceed."""
    real = sitk.GetArrayFromImage(sitk.ReadImage(str(files["real"])))
    inside = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    end = float(np.percentile(real[inside], 90))
    about = json.loads(sidecar_path(files["synthetic"]).read_text())
    messages = []
    for more in ({}, {"LargestSUVR": end}, {"LargestSUVR": 9.0}, {"LargestSUVR": "2"}):
        image = sitk.ReadImage(str(files["synthetic"]))
        write_image(image, tmp_path / "synthetic.nii.gz", {**about, **more})
        case = load_case(CasePaths(tmp_path / "synthetic.nii.gz", files["real"]), BY_HEADER)
        messages.append([f.message for f in case.verdict.findings if f.code == "scale-end"])
    assert messages[0] == messages[2] == messages[3] == []
    share = 100 * np.mean(real[sitk.GetArrayViewFromImage(case.mask) > 0] >= end)
    assert f"The real PET reaches SUVR {end:g} in {share:.1f} % of the brain" in messages[1][0]


def test_a_prediction_for_another_t1_of_the_same_grid_is_told(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    """Checksums of files would also tell a T1 from itself in another format."""
    about = json.loads(sidecar_path(files["synthetic"]).read_text())
    about["Provenance"]["source_values"] = value_moments(subject.t1)
    about["Source"] = {"path": "anna.nii.gz", "sha256": "1"}
    synthetic = write_image(sitk.ReadImage(str(files["synthetic"])), tmp_path / "synthetic.nii.gz", about)
    same = write_image(sitk.Cast(subject.t1, sitk.sitkFloat64), tmp_path / "same.nrrd")
    values = sitk.GetArrayFromImage(simulate_subject(12, spacing_mm=4.0).t1)
    shape = sitk.GetArrayViewFromImage(subject.t1).shape
    own = np.zeros(shape, np.float32)
    cut = tuple(slice(min(n)) for n in zip(shape, values.shape, strict=True))
    own[cut] = values[cut]
    other = write_image(like(own, subject.t1), tmp_path / "other.nii.gz")
    messages = []
    for t1 in (same, other):
        case = load_case(CasePaths(synthetic, files["real"], t1, files["mask"]), BY_HEADER)
        messages.append([f.message for f in case.verdict.findings if f.code == "other-t1"])
    assert messages[0] == []
    start = f"The synthetic PET {synthetic} was computed from another image than the T1 {other}"
    assert messages[1] == [f"{start}: from anna.nii.gz."]
    lights = {check.name: check for check in checks_of_comparison(case.verdict.findings)}
    assert (lights["origin"].level, lights["origin"].message) == ("warn", messages[1][0])
    about["Provenance"]["edited"] = True
    doubled = write_image(sitk.ReadImage(str(synthetic)), tmp_path / "edited.nii.gz", about)
    case = load_case(CasePaths(doubled, files["real"], same, files["mask"]), BY_HEADER)
    assert "edited-synthetic" in [finding.code for finding in case.verdict.findings]
    lights = {check.name: check for check in checks_of_comparison(case.verdict.findings)}
    assert lights["origin"].level == "warn" and "not those of its model" in lights["origin"].message


def test_units_are_never_mixed_unless_only_patterns_are_compared(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ("--synthetic", files["synthetic"], "--pet", files["suv"])
    refused(tmp_path / "out", capsys, "The synthetic PET is in SUVR, the real one in SUV", *pair)
    assert evaluate(tmp_path / "free", *pair, "--scale-free") == 0
    content = json.loads((tmp_path / "free" / "metrics.json").read_text())
    assert content["unit"] is None and list(content["scales"]) == ["scale-free"]
    assert evaluate(tmp_path / "same", "--synthetic", files["synthetic"], "--pet", files["real"]) == 0
    same = json.loads((tmp_path / "same" / "metrics.json").read_text())["scales"]["scale-free"]["network"]
    # SUV and SUVR of one PET differ by a factor: the scale-free numbers are equal.
    for name in ("mse", "pearson_r", "normdiff_sd", "cnr_real_median_abs"):
        assert content["scales"]["scale-free"]["network"][name] == pytest.approx(same[name], rel=1e-4)


# --- bad input ---------------------------------------------------------------------------------


def test_bad_images_are_refused(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, real = tmp_path / "out", files["real"]
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(files["synthetic"])))
    other = {
        "constant": np.where(array > 0, 1.3, 0).astype(np.float32),
        "nan": np.where(np.random.default_rng(0).random(array.shape) < 0.01, np.nan, array).astype(
            np.float32
        ),
    }
    for name, values in other.items():
        write_image(like(values, subject.t1), tmp_path / f"{name}.nii.gz", sidecar(subject))
    refused(out, capsys, "constant", "--synthetic", tmp_path / "constant.nii.gz", "--pet", real)
    refused(out, capsys, "not finite", "--synthetic", tmp_path / "nan.nii.gz", "--pet", real)
    refused(out, capsys, "does not exist", "--synthetic", tmp_path / "nothing.nii.gz", "--pet", real)
    write_image(like(array, subject.t1), tmp_path / "unit.nii.gz")
    refused(out, capsys, "unit of", "--synthetic", tmp_path / "unit.nii.gz", "--pet", real)
    far = sitk.ReadImage(str(real))
    far.SetOrigin([v + 500 for v in far.GetOrigin()])
    write_image(far, tmp_path / "far.nii.gz", {"Units": "SUVR"})
    pair = ("--synthetic", files["synthetic"], "--pet", tmp_path / "far.nii.gz")
    refused(out, capsys, "covers 0 % of the brain", *pair, "--register", "header")
    refused(out, capsys, "One of --synthetic and --pet is missing", "--pet", real)
    refused(out, capsys, "Say what to evaluate")


def test_nan_in_the_header_is_refused(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import nibabel as nib

    image = nib.load(files["real"])
    affine = image.affine.copy()
    affine[0, 3] = np.nan
    image.header.set_sform(affine, code=1)
    image.header.set_qform(None, code=0)
    broken = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    nib.save(broken, tmp_path / "real.nii.gz")
    (tmp_path / "real.json").write_text('{"Units": "SUVR"}')
    pair = ("--synthetic", files["synthetic"], "--pet", tmp_path / "real.nii.gz")
    refused(tmp_path / "out", capsys, "degenerate", *pair)


def test_bad_atlases_are_refused(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    pair = ("--synthetic", files["synthetic"], "--pet", files["real"])
    tissue = subject.tissue
    write_image(tissue, tmp_path / "atlas.nii.gz")
    refused(out, capsys, "label map without names", *pair, "--atlas", tmp_path / "atlas.nii.gz")
    (tmp_path / "atlas.csv").write_text("1,grey matter\n2,white matter\n3,CSF\n")
    moved = sitk.Image(tissue)
    moved.SetOrigin([v + 70 for v in tissue.GetOrigin()])
    write_image(moved, tmp_path / "moved.nii.gz")
    (tmp_path / "moved.csv").write_text("1,grey matter\n2,white matter\n3,CSF\n")
    refused(out, capsys, "does not lie on the brain", *pair, "--atlas", tmp_path / "moved.nii.gz")
    (tmp_path / "bad.json").write_text("[]")
    refused(
        out,
        capsys,
        "holds no label",
        *pair,
        "--atlas",
        tmp_path / "atlas.nii.gz",
        "--labels",
        tmp_path / "bad.json",
    )
    native = (*pair, "--atlas", tmp_path / "atlas.nii.gz", "--atlas-space", "native")
    assert evaluate(out, *native) == 0
    rows = (out / "regions.csv").read_text()
    assert "atlas,1,grey matter,network" in rows and "paper21" in rows


def test_an_empty_region_is_a_row_with_a_reason_not_a_nan(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path
) -> None:
    labels = sitk.GetArrayFromImage(subject.tissue)
    labels[0, 0, 0] = 9  # outside the brain
    write_image(like(labels, subject.tissue), tmp_path / "atlas.nii.gz")
    (tmp_path / "atlas.csv").write_text("1,grey matter\n9,nowhere\n")
    out = tmp_path / "out"
    pair = ("--synthetic", files["synthetic"], "--pet", files["real"])
    assert evaluate(out, *pair, "--atlas", tmp_path / "atlas.nii.gz", "--atlas-space", "native") == 0
    row = next(line for line in (out / "regions.csv").read_text().splitlines() if "nowhere,network" in line)
    assert "no voxel inside the mask" in row and ",0,0.0,1.0,,,," in row
    assert "empty-region" in (out / "metrics.json").read_text()


def test_without_t1_or_mask_a_foreign_image_is_refused_and_with_a_mask_accepted(
    subject: SimulatedSubject, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(like(predicted(subject), subject.t1), tmp_path / "foreign.nii.gz", {"Units": "SUVR"})
    pair = ("--synthetic", tmp_path / "foreign.nii.gz", "--pet", files["real"])
    refused(tmp_path / "out", capsys, "no brain mask", *pair)
    assert evaluate(tmp_path / "out", *pair, "--mask", files["mask"]) == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "no-mni-transform" in json.dumps(content["quality"])
    assert content["scales"]["stated"]["baselines"][WARPED_AVERAGE]["not_available"]["all"]
