"""What is made from an image lies on it in every reader: both forms of a NIfTI header, codes, sizes, unit.

Readers asked: nibabel (which FSL agrees with) and ITK (which Slicer uses).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.formats import is_output
from MRI2PETLib.images.grid import Grid, crop_to, resample
from MRI2PETLib.images.io import LoadedImage, read_image, read_mask, same_grid, write_image
from MRI2PETLib.preprocessing.pet_template import built_in_pet_template
from MRI2PETLib.simulation import simulate_subject
from nifti_headers import (
    Change,
    affine,
    apart,
    corner_distance,
    seen_by_itk,
    seen_by_nibabel,
    two_poses,
    write_nifti_header,
)

pytestmark = pytest.mark.usefixtures("quick_registration")

SIZE = (40, 44, 38)
ARRAY = np.random.default_rng(1).uniform(0, 100, SIZE).astype(np.float32)
S, Q = two_poses()
# Where nibabel puts an image without an orientation.
NONE = affine(corner=(78, -86, -74), axes=(-1, 1, 1))


def field(**values: Any) -> Change:
    """Set raw fields of a header."""

    def change(header: Any) -> None:
        for name, value in values.items():
            header[name] = value

    return change


def sizes(*values: float) -> Change:
    """Set the voxel sizes in pixdim."""

    def change(header: Any) -> None:
        header["pixdim"][1:4] = values

    return change


def findings(loaded: LoadedImage) -> dict[str, str]:
    return {f.code: f.level for f in loaded.verdict.findings}


@pytest.mark.parametrize("out", ["pet.nii", "pet.nii.gz"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (1, 0), (0, 1), (2, 4), (4, 2), (0, 0)])
def test_an_output_has_the_forms_of_its_input(tmp_path: Path, codes: tuple[int, int], out: str) -> None:
    """sform and qform differ by 3 degrees and 3 mm; (0, 0) is stored as FSL stores LAS."""
    path = write_nifti_header(
        tmp_path / "t1.nii.gz",
        ARRAY,
        sform=(S, codes[0]),
        qform=(Q, codes[1]),
        change=(lambda h: h["pixdim"].__setitem__(0, -1)) if codes == (0, 0) else None,
    )
    t1 = read_image(path, kind="t1")
    write_image(t1.image * 2, tmp_path / out, forms=t1.forms)
    assert apart(path, tmp_path / out, SIZE) == (0, 0)
    again = read_image(tmp_path / out, kind="pet")
    assert same_grid(again.image, t1.image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again.image).T, 2 * ARRAY)
    expected = {"sform-qform"} if all(codes) else set() if any(codes) else {"orientation-unknown"}
    assert set(findings(t1)) == expected
    import nibabel as nib

    header = nib.load(tmp_path / out).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes
    assert nib.load(tmp_path / out).get_data_dtype() == np.float32


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nrrd"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (1, 0), (0, 1), (2, 4), (4, 2)])
def test_a_mask_drawn_in_slicer_lies_on_the_voxels_it_was_drawn_on(
    tmp_path: Path, codes: tuple[int, int], name: str
) -> None:
    """Slicer shows a T1 with two orientations elsewhere than nibabel does, and writes masks there."""
    path = write_nifti_header(tmp_path / "t1.nii.gz", ARRAY, sform=(S, codes[0]), qform=(Q, codes[1]))
    t1 = read_image(path, kind="t1")
    sitk.WriteImage(sitk.ReadImage(str(path)) > 50, str(tmp_path / name))
    mask = read_mask(tmp_path / name, t1.forms)
    assert same_grid(mask, t1.image, 0.05)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask).T, ARRAY > 50)


def test_a_mask_that_lies_anywhere_else_stays_there(tmp_path: Path) -> None:
    path = write_nifti_header(tmp_path / "t1.nii.gz", ARRAY, sform=(S, 2), qform=(Q, 1))
    t1 = read_image(path, kind="t1")
    shifted = sitk.ReadImage(str(path)) > 50
    shifted.SetOrigin([v + 1 for v in shifted.GetOrigin()])
    for image in (t1.image > 50, shifted):
        sitk.WriteImage(image, str(tmp_path / "mask.nii.gz"))
        assert same_grid(read_mask(tmp_path / "mask.nii.gz", t1.forms), image, 0.05)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (1, 0), (0, 1), (0, 0)])
def test_a_format_of_one_orientation_takes_that_of_itk(
    tmp_path: Path, codes: tuple[int, int], suffix: str
) -> None:
    path = write_nifti_header(tmp_path / "t1.nii", ARRAY, sform=(S, codes[0]), qform=(Q, codes[1]))
    t1 = read_image(path, kind="t1")
    write_image(t1.image, tmp_path / f"pet{suffix}", forms=t1.forms)
    assert corner_distance(seen_by_itk(path), seen_by_itk(tmp_path / f"pet{suffix}"), SIZE) < 1e-4


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nifti_made_from_other_formats_has_one_orientation_twice(tmp_path: Path, suffix: str) -> None:
    image = Grid(SIZE, (4.0, 4.0, 4.0), (-70.0, 31.5, -12.25)).image(ARRAY.T)
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.1, -0.2, 0.3)
    image.SetDirection(rotation.GetMatrix())
    t1 = read_image(write_image(image, tmp_path / f"t1{suffix}"), kind="t1")
    path = write_image(t1.image, tmp_path / "pet.nii.gz", forms=t1.forms)
    source = seen_by_itk(tmp_path / f"t1{suffix}")
    assert corner_distance(source, seen_by_itk(path), SIZE) < 1e-4
    assert corner_distance(source, seen_by_nibabel(path), SIZE) < 1e-4


@pytest.mark.parametrize("unit", [1, 2, 3])
@pytest.mark.parametrize("true", [True, False], ids=["true", "wrong"])
def test_units_of_length_are_carried(tmp_path: Path, unit: int, true: bool) -> None:
    """Metres and micrometres; ITK multiplies by them whether or not they are meant, nibabel never."""
    factor = {1: 1e-3, 2: 1.0, 3: 1e3}[unit] if true else 1.0
    matrix = affine()
    matrix[:3] *= factor
    path = write_nifti_header(
        tmp_path / "t1.nii", ARRAY, sform=(matrix, 1), qform=(matrix, 1), change=field(xyzt_units=unit)
    )
    t1 = read_image(path, kind="t1")
    assert t1.image.GetSpacing() == pytest.approx((4, 4, 4), rel=1e-5)
    write_image(t1.image, tmp_path / "pet.nii.gz", forms=t1.forms)
    assert apart(path, tmp_path / "pet.nii.gz", SIZE) == (0, 0)


@pytest.mark.parametrize(
    ("codes", "change", "used", "code", "level"),
    [
        ((1, 1), field(quatern_b=0, quatern_c=0, quatern_d=1.0000005), S, "quaternion-length", "ok"),
        ((0, 1), field(quatern_b=0, quatern_c=0, quatern_d=1.0000005), None, "quaternion-length", "ok"),
        ((0, 1), field(quatern_b=0, quatern_c=0, quatern_d=1.5), None, "quaternion-length", "warn"),
        ((1, 1), field(srow_x=0, srow_y=0, srow_z=0), Q, "sform-damaged", "warn"),
        ((1, 1), field(srow_x=np.nan, srow_y=np.nan, srow_z=np.nan), Q, "sform-damaged", "warn"),
        ((2, 1), field(srow_y=S[0]), Q, "sform-damaged", "warn"),
        ((1, 1), field(quatern_b=np.nan), S, "qform-damaged", "warn"),
        ((2, 0), sizes(3, 3, 3), S, "voxel-size", "warn"),
        ((1, 1), sizes(3, 3, 3), S, "voxel-size", "warn"),
        ((0, 1), sizes(-4, 4, 4), Q, "voxel-size", "warn"),
        ((2, 0), sizes(-4, 4, 4), S, "voxel-size", "warn"),
        ((0, 0), sizes(-4, 4, 4), NONE, "orientation-unknown", "warn"),
        ((2, 1), sizes(0, 0, 0), S, "voxel-size", "warn"),
        ((99, 1), field(), Q, "form-code", "warn"),
        ((-1, 1), field(), Q, None, None),
        ((0, 1), lambda h: h["pixdim"].__setitem__(0, -2), None, "qfac", "warn"),
        ((1, 1), sizes(np.nan, 4, 4), S, "voxel-size", "warn"),
        ((0, 1), lambda h: h["pixdim"].__setitem__(0, 0), Q, None, None),
    ],
)
def test_damaged_and_contradicting_forms(
    tmp_path: Path,
    codes: tuple[int, int],
    change: Change,
    used: np.ndarray | None,
    code: str | None,
    level: str | None,
) -> None:
    """Read by the form that can be used, told, and the output stands as a sound image there."""
    path = write_nifti_header(
        tmp_path / "t1.nii.gz", ARRAY, sform=(S, codes[0]), qform=(Q, codes[1]), change=change
    )
    t1 = read_image(path, kind="t1")
    assert code is None or findings(t1)[code] == level
    read = np.diag([-1, -1, 1, 1]) @ t1.forms.affine if t1.forms else None
    turned = affine((0, 0, 180), corner=(-87, -110, -80))
    if code == "qfac":
        turned = Q * [1, 1, -1, 1]
    assert read is not None and corner_distance(read, turned if used is None else used, SIZE) < 1e-3
    out = write_image(t1.image, tmp_path / "pet.nii.gz", forms=t1.forms)
    assert corner_distance(seen_by_nibabel(out), read if code != "qfac" else Q, SIZE) < 1e-3
    # ITK shows both in one place, unless it cannot show the input.
    theirs = seen_by_itk(path)
    if np.isfinite(theirs).all() and code != "qform-damaged":
        assert corner_distance(theirs, seen_by_itk(out), SIZE) < 1e-3


def test_damaged_forms_without_another_are_refused(tmp_path: Path) -> None:
    path = write_nifti_header(
        tmp_path / "t1.nii", ARRAY, sform=(S, 1), change=field(srow_x=0, srow_y=0, srow_z=0)
    )
    with pytest.raises(InputError, match=r"degenerate.*code 1.*zero"):
        read_image(path, kind="t1")


@pytest.mark.parametrize("codes", [(0, 1), (0, 0)])
@pytest.mark.parametrize(("size", "words"), [(0.0, "0 x 4 x 4"), (np.nan, "nan x 4 x 4")])
def test_a_voxel_size_that_nothing_states_is_refused(
    tmp_path: Path, codes: tuple[int, int], size: float, words: str
) -> None:
    change = sizes(size, 4, 4)
    path = write_nifti_header(tmp_path / "t1.nii", ARRAY, qform=(Q, codes[1]), change=change)
    with pytest.raises(InputError, match=f"voxel size of t1.nii is not known: its pixdim is {words}"):
        read_image(path, kind="t1")


def test_contradicting_sizes_name_both(tmp_path: Path) -> None:
    path = write_nifti_header(tmp_path / "t1.nii", ARRAY, sform=(S, 2), change=sizes(3, 3, 3.5))
    reason = read_image(path, kind="t1").verdict.reasons()[0]
    assert "voxels of 4 x 4 x 4, its pixdim 3 x 3 x 3.5; the sform is used" in reason


@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (0, 1), (1, 0)])
def test_other_grids_in_the_same_world_follow_both_forms(tmp_path: Path, codes: tuple[int, int]) -> None:
    """A point of the head is at one place of the T1 in each reader; the output shows it at the same place."""
    path = write_nifti_header(tmp_path / "t1.nii", ARRAY, sform=(S, codes[0]), qform=(Q, codes[1]))
    t1 = read_image(path, kind="t1")
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[5:20, 4:30, 3:17] = 1
    crop = crop_to(t1.image, Grid.of(t1.image).image(mask), 0)
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.3, 0.1, -0.2)
    other = Grid((20, 24, 22), (5.0, 6.0, 7.0), crop.GetOrigin(), rotation.GetMatrix())
    for image in (crop, resample(t1.image, other)):
        out = write_image(image, tmp_path / "pet.nii.gz", forms=t1.forms)
        for see in (seen_by_nibabel, seen_by_itk):
            for index in ((0, 0, 0), (3, 4, 5), (14, 2, 9)):
                point = image.TransformIndexToPhysicalPoint(index)
                in_t1 = t1.image.TransformPhysicalPointToContinuousIndex(point)
                np.testing.assert_allclose(
                    see(out) @ [*index, 1], see(path) @ [*in_t1, 1], atol=2e-3, err_msg=see.__name__
                )


def blob(size: tuple[int, int, int] = SIZE) -> np.ndarray:
    """A smooth shape [i, j, k] that survives resampling."""
    axes = np.ogrid[tuple(slice(-1, 1, 1j * n) for n in size)]
    return (100 * np.exp(-4 * sum((a - c) ** 2 for a, c in zip(axes, (0.1, -0.2, 0.15))))).astype(np.float32)


@pytest.mark.parametrize("name", ["pet.nii.gz", "pet.mha"])
@pytest.mark.parametrize("shear", [0.02, 0.6])
@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (2, 4)])
def test_an_output_of_a_sheared_sform_lies_on_its_input(
    tmp_path: Path, codes: tuple[int, int], shear: float, name: str
) -> None:
    """The sform shears by 1 or 17 degrees, the qform does not: the output has the voxels of the input."""
    sheared = S.copy()
    sheared[0, 1] += 4 * shear * 0.5
    sheared[2, 0] += 4 * shear * 0.3
    path = write_nifti_header(tmp_path / "t1.nii", blob(), sform=(sheared, codes[0]), qform=(Q, codes[1]))
    t1 = read_image(path, kind="t1")
    assert {"shear", "sform-qform"} <= set(findings(t1))
    out = write_image(t1.image, tmp_path / name, forms=t1.forms)
    if name.endswith(".mha"):
        assert corner_distance(seen_by_itk(path), seen_by_itk(out), SIZE) < 1e-4
    else:
        assert apart(path, out, SIZE) == (0, 0)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(out))).T
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(values[inside], blob()[inside], atol=1.5)


def test_a_mask_drawn_in_slicer_on_a_sheared_t1_lies_on_its_voxels(tmp_path: Path) -> None:
    sheared = S.copy()
    sheared[0, 1] += 0.6
    path = write_nifti_header(tmp_path / "t1.nii", blob(), sform=(sheared, 1), qform=(Q, 2))
    t1 = read_image(path, kind="t1")
    sitk.WriteImage(sitk.ReadImage(str(path)) > 10, str(tmp_path / "mask.nrrd"))
    mask = read_mask(tmp_path / "mask.nrrd", t1.forms)
    assert same_grid(mask, t1.image)
    of_t1, drawn = (sitk.GetArrayFromImage(image) for image in (t1.image > 10, mask))
    assert 2 * (of_t1 * drawn).sum() / (of_t1.sum() + drawn.sum()) > 0.97


def test_a_sheared_sform_alone_gives_an_output_of_its_own_grid(tmp_path: Path) -> None:
    """ITK reads no such image; nibabel shows both together, and ITK the output where nibabel does."""
    sheared = S.copy()
    sheared[0, 1] += 0.6
    path = write_nifti_header(tmp_path / "t1.nii", ARRAY, sform=(sheared, 1))
    t1 = read_image(path, kind="t1")
    out = write_image(t1.image, tmp_path / "pet.nii.gz", forms=t1.forms)
    for see in (seen_by_nibabel, seen_by_itk):
        np.testing.assert_allclose(
            see(out) @ [3, 4, 5, 1],
            np.append(t1.image.TransformIndexToPhysicalPoint((3, 4, 5)), 1) * [-1, -1, 1, 1],
            atol=1e-3,
        )
    mask = write_image(sitk.Cast(t1.image > 50, sitk.sitkUInt8), tmp_path / "mask.nii.gz", forms=t1.forms)
    assert same_grid(read_mask(mask, t1.forms), t1.image)


def test_every_file_of_a_run_lies_on_its_input(tmp_path: Path) -> None:
    """``synthesize --pet``, ``evaluate`` and ``suvr`` on a T1 and a PET with two orientations."""
    person = simulate_subject(3, spacing_mm=4.0)
    size = person.t1.GetSize()
    tiny_bundle(tmp_path / "model")
    corner = tuple((np.array(person.t1.GetOrigin()) * [-1, -1, 1]).tolist())
    sform = affine(corner=corner, axes=(-1, -1, 1))
    qform = affine((3, 0, 0), corner=(corner[0] + 3, corner[1], corner[2]), axes=(-1, -1, 1))
    for name, image in (("T1", person.t1), ("PET", person.pet), ("mask", person.brain_mask)):
        array = sitk.GetArrayFromImage(image).T
        write_nifti_header(tmp_path / f"{name}.nii.gz", array, sform=(sform, 2), qform=(qform, 1))
    (tmp_path / "PET.json").write_text(json.dumps({"Units": "SUV"}))
    t1, pet, mask = (str(tmp_path / f"{name}.nii.gz") for name in ("T1", "PET", "mask"))
    model = ["--model", str(tmp_path / "model"), "--progress", "none", "--device", "cpu"]
    assert main(["synthesize", t1, "--mask", mask, "--pet", pet, "-o", str(tmp_path / "out"), *model]) == 0
    synthetic = next((tmp_path / "out").glob("*_desc-synthetic_pet.nii.gz"))
    quiet = ["--progress", "none"]
    maps = ["evaluate", "--synthetic", str(synthetic), "--pet", pet, "--t1", t1, "--to-synthetic-unit"]
    assert main([*maps, "-o", str(tmp_path / "maps"), *quiet]) == 0
    template = write_image(built_in_pet_template(), tmp_path / "template.nii.gz")
    suvr = ["suvr", pet, "--t1", t1, "--mask", mask, "--pet-template", str(template), "--pet-segmentation"]
    regions = ["--atlas", "cortical-spheres", "--reference", "*cerebellum*"]
    assert main([*suvr, *regions, "-o", str(tmp_path / "suvr"), *quiet]) == 0
    methods = ("real_mr", "pet_template", "pet_segmentation")
    names = {"suvr_pet.nii.gz", *(f"labels_{method}.nii.gz" for method in methods)}
    assert {path.name for path in (tmp_path / "suvr").rglob("*.nii.gz")} == names
    written = [p for folder in ("out", "maps", "suvr") for p in (tmp_path / folder).rglob("*.nii.gz")]
    assert len(written) >= 12
    for path in written:
        assert apart(Path(t1), path, size) == (0, 0), path
        assert is_output(path) or path.parent.name == "regions", path


@pytest.mark.slow
def test_outputs_lie_on_real_images_whatever_their_orientations(shared_data: Path, tmp_path: Path) -> None:
    """A stripped brain (its folder is stored alike) and two heads, as they are and with a qform
    3 degrees and 3 mm from the sform, under five pairs of codes: the corners of a PET and a mask are those of
    the T1. Prints the distances (mm).
    """
    import nibabel as nib

    away = affine((3, 0, 0), corner=(3, 0, 0), zooms=(1, 1, 1))
    images = [shared_data / "t1" / "sub-01_T1w.nii.gz", *sorted((shared_data / "heads").glob("*.nii.gz"))]
    assert len(images) == 3
    for source in images:
        stored = nib.load(source)
        array = np.asarray(stored.dataobj, dtype=np.float32)
        line, distances = [source.name.split(".")[0]], []
        for codes in (None, (1, 2), (2, 1), (1, 0), (0, 1), (2, 4)):
            path = tmp_path / "t1.nii"
            if codes is None:
                path.write_bytes(gzip.decompress(source.read_bytes()))
            else:
                forms = (stored.affine, codes[0]), (away @ stored.affine, codes[1])
                write_nifti_header(path, array, sform=forms[0], qform=forms[1])
            t1 = read_image(path, kind="t1")
            mask = sitk.Cast(t1.image > float(array.mean()), sitk.sitkUInt8)
            for name, image in (("pet", t1.image), ("mask", mask)):
                out = write_image(image, tmp_path / f"{name}.nii", forms=t1.forms)
                distances.append(apart(path, out, array.shape))
            between = corner_distance(seen_by_nibabel(path), seen_by_itk(path), array.shape)
            line.append(f"{max(distances[-2])}, {max(distances[-1])} ({between:.1f})")
        print(" | ".join(["", *line, ""]).strip())
        assert set(distances) == {(0.0, 0.0)}, source
