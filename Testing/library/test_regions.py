"""Regions: built-in parcellations, label maps and tables from files, sides, spaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.images.io import write_image
from MRI2PETLib.templates import atlases
from MRI2PETLib.templates.atlases import read_parcellation
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.label_tables import read_label_table
from MRI2PETLib.templates.regions import (
    Parcellation,
    built_in_parcellations,
    check_overlap,
    check_sides,
    overlap,
    pull_labels,
    region_voxels,
)
from MRI2PETLib.templates.sides import side_of

PAPER21 = (
    "accumbens amygdala pallidum caudate putamen hippocampus thalamus brainstem "
    "lateral ventricle cerebral white matter cerebral cortex"
)


def two_blobs(names: dict[int, str], *, space: str = "mni") -> Parcellation:
    """Label 1 at x = -30 mm (left), label 2 at x = +30 mm (right) on the template grid."""
    template = load_template().mask
    labels = np.zeros(template.GetSize()[::-1], dtype=np.uint8)
    for label, x_ras in ((1, -30.0), (2, 30.0)):
        i, j, k = template.TransformPhysicalPointToIndex((-x_ras, 20.0, 20.0))
        labels[k - 3 : k + 4, j - 3 : j + 4, i - 3 : i + 4] = label
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(template)
    return Parcellation("blobs", image, names, space, "test")  # type: ignore[arg-type]


def test_the_paper_has_21_regions_and_ours_lie_on_the_side_of_their_name() -> None:
    for parcellation in built_in_parcellations():
        assert check_sides(parcellation) == ()
    paper = built_in_parcellations()[-1]
    assert paper.name == "paper21" and len(paper.names) == 21
    bare = {name.removeprefix("left ").removeprefix("right ") for name in paper.names.values()}
    assert all(name in PAPER21 for name in bare) and len(bare) == 11
    assert "which they are not" in paper.source
    result = np.unique(sitk.GetArrayViewFromImage(paper.labels))
    assert set(paper.names) == set(result.tolist()) - {0}


def test_left_and_right_are_mirror_images() -> None:
    labels = sitk.GetArrayFromImage(built_in_parcellations()[1].labels)
    assert np.count_nonzero(labels == 1) == np.count_nonzero(labels == 2)
    template = load_template().mask
    i, j, k = template.TransformPhysicalPointToIndex((40.0, 0.0, 10.0))  # LPS +x = patient's left
    assert labels[k, j, i] == 1


def test_coordinate_regions_lie_in_the_harvard_oxford_structures(shared_data: Path) -> None:
    """The share of each coordinate region that is in the Harvard-Oxford label of its name."""
    file = "HarvardOxfordsub-maxprob-thr25_space-MNI152NLin6_res-2x2x2.nii.gz"
    atlas = sitk.ReadImage(str(shared_data / "atlas" / file))
    order = (
        "cerebral white matter,cerebral cortex,lateral ventricle,thalamus,caudate,putamen,pallidum,brainstem,"
        "hippocampus,amygdala,accumbens"
    ).split(",")
    left = {name: value for value, name in enumerate(order, start=1)}
    right = {n: v for v, n in enumerate([n for n in order if n != "brainstem"], start=12)} | {"brainstem": 8}
    paper = built_in_parcellations()[-1]
    moved = sitk.Resample(
        atlas, paper.labels, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0
    )
    reference, labels = sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(paper.labels)
    for label, name in paper.names.items():
        bare = name.removeprefix("left ").removeprefix("right ")
        expected = (right if name.startswith("right") else left)[bare]
        share = float((reference[labels == label] == expected).mean())
        large = bare.startswith(("cerebral", "lateral"))
        assert share > (0.7 if large else 0.85), f"{name}: {share:.2f}"


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Left-Thalamus", "left"),
        ("ctx-rh-insula", "right"),
        ("L_caudal_anterior_cingulate_cortex", "left"),
        ("Right Cerebral White Matter", "right"),
        ("thalamus_R", "right"),
        ("Brain-Stem", None),
        ("lateral", None),
        ("left-right commissure", None),
        ("LeftCaudate", "left"),
        ("rhCerebralWhiteMatter", "right"),
        ("LThalamus", "left"),
        ("LateralVentricle", None),
        ("Lingual", None),
        ("R_V1_ROI", "right"),
    ],
)
def test_side_of_a_name(name: str, side: str | None) -> None:
    assert side_of(name) == side


def test_a_table_with_left_and_right_swapped_is_refused() -> None:
    assert check_sides(two_blobs({1: "L thing", 2: "R thing"})) == ()
    with pytest.raises(InputError, match="2 of 2 regions .* side of their name"):
        check_sides(two_blobs({1: "R thing", 2: "L thing"}))


def test_the_circulating_harvard_oxford_table_with_swapped_sides_is_refused(
    shared_data: Path, tmp_path: Path
) -> None:
    file = "HarvardOxfordsub-maxprob-thr25_space-MNI152NLin6_res-2x2x2.nii.gz"
    names = (
        "WM Cortex Ventricle Thalamus Caudate Putamen Pallidum Brainstem Hippocampus Amygdala NAcc".split()
    )
    rows = [f"{n},Right {name}" if name != "Brainstem" else f"{n},{name}" for n, name in enumerate(names, 1)]
    names.remove("Brainstem")
    rows += [f"{n},Left {name}" for n, name in enumerate(names, 12)]
    (tmp_path / "swapped.csv").write_text("\n".join(rows))
    atlas = read_parcellation(shared_data / "atlas" / file, tmp_path / "swapped.csv", space="mni")
    with pytest.raises(InputError, match="20 of 20"):
        check_sides(atlas)


def test_pulling_labels_follows_the_transform_and_invents_none() -> None:
    shift = sitk.TranslationTransform(3, (12.0, -8.0, 6.0))  # MNI point -> native point
    parcellation = two_blobs({1: "L thing", 2: "R thing"})
    reference = sitk.Image(200, 220, 200, sitk.sitkUInt8)
    reference.SetOrigin((-90.0, -120.0, -80.0))
    pulled = pull_labels(parcellation, reference, shift)
    assert set(np.unique(pulled).tolist()) == {0, 1, 2}
    k, j, i = (float(v.mean()) for v in np.nonzero(pulled == 1))
    centre = reference.TransformContinuousIndexToPhysicalPoint((i, j, k))
    assert centre == pytest.approx((30.0 + 12, 20.0 - 8, 20.0 + 6), abs=1.1)  # LPS; one 2 mm voxel


def test_mni_regions_need_a_transform_and_native_ones_do_not() -> None:
    native = two_blobs({1: "a", 2: "b"}, space="native")
    assert pull_labels(native, load_template().mask, None).max() == 2
    with pytest.raises(InputError, match="MNI space"):
        pull_labels(two_blobs({1: "a"}), load_template().mask, None)


def test_an_atlas_in_the_wrong_space_is_refused() -> None:
    tissue = built_in_parcellations()[0]
    brain = sitk.GetArrayViewFromImage(load_template().mask)
    right = pull_labels(tissue, load_template().mask, sitk.Transform(3, sitk.sitkIdentity))
    assert check_overlap(tissue, right, brain) == pytest.approx(1)
    away = sitk.TranslationTransform(3, (0.0, 60.0, 0.0))
    wrong = pull_labels(tissue, load_template().mask, away)
    with pytest.raises(InputError, match="does not lie on the brain.*native"):
        check_overlap(tissue, wrong, brain)
    assert overlap(np.zeros(brain.shape), brain) == 0


def test_region_voxels_are_those_of_the_label_inside_the_brain() -> None:
    parcellation = two_blobs({1: "a", 2: "b", 7: "not there"})
    labels = sitk.GetArrayFromImage(parcellation.labels)
    brain = np.ones(labels.shape, dtype=bool)
    brain[labels == 2] = False
    result = {r.name: r.index for r in region_voxels(parcellation, labels, brain, np.ones_like(brain))}
    assert np.array_equal(np.sort(result["a"]), np.flatnonzero(labels == 1))
    assert not result["b"].size and not result["not there"].size


TABLES = {
    "plain.csv": "1,Left-Thalamus\n2,Right-Thalamus\n",
    "header.csv": "\ufeffIndex;Name;R\n1;Left-Thalamus;3\n",
    "slicer.csv": "LabelValue,Name,Color_R\n1,Left-Thalamus,10\n2,Right-Thalamus,20\n",
    "dseg.tsv": "index\tname\tabbreviation\n1\tLeft-Thalamus\tLT\n2\tRight-Thalamus\tRT\n",
    "names.json": json.dumps({"1": "Left-Thalamus", "2": "Right-Thalamus"}),
    "reverse.json": json.dumps({"Left-Thalamus": 1, "Right-Thalamus": 2}),
    "nested.json": json.dumps({"labels": {"1": "Left-Thalamus"}}),
    "list.json": json.dumps([{"label": 1, "name": "Left-Thalamus"}, {"label": 2, "name": "b"}]),
    "FreeSurferColorLUT.txt": "#No. Label Name:  R G B A\n0 Unknown 0 0 0 0\n1 Left-Thalamus 0 118 14 0\n",
    "index_label.tsv": "index\tlabel\n1\tLeft-Thalamus\n2\tRight-Thalamus\n",
    "number_and_index.csv": "index,label,name\n0,1,Left-Thalamus\n1,2,Right-Thalamus\n",
    "names_first.csv": "Left-Thalamus;1\nRight-Thalamus;2\n",
    "tabs.txt": "1\tLeft-Thalamus\t0\t118\n2\tRight-Thalamus\t0\t118\n",
    "utf16.tsv": "index\tname\n1\tLeft-Thalamus\n".encode("utf-16"),
    "itksnap.txt": '# ITK-SnAP\n0 0 0 0 0 0 0 "Clear Label"\n   1  0 118 14  1 1 1  "Left-Thalamus"\n',
    "itksnap.label": "0 0 0 0 0 0 0 Clear\n1 255 0 0 1 1 1 Left-Thalamus\n2 0 9 0 1 1 1 Area 44\n",
    "mricron.txt": "1 Left-Thalamus 7101\n2 Right-Thalamus 7102\n",
    "quoted.ctbl": '0 "Background" 0 0 0 0\n1 "Left-Thalamus" 1 2 3 255\n',
    "bids.json": json.dumps({"Atlas": "x", "Resolution": 2, "LabelMap": {"BG": 0, "Left-Thalamus": 1}}),
    "sidecar.json": json.dumps({"Units": "SUVR", "Labels": {"1": "Left-Thalamus"}}),
    "slicer.ctbl": "# Color table file C:/x.ctbl\n0 Background 0 0 0 0\n1 Left-Thalamus 1 2 3 255\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_label_tables_in_all_formats(name: str, tmp_path: Path) -> None:
    content = TABLES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    names = read_label_table(tmp_path / name).names
    assert names[1] == "Left-Thalamus" and 0 not in names


def test_a_column_of_sides_tells_equal_names_apart(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("value,region,hemisphere\n1,Thalamus,left\n2,Thalamus,right\n")
    assert read_label_table(tmp_path / "t.csv").names == {1: "left Thalamus", 2: "right Thalamus"}
    (tmp_path / "t.csv").write_text("value,region,hemisphere\n1,Brainstem,\n2,Left Thalamus,left\n")
    assert read_label_table(tmp_path / "t.csv").names == {1: "Brainstem", 2: "Left Thalamus"}


def test_numbers_that_belong_to_a_name_stay_in_it(tmp_path: Path) -> None:
    for content, names in (
        ("1 Area 44\n2 Area 45\n", {1: "Area 44", 2: "Area 45"}),
        ("1 Area 44 9 9 9 0\n2 Hilus 0 0 0 0\n", {1: "Area 44", 2: "Hilus"}),
        ("1 Left Thalamus 0 118 14 0\n2 3rd-Ventricle 1 1 1 0\n", {1: "Left Thalamus", 2: "3rd-Ventricle"}),
        ('1 9 9 9 1 1 1 "Area 44"\n2 9 9 9 1 1 1 "Area 45"\n', {1: "Area 44", 2: "Area 45"}),
    ):
        (tmp_path / "lut.txt").write_text(content)
        assert read_label_table(tmp_path / "lut.txt").names == names


def test_a_table_in_another_encoding_is_read_and_told(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("1 Écorce 0 0 0 0\n".encode("latin-1"))
    table = read_label_table(tmp_path / "t.txt")
    assert table.names == {1: "Écorce"} and table.findings[0].code == "table-encoding"


def test_a_sidecar_without_labels_is_no_table(tmp_path: Path) -> None:
    write_image(two_blobs({}).labels, tmp_path / "atlas.nii.gz", {"EchoTime": 1, "Units": "none"})
    with pytest.raises(InputError, match="label map without names"):
        read_parcellation(tmp_path / "atlas.nii.gz", space="mni")
    write_image(two_blobs({}).labels, tmp_path / "atlas.nii.gz", {"Labels": {"1": "a", "2": "b"}})
    assert read_parcellation(tmp_path / "atlas.nii.gz", space="mni").names == {1: "a", 2: "b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\nc,d\n", "holds no label"),
        ("", "holds no label"),
        ("1,one\n1,two\n", "twice"),
        ("\x00\xff\xfe", "damaged|not a text"),
    ],
)
def test_bad_label_tables_say_what_is_wrong(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_label_table(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_label_table(tmp_path / "missing.csv")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_label_table(tmp_path / "bad.json")


def test_a_label_map_finds_its_table_beside_it_or_says_that_there_is_none(tmp_path: Path) -> None:
    image = two_blobs({}).labels
    write_image(image, tmp_path / "atlas.nii.gz")
    with pytest.raises(InputError, match="label map without names"):
        read_parcellation(tmp_path / "atlas.nii.gz", space="mni")
    (tmp_path / "atlas.csv").write_text("0,background\n1,Left thing\n9,absent\n")
    result = read_parcellation(tmp_path / "atlas.nii.gz", space="mni")
    assert result.names == {1: "Left thing", 2: "label 2"}
    (tmp_path / "other.csv").write_text("8,a\n9,b\n")
    with pytest.raises(InputError, match="names none of the 2 labels"):
        read_parcellation(tmp_path / "atlas.nii.gz", tmp_path / "other.csv", space="mni")


def test_a_slicer_segmentation_brings_its_names(tmp_path: Path) -> None:
    image = sitk.Image(two_blobs({}).labels)
    for number, (label, name) in enumerate({1: "Left thing", 2: "Right thing"}.items()):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(label))
    path = tmp_path / "Segmentation.seg.nrrd"
    sitk.WriteImage(image, str(path))
    result = read_parcellation(path, space="native")
    assert result.names == {1: "Left thing", 2: "Right thing"} and result.name == "Segmentation"


def test_a_probability_map_is_no_label_map(tmp_path: Path) -> None:
    write_image(load_template().gm, tmp_path / "gm.nii.gz")
    (tmp_path / "gm.csv").write_text("1,gm\n")
    with pytest.raises(InputError, match="fractional"):
        read_parcellation(tmp_path / "gm.nii.gz", space="mni")


def test_harvard_oxford_without_nilearn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(DependencyError, match="nilearn"):
        atlases.fetch_harvard_oxford()


def test_harvard_oxford_without_network_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("nilearn.datasets")

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(datasets, "fetch_atlas_harvard_oxford", offline)
    with pytest.raises(InputError, match="could not be fetched"):
        atlases.fetch_harvard_oxford(tmp_path)
