"""SUVR by region: exact on a phantom, within 2 % through a known warp, refused where it means nothing."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from browser import widths_of_tables
from MRI2PETLib import cli
from MRI2PETLib.core.errors import BundleError, InputError
from MRI2PETLib.core.files import make_folder
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.requests import Request
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.partial_volume import correct_partial_volume, tissue_maps
from MRI2PETLib.preprocessing.pet_template import built_in_pet_template, read_pet_template
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.reports.summary import Summary
from MRI2PETLib.reports.suvr_files import write_suvr
from MRI2PETLib.reports.suvr_report import write_suvr_cohort, write_suvr_report
from MRI2PETLib.reports.suvr_summary import summary_of_suvr, summary_of_suvr_cohort
from MRI2PETLib.reports.viewer import Layer, Viewer
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.suvr.agreement import agreement_table, level_table, method_errors_table, person_rows
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.files import SUVR_RECORD
from MRI2PETLib.suvr.normalisation import PET_TEMPLATE, REAL_MR, SYNTHETIC_MR
from MRI2PETLib.suvr.regional import (
    COMPOSITE,
    REFERENCE,
    REGION,
    RegionPlan,
    SuvrRow,
    plan_regions,
    pull_atlas,
    regional_suvr,
)
from MRI2PETLib.suvr.run import CaseMeasurement, SuvrCase, measure_cohort, read_cases
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import Parcellation

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)
# Balls in MNI space (RAS mm) of 20 mm radius and the activity in them; elsewhere in the brain it is 1.2.
LEVELS = {
    "frontal": ((0, 38, 22), 1.5),
    "parietal": ((0, -58, 44), 1.35),
    "left temporal": ((-42, -12, -12), 1.05),
    "right temporal": ((42, -12, -12), 1.4),
    "cerebellum": ((0, -66, -36), 1.0),
}
ELSEWHERE = 1.2
CEREBELLUM_SUVR = {name: level / 1.0 for name, (_, level) in LEVELS.items()}


def brain_and_balls(wider_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The brain of the template (0 and 1) and the labels of the balls in it, wider by some millimetres."""
    mask = dilate(load_template().mask, wider_mm) if wider_mm else load_template().mask
    index = np.indices(mask.GetSize()[::-1])[::-1]
    direction = np.reshape(mask.GetDirection(), (3, 3))
    assert np.allclose(np.abs(direction), np.eye(3))
    x, y, z = (mask.GetOrigin()[a] + direction[a, a] * mask.GetSpacing()[a] * index[a] for a in range(3))
    labels = np.zeros(x.shape, np.uint8)
    brain = sitk.GetArrayViewFromImage(mask) > 0
    for number, ((cx, cy, cz), _) in enumerate(LEVELS.values(), start=1):
        distance_2 = (-x - cx) ** 2 + (-y - cy) ** 2 + (z - cz) ** 2
        labels[brain & (distance_2 <= (20.0 + wider_mm) ** 2)] = number
    return brain, labels


@cache
def balls() -> Parcellation:
    image = sitk.GetImageFromArray(brain_and_balls()[1])
    image.CopyInformation(load_template().mask)
    return Parcellation("balls", image, dict(enumerate(LEVELS, start=1)), "mni", "balls of this test")


def plan() -> RegionPlan:
    return plan_regions(balls(), "cerebellum")


def phantom(wider_mm: float = 0.0) -> sitk.Image:
    """Activity in MNI space: constant in every region, and so far beyond it."""
    brain, labels = brain_and_balls(wider_mm)
    activity = np.where(brain, ELSEWHERE, 0.0)
    for number, (_, level) in enumerate(LEVELS.values(), start=1):
        activity[labels == number] = level
    image = sitk.GetImageFromArray(activity.astype(np.float32))
    image.CopyInformation(load_template().mask)
    return image


def by_region(rows: list[SuvrRow]) -> dict[str, float | None]:
    return {row.region: row.suvr for row in rows if row.role == "region"}


def measured(pet: sitk.Image, region_plan: RegionPlan | None = None) -> list[SuvrRow]:
    region_plan = region_plan or plan()
    return regional_suvr(pet, pull_atlas(region_plan, pet, IDENTITY), region_plan, IDENTITY, method=REAL_MR)


def test_suvr_is_exact_without_a_warp() -> None:
    rows = measured(phantom() * 7.0)  # the unit cancels
    assert by_region(rows) == pytest.approx(CEREBELLUM_SUVR, rel=1e-6)
    assert [row.role for row in rows[:2]] == [COMPOSITE, REFERENCE]
    voxels = {row.region: row.n_voxels for row in rows if row.role == "region"}
    others = [name for name in LEVELS if name != "cerebellum"]
    expected = sum(LEVELS[n][1] * voxels[n] for n in others) / sum(voxels[n] for n in others)
    assert rows[0].suvr == pytest.approx(expected, rel=1e-6)
    assert rows[1].suvr == pytest.approx(1.0)


def test_suvr_is_exact_through_a_known_deformation() -> None:
    """Labels and PET pass through the same deformation: 2 % is what nearest neighbours cost at 2 mm."""
    subject = simulate_subject(3, spacing_mm=2.0)
    back = subject.template_to_native.GetInverse()
    pet = sitk.Resample(phantom(), subject.t1, back, sitk.sitkLinear, 0.0)
    region_plan = plan()
    rows = regional_suvr(
        pet, pull_atlas(region_plan, pet, back), region_plan, subject.template_to_native, method=REAL_MR
    )
    assert by_region(rows) == pytest.approx(CEREBELLUM_SUVR, rel=0.02)


def test_regions_are_chosen_by_name_pattern_or_label() -> None:
    atlas = balls()
    region_plan = plan_regions(atlas, "5", "*temporal, Frontal")
    assert region_plan.reference == (5,) and region_plan.composite == (3, 4, 1)
    assert plan().composite == (1, 2, 3, 4)
    with pytest.raises(InputError, match="no region 'cerebelum'.*cerebellum"):
        plan_regions(atlas, "cerebelum")
    with pytest.raises(InputError, match="both the composite and the reference"):
        plan_regions(atlas, "cerebellum", "*")
    with pytest.raises(InputError, match="not in MNI space"):
        plan_regions(Parcellation("own", atlas.labels, atlas.names, "native", ""), "cerebellum")


def test_spill_over_is_taken_back() -> None:
    """Blurred by 12 mm, SUVRs of balls of 20 mm are off by up to 7 %, corrected ones by 1 % at most."""
    template = load_template()
    pet = smooth_fwhm(phantom() * sitk.Cast(template.mask, sitk.sitkFloat32), 12.0)
    labels = pull_atlas(plan(), pet, IDENTITY)
    tissues = tissue_maps(pet, IDENTITY)
    corrected = correct_partial_volume("gtm", pet, labels, tissues, 12.0)
    plain = regional_suvr(pet, labels, plan(), IDENTITY, method=REAL_MR)
    rows = regional_suvr(
        corrected.image, labels, plan(), IDENTITY, method=REAL_MR, correction=corrected.about
    )
    errors = [
        max(abs(row.suvr / CEREBELLUM_SUVR[row.region] - 1) for row in table if row.role == REGION)
        for table in (plain, rows)
    ]
    assert errors[0] > 0.04
    assert errors[1] < 0.01
    assert {row.correction for row in rows} == {"geometric transfer matrix, PSF 12 mm"}
    with pytest.raises(InputError, match="belong together"):
        SuvrSettings("atlas", "cerebellum", pvc="gtm")


def test_an_empty_reference_region_is_refused() -> None:
    atlas = balls()
    parcellation = Parcellation("balls", atlas.labels, {**atlas.names, 9: "pons"}, "mni", "")
    with pytest.raises(InputError, match="reference region is empty.*pons"):
        plan_regions(parcellation, "pons")


def test_grey_matter_only_keeps_fewer_voxels() -> None:
    whole, cut = (plan_regions(balls(), "cerebellum", grey_matter=g).atlas.labels for g in (False, True))
    a, b = (sitk.GetArrayViewFromImage(image) for image in (whole, cut))
    assert 0 < np.count_nonzero(b) < np.count_nonzero(a)
    assert (b[b > 0] == a[b > 0]).all()


def test_a_reference_region_outside_the_field_of_view_is_refused() -> None:
    pet = phantom()
    top = pet.GetSize()[2] // 2
    upper = sitk.RegionOfInterest(pet, [*pet.GetSize()[:2], pet.GetSize()[2] - top], [0, 0, top])
    with pytest.raises(InputError, match=r"cannot be used: outside the field of view of the PET \("):
        measured(upper)
    # Another reference region is seen; the cerebellum is then a region without a value, and says why.
    rows = measured(upper, plan_regions(balls(), "parietal"))
    cerebellum = next(row for row in rows if row.region == "cerebellum")
    assert cerebellum.suvr is None and "outside the field of view" in cerebellum.reason


def test_a_reference_region_that_is_not_positive_is_refused() -> None:
    for value in (0.0, -1.0):
        pet = sitk.GetArrayFromImage(phantom())
        pet[sitk.GetArrayViewFromImage(balls().labels) == 5] = value
        image = sitk.GetImageFromArray(pet)
        image.CopyInformation(phantom())
        with pytest.raises(InputError, match=f"reference region .cerebellum. is {value:.4g}, not above zero"):
            measured(image)


def test_a_reference_region_too_small_to_divide_by_is_refused() -> None:
    labels = sitk.GetArrayFromImage(balls().labels)
    where = np.argwhere(labels == 5)
    few = np.zeros_like(labels)
    few[tuple(where[len(where) // 2])] = 5
    few[labels == 1] = 1
    image = sitk.GetImageFromArray(few)
    image.CopyInformation(load_template().mask)
    atlas = Parcellation("few", image, {1: "frontal", 5: "cerebellum"}, "mni", "")
    with pytest.raises(InputError, match="0.008 mL on the PET"):
        measured(phantom(), plan_regions(atlas, "cerebellum"))


def test_a_pet_template_of_another_space_is_refused() -> None:
    far = phantom()
    far.SetOrigin([o + 150 for o in far.GetOrigin()])
    with pytest.raises(InputError, match="does not fill the brain of MNI space"):
        read_pet_template(far)
    assert read_pet_template(phantom()).GetSize() == load_template().t1.GetSize()


def row(method: str, value: float, role: str = COMPOSITE, region: str = COMPOSITE) -> SuvrRow:
    return SuvrRow(method, region, None, role, 100, 1.0, value, value, 1.0)


def test_agreement_over_people_by_hand() -> None:
    """Four people, one of them scanned twice; the differences are +.1, -.1, +.3, +.1."""
    gold = {"a": 1.2, "b": 1.4, "c": 1.6, "d": 1.3}
    other = {"a": 1.3, "b": 1.3, "c": 1.9, "d": 1.4}
    scans = [
        (s, "AD" if s < "c" else "NC", [row(REAL_MR, gold[s]), row(PET_TEMPLATE, other[s])]) for s in gold
    ]
    scans[3:] = [
        ("d", "NC", [row(REAL_MR, 1.2), row(PET_TEMPLATE, 1.35), row(REAL_MR, 1.0, REFERENCE, "cerebellum")]),
        ("d", "NC", [row(REAL_MR, 1.4), row(PET_TEMPLATE, 1.45)]),
    ]
    rows = person_rows(scans)
    (result,) = agreement_table(rows)
    difference = np.array([0.1, -0.1, 0.3, 0.1])
    assert (result.method, result.n_people) == (PET_TEMPLATE, 4)
    assert result.mae == pytest.approx(0.15) and result.mae_sd == pytest.approx(0.1)
    assert result.bias == pytest.approx(0.1)
    assert result.upper_limit == pytest.approx(0.1 + 1.96 * difference.std(ddof=1))
    test = stats.ttest_1samp(difference, 0)
    assert result.p == pytest.approx(test.pvalue)
    ends = test.confidence_interval(0.95)
    assert (result.bias_low, result.bias_high) == pytest.approx((ends.low, ends.high))
    assert result.icc is not None and result.icc < result.r  # the bias lowers it
    levels = {(level.group, level.method): level.mean for level in level_table(rows)}
    assert levels["AD", REAL_MR] == pytest.approx(1.3) and levels["NC", PET_TEMPLATE] == pytest.approx(1.65)
    assert agreement_table([r for r in rows if r.method != REAL_MR]) == []


def test_methods_are_compared_on_the_same_scans() -> None:
    """The template is right wherever it ran; it failed in the second scan of the first person."""
    scans = []
    for number in range(4):
        for later in (0.0, 0.6):
            value = 1.0 + 0.1 * number + later
            has_template = number or not later
            scans.append(
                (f"p{number}", "", [row(REAL_MR, value)] + [row(PET_TEMPLATE, value)] * bool(has_template))
            )
    (result,) = agreement_table(person_rows(scans))
    assert (result.n_people, result.mae, result.bias) == (4, pytest.approx(0), pytest.approx(0))


def test_people_of_two_groups_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("case,subject,pet,group\na,p,a.nii,MCI\nb,p,b.nii,AD\n")
    with pytest.raises(InputError, match="'p' has the group 'MCI' in 'a' and 'AD' in 'b'"):
        read_cases(table, Reporter())


def test_errors_of_methods_are_compared_person_by_person() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(1.3, 0.1, 12)
    synthetic, template = real + rng.normal(0, 0.03, 12), real + rng.normal(0.1, 0.06, 12)
    scans = []
    for number in range(12):
        values = {REAL_MR: real, SYNTHETIC_MR: synthetic, PET_TEMPLATE: template}
        rows = [row(method, float(own[number])) for method, own in values.items()]
        rows += [row(method, float(own[number]), REGION, "frontal") for method, own in values.items()]
        scans.append((f"p{number}", "", rows))
    composite, frontal = method_errors_table(person_rows(scans))
    errors = np.abs(synthetic - real), np.abs(template - real)
    assert (composite.first, composite.second, composite.n_people) == (SYNTHETIC_MR, PET_TEMPLATE, 12)
    assert composite.paired.difference == pytest.approx(errors[0].mean() - errors[1].mean())
    assert (
        composite.paired.p == pytest.approx(stats.wilcoxon(*errors).pvalue)
        and composite.paired.fdr == composite.paired.p
    )
    assert frontal.region == "frontal" and frontal.paired.p == composite.paired.p
    assert method_errors_table(person_rows([(s, g, rows[1:3]) for s, g, rows in scans])) == []  # no real MR


def test_the_reports_hold_every_table_and_say_what_failed(tmp_path: Path) -> None:
    def tables(value: float) -> list[SuvrRow]:
        methods = (REAL_MR, PET_TEMPLATE)
        own = [row(method, value + n / 10) for n, method in enumerate(methods)]
        return own + [row(method, 1.0, REFERENCE, "cerebellum") for method in methods]

    names = ", ".join(
        f"{side} cerebellar {part}" for side in ("left", "right") for part in ("cortex", "nuclei")
    )
    why = "the PET measured 43.2 % of this region only: it was cut at the edge of the scanner, no number"
    wide = [row(method, 1.0, REGION, names)._replace(reason=why) for method in (REAL_MR, PET_TEMPLATE)]
    (tmp_path / "suvr.png").write_bytes(b"picture")
    content: dict[str, Any] = {
        "Quality": {"level": "warn", "findings": [{"message": "It is <odd>.", "hint": "Look."}]},
        "Regions": {"reference": ["cerebellum"], "composite": ["frontal"], "atlas": "balls"},
        "Composite": {REAL_MR: 1.2},
        "PetTemplate": "mean",
        "Failed": {"synthetic MR": "no model"},
        "PetCoverage": {REAL_MR: 1.0},
        "Normalisation": {},
        "Settings": {"reference": "cerebellum", "pvc": "none"},
        "Source": {"pet": {"path": "x"}, "t1": None},
        "Simulated": True,
    }
    pet = sitk.Image(4, 4, 4, sitk.sitkFloat32) + 1.0
    layers = [Layer("PET", pet, "SUVR", np.eye(3), (0.0, 1.0), "PET")]
    viewer = Viewer(layers, sitk.Cast(pet, sitk.sitkUInt8), (0.0, 0.0, 0.0), {})
    page = write_suvr_report(tmp_path, "title", content, [*tables(1.2), *wide], viewer).read_text()
    assert 'id="viewer-data"' in page
    for words in ("SIMULATED", "It is &lt;odd&gt;. Look.", "synthetic MR could not be used: no model", "1.2"):
        assert words in page, words
    folder = make_folder(tmp_path / "images")  # of the person in the middle
    write_image(phantom(), folder / "suvr_pet.nii.gz", {"Units": "SUVR"})
    write_image(sitk.Cast(balls().labels, sitk.sitkInt32), folder / "labels_real_mr.nii.gz", {})
    write_image(sitk.Cast(load_template().t1, sitk.sitkFloat32), folder / "T1.nii.gz", {})
    shutil.copyfile(tmp_path / "suvr.png", folder / "suvr.png")
    images = {"suvr": folder / "suvr_pet.nii.gz", "picture": folder / "suvr.png"}
    images |= {"labels": {REAL_MR: {"image": folder / "labels_real_mr.nii.gz"}}}
    moved = {"t1_to_pet_lps": np.eye(4).tolist()}
    people = []
    for n, s in enumerate("abc"):
        about = {
            **content,
            "Composite": {REAL_MR: 1.5 - n / 5},
            "Simulated": s == "b",
            "Normalisation": {REAL_MR: {"pet_to_t1": moved}},
        }
        one = CaseMeasurement(Request({}), tables(1 + n / 5), about, images if s == "b" else {})
        people.append((SuvrCase(s, s, SuvrPaths(tmp_path, t1=folder / "T1.nii.gz")), one))
    agreement = write_suvr_cohort(
        tmp_path / "all", tmp_path / "cases.csv", setup(plan()), people, {"broken": "no image"}, Reporter()
    )
    assert agreement[0].bias == pytest.approx(0.1) and agreement[0].n_people == 3
    page = (tmp_path / "all" / "report.html").read_text()
    for words in ("1 PET could not be measured", "broken: no image", "Bland-Altman agreement", "image/png"):
        assert words in page, words
    assert "1 of 3 PETs: The person is SIMULATED" in page
    assert "b: its composite SUVR is the median" in page and "3 PETs of 3 people, 1 could not" in page
    for report in (tmp_path / "report.html", tmp_path / "all" / "report.html"):
        on_screen, on_paper = widths_of_tables(report, tmp_path / "profile")
        assert 0 < on_screen <= 1200 and 0 < on_paper <= 1047
    data = json.loads(page.partition('id="viewer-data">')[2].partition("</script>")[0])
    assert [layer["name"] for layer in data["layers"]] == [REAL_MR, "PET"]
    assert data["regions"][0]["names"][1:] == list(LEVELS)
    names = {"suvr.csv", "levels.csv", "agreement.csv", "cohort.json", "report.html", SUVR_RECORD}
    assert {p.name for p in (tmp_path / "all").iterdir()} == names


def test_a_table_of_cases(tmp_path: Path) -> None:
    """A training manifest, semicolons included: units are used, cases marked to be left out are left out."""
    table = tmp_path / "manifest.csv"
    table.write_text(
        "case;subject;t1;pet;unit;window_min;group;exclude\n"
        "a_1;a;x/T1.nii.gz;x/PET.nii.gz;SUVbw;40-60;AD;\n"
        "b_1;b;;y.nii.gz;;;;no\n"
        "c_1;c;;z.nii.gz;;;;moved\n"
    )
    heard: list[str] = []
    listener = Reporter()
    listener.warning = heard.append  # type: ignore[method-assign]
    first, second = read_cases(table, listener, SuvrPaths(table, pet_unit="Bq/mL", window=(50, 70)))
    paths = SuvrPaths(tmp_path / "x/PET.nii.gz", tmp_path / "x/T1.nii.gz", None, "SUV", (40, 60))
    assert first == SuvrCase("a_1", "a", paths, "AD")
    assert second.paths == SuvrPaths(tmp_path / "y.nii.gz", None, None, "Bq/mL", (50, 70))
    assert heard == ["c_1 is left out: moved"]
    table.write_text("case,pet,window_min\na,b,sixty\n")
    with pytest.raises(InputError, match="'sixty' is not a window of frames"):
        read_cases(table, listener)
    for text, message in (
        ("case,t1\na,b\n", r"lacks the column\(s\) pet"),
        ("case,pet\na,\n", "Line 2 .* has no pet"),
        ("case,pet,exclude\na,b,yes\n", "All cases of .* are left out"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=message):
            read_cases(table, listener)


def test_the_command_line_refuses_in_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_image(phantom(), tmp_path / "PET.nii.gz", {"Units": "SUV"})
    common = ["-o", str(tmp_path / "out"), "--atlas", "cortical-spheres", "--progress", "none"]
    reference = ["--reference", "*cerebellum*"]
    pet = str(tmp_path / "PET.nii.gz")
    assert cli.main(["suvr", *common, *reference]) == InputError.exit_code
    assert cli.main(["suvr", pet, *common, "--reference", "nothing"]) == InputError.exit_code
    assert "has no region 'nothing'" in capsys.readouterr().err
    # The shipped model makes a PET from a T1: the wrong way round.
    assert cli.main(["suvr", pet, *common, *reference, "--model", "tspo-demo"]) == BundleError.exit_code
    assert "an MRI from a PET is needed" in capsys.readouterr().err
    write_image(phantom(), tmp_path / "PET.nii.gz", {"Units": "normalised"})
    assert cli.main(["suvr", pet, *common, *reference]) == InputError.exit_code
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(4, spacing_mm=2.0)


def setup(region_plan: RegionPlan) -> SuvrSetup:
    return SuvrSetup(
        SuvrSettings("cortical-spheres", "*cerebellum*", pet_segmentation=True),
        region_plan,
        {"TSPO": built_in_pet_template()},
    )


@pytest.fixture(scope="module")
def cohort(person: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """One person with a PET of known regional means, and one broken file.

    The activity goes on for 2 mm, a voxel of the atlas, beyond each region. Ending with the region it would
    ask for its border, not its mean: where a person's border lies is known to about 2 mm (root mean square
    of the nonlinear registration of eight simulated people), and with steps of a fifth in the activity that
    is up to 4 % of a ball's mean over the reference.
    """
    folder = tmp_path_factory.mktemp("suvr")
    pet = sitk.Resample(phantom(2.0), person.t1, person.template_to_native.GetInverse(), sitk.sitkLinear, 0.0)
    write_image(pet, folder / "PET.nii.gz", {"Units": "SUV", "Simulated": True})
    write_image(person.t1, folder / "T1.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no image")
    cases = [
        SuvrCase("one", "one", SuvrPaths(folder / "PET.nii.gz", folder / "T1.nii.gz")),
        SuvrCase("two", "two", SuvrPaths(folder / "broken.nii.gz")),
    ]
    return folder, measure(cases, folder / "out")


def measure(cases: list[SuvrCase], output: Path) -> dict[str, str]:
    """Measure and write a cohort; case -> reason of those that failed."""
    measured, failed = measure_cohort(cases, setup(plan()), output, write_suvr, Reporter())
    agreement = write_suvr_cohort(output, output / "cases.csv", setup(plan()), measured, failed, Reporter())
    assert len(measured) == 1 and agreement[0].n_people == 1
    return failed


@pytest.mark.slow
def test_suvr_through_the_persons_mri_is_within_2_percent(cohort: tuple[Path, dict]) -> None:
    content = json.loads((cohort[0] / "out/one/suvr.json").read_text())
    result = {
        r["region"]: r["suvr"] for r in content["Table"] if (r["method"], r["role"]) == (REAL_MR, "region")
    }
    assert result == pytest.approx(CEREBELLUM_SUVR, rel=0.02)


@pytest.mark.slow
def test_a_cohort_goes_on_after_a_broken_file_and_keeps_what_is_there(cohort: tuple[Path, dict]) -> None:
    folder, failed = cohort
    assert list(failed) == ["two"]
    for name in ("suvr.csv", "agreement.csv", "levels.csv", "cohort.json", "report.html"):
        assert (folder / "out" / name).is_file()
    for name in ("suvr.csv", "suvr.png", "suvr_pet.nii.gz", "labels_real_mr.nii.gz"):
        assert (folder / "out/one" / name).is_file()
    written = (folder / "out/one/suvr.json").stat().st_mtime_ns
    cases = [SuvrCase("one", "one", SuvrPaths(folder / "PET.nii.gz", folder / "T1.nii.gz"))]
    measure(cases, folder / "out")
    assert (folder / "out/one/suvr.json").stat().st_mtime_ns == written


def test_the_summary_is_that_of_the_interval_of_the_bias() -> None:
    rng = np.random.default_rng(4)
    real = rng.uniform(1, 2, 12)

    def summary(bias: float) -> Summary:
        noise = rng.normal(0, 0.05, 12)
        scans = [
            (f"p{n}", "", [row(REAL_MR, own), row(PET_TEMPLATE, own + bias + noise[n] - noise.mean())])
            for n, own in enumerate(real.tolist())
        ]
        return summary_of_suvr_cohort(agreement_table(person_rows(scans)))

    good, high = summary(0.0), summary(0.5)
    assert good.kind == "ok" and "A bias of 0 lies in the interval" in good.verdict
    assert high.kind == "refuse" and "too much" in high.verdict
    assert high.table is not None and str(high.table.rows[0][3]).startswith("0.500 (")
    nobody = summary_of_suvr_cohort([])
    assert nobody.table is None and "Nobody has an MRI" in nobody.verdict
    one = summary_of_suvr({REAL_MR: 1.25, PET_TEMPLATE: 1.5, SYNTHETIC_MR: None})
    assert one.table is not None and "1.25 by the real MR" in one.verdict
    assert [line[1:] for line in one.table.rows] == [[1.25, None], [1.5, "20.0"], [None, None]]
    assert summary_of_suvr({REAL_MR: None}).verdict.startswith("By the real MR there is no composite")
