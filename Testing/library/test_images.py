"""Reading, checking and writing images: every file type, every bad input, geometry against ITK and hand."""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETLib.images import gzipped
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import read_image, same_grid, write_image

SIZE = (40, 44, 38)  # i, j, k at 4 mm: 160 x 176 x 152 mm


def head(size: tuple[int, int, int] = SIZE, spacing: float = 4.0) -> sitk.Image:
    """An asymmetric smooth blob with noise, on an oblique grid away from the origin."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    noise = np.random.default_rng(0).uniform(0, 5, k.shape)
    blob = 100 * np.exp(-((i - 0.1) ** 2 + (j + 0.2) ** 2 + k**2) / 0.3) + noise
    image = sitk.GetImageFromArray(blob.astype(np.float32))
    image.SetSpacing([spacing] * 3)
    image.SetOrigin([-70.0, 31.5, -12.25])
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.1, -0.2, 0.3)
    image.SetDirection(rotation.GetMatrix())
    return image


def nifti(path: Path, array_ijk: np.ndarray, affine: np.ndarray | None = None, **header: Any) -> Path:
    """Write NIfTI with nibabel, which keeps what ITK would not: NaN, shear, units, two forms."""
    import nibabel as nib

    image = nib.Nifti1Image(array_ijk, np.diag([4.0, 4.0, 4.0, 1.0]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def voxels(size: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 100, size).astype(np.float32)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_written_image_comes_back_on_its_grid(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "Ünï cödé, with spaces"
    folder.mkdir()
    image = head()
    path = write_image(image, folder / f"T1 wéighted{suffix}", {"Unit": "SUV", "Mean": float("nan")})
    loaded = read_image(path, kind="t1")
    assert same_grid(loaded.image, image)
    assert loaded.image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image), sitk.GetArrayFromImage(image))
    assert loaded.verdict.level == "ok"
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(sidecar_path(path).read_text(encoding="utf-8")) == {"Unit": "SUV", "Mean": None}
    assert sorted(p.name for p in folder.iterdir()) == ["T1 wéighted.json", f"T1 wéighted{suffix}"]


def test_detached_headers_are_read(tmp_path: Path) -> None:
    image = head()
    for name in ("t1.nhdr", "t1.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert same_grid(read_image(tmp_path / name, kind="t1").image, image)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR", "ASL", "LPI"])
def test_any_orientation_is_read_as_itk_reads_it(tmp_path: Path, axes: str) -> None:
    """Left-handed files (LAS, as FSL writes them) keep their handedness; voxels stay in place."""
    import nibabel as nib

    path = tmp_path / "t1.nii"
    start = nib.Nifti1Image(voxels(), np.array([[3.0, 0, 0, -7], [0, 4, 0, 9], [0, 0, 5, 2], [0, 0, 0, 1]]))
    nib.save(
        start.as_reoriented(
            nib.orientations.ornt_transform(
                nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
            )
        ),
        path,
    )
    ours, itk = read_image(path, kind="t1"), sitk.ReadImage(str(path))
    assert same_grid(ours.image, itk)
    assert ours.metadata["orientation"] == axes
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours.image), sitk.GetArrayFromImage(itk))


def test_world_coordinates_are_lps_of_the_nifti_affine(tmp_path: Path) -> None:
    """RAS affine by hand: voxel (1, 2, 3) is at RAS (10 + 4, 20 + 8, 30 + 12) = LPS (-14, -28, 42)."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    array = voxels()
    image = read_image(nifti(tmp_path / "a.nii.gz", array, affine), kind="t1").image
    assert image.TransformIndexToPhysicalPoint((1, 2, 3)) == pytest.approx((-14, -28, 42), abs=1e-9)
    assert image[1, 2, 3] == array[1, 2, 3]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_few_non_finite_voxels_become_zero_and_are_told(tmp_path: Path, suffix: str) -> None:
    array = voxels()
    array[1, 2, 3], array[4, 5, 6], array[7, 8, 9] = np.nan, np.inf, -np.inf
    path = tmp_path / f"a{suffix}"
    if suffix == ".nii.gz":
        nifti(path, array)
    else:
        image = sitk.GetImageFromArray(array.T)
        image.SetSpacing([4.0] * 3)
        sitk.WriteImage(image, str(path))
    loaded = read_image(path, kind="t1")
    assert loaded.image[1, 2, 3] == loaded.image[4, 5, 6] == loaded.image[7, 8, 9] == 0
    assert np.isfinite(sitk.GetArrayFromImage(loaded.image)).all()
    assert loaded.verdict.level == "warn"
    assert "3 voxels" in loaded.verdict.reasons()[0]
    assert loaded.verdict.findings[0].code == "non-finite"


def test_many_non_finite_voxels_are_refused(tmp_path: Path) -> None:
    array = voxels()
    array[10:20, 10:20, 10:20] = np.nan  # at the border it would be background
    with pytest.raises(InputError, match=r"1000 voxels \(1\.5 %\).*not finite"):
        read_image(nifti(tmp_path / "a.nii", array), kind="t1")


def test_values_beyond_float32_count_as_not_finite(tmp_path: Path) -> None:
    array = voxels().astype(np.float64)
    array[0, 0, 0] = 1e300
    loaded = read_image(nifti(tmp_path / "a.nii", array), kind="t1")
    assert loaded.verdict.findings[0].code == "non-finite"


@pytest.mark.parametrize("kind", ["t1", "pet"])
def test_constant_images_are_refused(tmp_path: Path, kind: Any) -> None:
    path = nifti(tmp_path / "a.nii", np.full(SIZE, 7, np.int16))
    with pytest.raises(InputError, match=r"single value \(7\)"):
        read_image(path, kind=kind)
    almost = np.zeros(SIZE, np.int16)
    almost[10:12, 10:12, 10:12] = 5
    with pytest.raises(InputError, match="almost a single value"):
        read_image(nifti(tmp_path / "b.nii", almost), kind=kind)


def test_wrong_number_of_dimensions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a volume.*40 x 44 x 1"):
        read_image(nifti(tmp_path / "slice.nii", voxels((40, 44, 1))), kind="t1")
    with pytest.raises(InputError, match="not a volume"):
        read_image(nifti(tmp_path / "flat.nii", voxels((40, 44))), kind="t1")
    with pytest.raises(InputError, match="4-D: it has 3 frames.*pick one volume"):
        read_image(nifti(tmp_path / "4d.nii.gz", voxels((*SIZE, 3))), kind="t1")
    with pytest.raises(InputError, match="4-D: it has 3 frames.*average its frames"):
        read_image(tmp_path / "4d.nii.gz", kind="pet")
    flat = sitk.GetImageFromArray(voxels((40, 44)))
    sitk.WriteImage(flat, str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match="not a volume"):
        read_image(tmp_path / "flat.mha", kind="t1")
    series = sitk.JoinSeries([head(), head()])
    sitk.WriteImage(series, str(tmp_path / "4d.nrrd"))
    with pytest.raises(InputError, match="4-D: it has 2 frames"):
        read_image(tmp_path / "4d.nrrd", kind="t1")


@pytest.mark.parametrize("shape", [(*SIZE, 1), (*SIZE, 1, 1)])
def test_singleton_dimensions_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = voxels(shape)
    image = read_image(nifti(tmp_path / "a.nii.gz", array), kind="t1").image
    assert image.GetSize() == SIZE
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, array.reshape(SIZE))


def test_vector_colour_and_complex_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vector image"):
        read_image(nifti(tmp_path / "vector.nii", voxels((*SIZE, 1, 3))), kind="t1")
    colour = np.zeros(SIZE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="colour, vector or complex"):
        read_image(nifti(tmp_path / "colour.nii", colour), kind="t1")
    with pytest.raises(InputError, match="colour, vector or complex"):
        read_image(nifti(tmp_path / "complex.nii", voxels().astype(np.complex64)), kind="t1")
    sitk.WriteImage(sitk.Compose([head()] * 3), str(tmp_path / "vector.nrrd"))
    with pytest.raises(InputError, match=r"holds 3 values a voxel"):
        read_image(tmp_path / "vector.nrrd", kind="t1")


def test_slab_and_small_field_of_view(tmp_path: Path) -> None:
    slab = nifti(tmp_path / "slab.nii", voxels((60, 60, 20)), np.diag([4.0, 4.0, 2.0, 1.0]))
    with pytest.raises(InputError, match=r"covers only 40 mm in head-foot \(20 voxels\)"):
        read_image(slab, kind="t1")
    thick = nifti(tmp_path / "thick.nii", voxels((60, 60, 12)), np.diag([4.0, 4.0, 12.0, 1.0]))
    with pytest.raises(InputError, match="144 mm in head-foot.*16 voxels"):
        read_image(thick, kind="t1")
    narrow = read_image(slab, kind="pet")
    assert [f.code for f in narrow.verdict.findings] == ["small-field-of-view"]


@pytest.mark.parametrize(
    ("factor", "says"), [(0.1, "in cm.*by 10 "), (0.001, "in m.*by 1000 "), (1000.0, "in um.*by 0.001 ")]
)
def test_wrong_unit_of_length_is_named(tmp_path: Path, factor: float, says: str) -> None:
    path = nifti(tmp_path / "a.nii", voxels(), np.diag([4 * factor] * 3 + [1.0]), xyzt_units=0)
    with pytest.raises(InputError, match=says):
        read_image(path, kind="t1")


def test_nifti_unit_codes(tmp_path: Path) -> None:
    """Code 1 metre, 2 mm, 3 micrometre. A code that contradicts the numbers is overruled and told."""
    true_metres = nifti(tmp_path / "m.nii", voxels(), np.diag([0.004] * 3 + [1.0]), xyzt_units=1)
    true_microns = nifti(tmp_path / "um.nii", voxels(), np.diag([4000.0] * 3 + [1.0]), xyzt_units=3)
    wrong_metres = nifti(tmp_path / "wm.nii", voxels(), np.diag([4.0] * 3 + [1.0]), xyzt_units=1)
    wrong_microns = nifti(tmp_path / "wum.nii", voxels(), np.diag([4.0] * 3 + [1.0]), xyzt_units=3)
    for path, says in (
        (true_metres, "in metres; converted"),
        (true_microns, "in micrometres; converted"),
        (wrong_metres, "says metres, but the numbers fit mm"),
        (wrong_microns, "says micrometres, but the numbers fit mm"),
    ):
        loaded = read_image(path, kind="t1")
        assert loaded.image.GetSpacing() == pytest.approx((4, 4, 4), rel=1e-6)
        assert says in loaded.verdict.reasons("warn")[0]
    good = nifti(tmp_path / "mm.nii", voxels(), xyzt_units=2)
    assert read_image(good, kind="t1").verdict.level == "ok"


def test_sform_and_qform_that_differ(tmp_path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(voxels(), None)
    sform = np.diag([4.0, 4.0, 4.0, 1.0])
    qform = sform.copy()
    qform[0, 3] = 5.0
    image.header.set_sform(sform, code=1)
    image.header.set_qform(qform, code=1)
    nib.save(image, tmp_path / "a.nii")
    loaded = read_image(tmp_path / "a.nii", kind="t1")
    assert loaded.image.GetOrigin() == pytest.approx((0, 0, 0))
    assert loaded.verdict.findings[0].code == "sform-qform"
    assert "differ by up to 5.0 mm; the sform is used" in loaded.verdict.reasons()[0]


def test_missing_orientation_is_told(tmp_path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(voxels(), None)
    image.header.set_zooms((4.0, 4.0, 4.0))
    nib.save(image, tmp_path / "a.nii")
    codes = [f.code for f in read_image(tmp_path / "a.nii", kind="t1").verdict.findings]
    assert codes == ["orientation-unknown"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_shear_is_resampled_and_told(tmp_path: Path, suffix: str) -> None:
    """A world ramp x + 2 y + 3 z stored on sheared axes reads back as the same ramp in mm."""
    affine = np.array([[4.0, 0.6, 0, 11], [0, 4, 0.4, -9], [0, 0, 4, 5], [0, 0, 0, 1]])
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in SIZE], indexing="ij"))
    world_ras = np.einsum("ab,bijk->aijk", affine[:3, :3], ijk) + affine[:3, 3].reshape(3, 1, 1, 1)
    ramp = (-world_ras[0] - 2 * world_ras[1] + 3 * world_ras[2] + 2000).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    if suffix == ".nii.gz":
        nifti(path, ramp, affine)
    else:
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        image = sitk.GetImageFromArray(ramp.T)
        image.SetSpacing([4.0] * 3)
        image.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(image, str(path))
        content = path.read_bytes()
        columns = lps[:3, :3].T
        if suffix == ".nrrd":
            old = b"space directions: (4,0,0) (0,4,0) (0,0,4)"
            new = "space directions: " + " ".join(f"({a:g},{b:g},{c:g})" for a, b, c in columns)
        else:
            old = b"TransformMatrix = 1 0 0 0 1 0 0 0 1"
            norms = np.linalg.norm(columns, axis=1, keepdims=True)
            new = "TransformMatrix = " + " ".join(f"{v:.12g}" for v in (columns / norms).ravel())
            spacing = " ".join(f"{v:.12g}" for v in norms.ravel())
            content = content.replace(b"ElementSpacing = 4 4 4", f"ElementSpacing = {spacing}".encode())
        assert old in content
        path.write_bytes(content.replace(old, new.encode()))
    loaded = read_image(path, kind="t1")
    assert [f.code for f in loaded.verdict.findings] == ["shear"]
    image = loaded.image
    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-9)
    result = sitk.GetArrayFromImage(image)
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    checked = 0
    for index in np.random.default_rng(3).integers(0, image.GetSize(), (500, 3)):
        point = image.TransformIndexToPhysicalPoint(index.tolist())
        source = to_index[:3, :3] @ point + to_index[:3, 3]
        if (source >= 0).all() and (source <= np.array(SIZE) - 1).all():
            x, y, z = point
            assert result[tuple(index[::-1])] == pytest.approx(x + 2 * y + 3 * z + 2000, abs=0.01)
            checked += 1
    assert checked > 250


def test_sheared_labels_stay_whole_numbers(tmp_path: Path) -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[0, 1] = 0.8
    labels = np.random.default_rng(0).choice([0, 3, 1000], SIZE).astype(np.int16)
    loaded = read_image(nifti(tmp_path / "a.nii", labels, affine), kind="labels")
    assert set(np.unique(sitk.GetArrayFromImage(loaded.image))) == {0, 3, 1000}


def test_huge_image_is_refused_before_its_voxels_are_read(tmp_path: Path) -> None:
    """The header promises 4000^3 voxels (64 G); the file holds none."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape((4000, 4000, 4000))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([0.05, 0.05, 0.05, 1]), code=1)
    content = bytearray(header.binaryblock + b"\0\0\0\0")
    content[344:348] = b"n+1\0"
    (tmp_path / "huge.nii").write_bytes(bytes(content))
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(content)))
    sitk.WriteImage(head(), str(tmp_path / "huge.mha"))
    mha = (tmp_path / "huge.mha").read_bytes()
    (tmp_path / "huge.mha").write_bytes(mha.replace(b"DimSize = 40 44 38", b"DimSize = 4000 4000 4000"))
    for name in ("huge.nii", "huge.nii.gz", "huge.mha"):
        with pytest.raises(InputError, match="4000 x 4000 x 4000 voxels, too many"):
            read_image(tmp_path / name, kind="t1")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("part", [0.5, 0.001])
def test_file_cut_short(tmp_path: Path, suffix: str, part: float) -> None:
    path = write_image(head(), tmp_path / f"t1{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match="cannot be read|empty|not gzip"):
        read_image(path, kind="t1")


def test_corrupt_gzip(tmp_path: Path) -> None:
    path = write_image(head(), tmp_path / "t1.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="cannot be read"):
        read_image(path, kind="t1")


def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "nothing.nii.gz", kind="t1")
    (tmp_path / "empty.nii").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read_image(tmp_path / "empty.nii", kind="t1")
    for suffix in (".nii", ".nrrd", ".mha", ".nhdr", ".mhd"):
        path = tmp_path / f"text{suffix}"
        path.write_text("this is not an image " * 50)
        with pytest.raises(InputError, match="cannot be read"):
            read_image(path, kind="t1")
    path = tmp_path / "text.nii.gz"
    path.write_text("no")
    with pytest.raises(InputError, match="not gzip-compressed"):
        read_image(path, kind="t1")
    path.write_bytes(gzip.compress(b"text" * 500))
    with pytest.raises(InputError, match="cannot be read"):
        read_image(path, kind="t1")
    plain = write_image(head(), tmp_path / "plain.nii")
    renamed = plain.rename(tmp_path / "plain.nii.gz")
    with pytest.raises(InputError, match=r"not gzip-compressed.*rename it to end in \.nii\."):
        read_image(renamed, kind="t1")
    zipped = write_image(head(), tmp_path / "zipped.nii.gz").rename(tmp_path / "zipped.nii")
    with pytest.raises(InputError, match=r"is gzip-compressed.*rename it to end in \.nii\.gz"):
        read_image(zipped, kind="t1")
    for name in ("t1.png", "t1", "IM0001.dcm"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match="not of a supported image type"):
            read_image(tmp_path / name, kind="t1")


def test_detached_header_without_its_data(tmp_path: Path) -> None:
    sitk.WriteImage(head(), str(tmp_path / "t1.mhd"))
    (tmp_path / "t1.raw").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "t1.mhd", kind="t1")


def test_degenerate_axes(tmp_path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(voxels(), None)
    flat = np.diag([4.0, 4.0, 4.0, 1.0])
    flat[:, 2] = flat[:, 1]
    image.header["sform_code"] = 1
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = flat[:3]
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match="degenerate"):
        read_image(tmp_path / "a.nii", kind="t1")


def test_masks(tmp_path: Path) -> None:
    array = np.zeros(SIZE, np.float32)
    array[10:20, 10:20, 10:20] = 255
    loaded = read_image(nifti(tmp_path / "255.nii", array), kind="mask")
    assert loaded.image.GetPixelID() == sitk.sitkUInt8
    assert sitk.GetArrayFromImage(loaded.image).sum() == 1000
    probability = array / 255 * 0.6
    probability[0, 0, 0] = 0.4
    loaded = read_image(nifti(tmp_path / "p.nii", probability), kind="mask")
    assert sitk.GetArrayFromImage(loaded.image).sum() == 1000
    assert loaded.verdict.findings[0].code == "mask-thresholded"
    for name, bad, says in (
        ("empty", np.zeros(SIZE, np.uint8), "no voxel is inside"),
        ("full", np.ones(SIZE, np.uint8), "all voxels are inside"),
        ("t1", voxels(), "not a mask"),
        ("negative", -array, "not a mask"),
    ):
        with pytest.raises(InputError, match=says):
            read_image(nifti(tmp_path / f"{name}.nii", bad), kind="mask")


def test_labels(tmp_path: Path) -> None:
    labels = np.zeros(SIZE, np.float32)
    labels[0, 0, 0], labels[1, 0, 0] = 2035, 17
    loaded = read_image(nifti(tmp_path / "a.nii", labels), kind="labels")
    assert loaded.image.GetPixelID() == sitk.sitkInt32
    assert loaded.image[0, 0, 0] == 2035
    with pytest.raises(InputError, match="fractional"):
        read_image(nifti(tmp_path / "b.nii", labels / 2), kind="labels")
    with pytest.raises(InputError, match="no label"):
        read_image(nifti(tmp_path / "c.nii", labels * 0), kind="labels")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path, kind="labels")


def test_nifti_scaling_is_applied(tmp_path: Path) -> None:
    """Stored 16-bit values times slope 0.5 plus 3."""
    stored = np.arange(np.prod(SIZE)).reshape(SIZE).astype(np.int16)
    path = nifti(tmp_path / "a.nii", stored)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, 3.0], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(bytes(content))
    image = read_image(path, kind="t1").image
    np.testing.assert_allclose(sitk.GetArrayFromImage(image).T, stored * 0.5 + 3)


def test_same_grid() -> None:
    a = head()
    b = sitk.Image(a)
    assert same_grid(a, b)
    b.SetOrigin([x + 0.0005 for x in a.GetOrigin()])
    assert same_grid(a, b)
    b.SetOrigin([x + 0.01 for x in a.GetOrigin()])
    assert not same_grid(a, b)
    assert same_grid(a, b, tolerance_mm=0.1)
    c = sitk.Image(a)
    c.SetSpacing([4.0, 4.0, 4.001])  # 37 steps: 0.037 mm at the far end
    assert not same_grid(a, c)
    assert not same_grid(a, a[:-1, :, :])
    assert not same_grid(a, a[::-1, :, :])


def test_hash_of_a_folder_ignores_names_and_order(tmp_path: Path) -> None:
    for folder, names in (("one", ("a", "b")), ("two", ("z", "y"))):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"first", b"second")):
            (tmp_path / folder / name).write_bytes(content)
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    (tmp_path / "two" / "z").write_bytes(b"other")
    assert sha256_of(tmp_path / "one") != sha256_of(tmp_path / "two")
    assert sha256_of(tmp_path / "one" / "a") == hashlib.sha256(b"first").hexdigest()


def test_write_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="ends in"):
        write_image(head(), tmp_path / "t1.png")
    with pytest.raises(OutputError, match="Cannot write"):
        write_image(head(), tmp_path / "no such folder" / "t1.nii.gz")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        write_image(head(), tmp_path / "file" / "t1.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def _with_small_disk() -> None:
    """Files may not grow beyond 100 kB, as on a disk that runs full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_full_disk_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    """ITK reports success for a NIfTI file that the disk had no room for."""
    target = tmp_path / "out" / f"t1{suffix}"
    target.parent.mkdir()
    script = (
        "import sys, numpy as np, SimpleITK as sitk\n"
        "from MRI2PETLib.images.io import write_image\n"
        "from MRI2PETLib.core.errors import OutputError\n"
        "image = sitk.GetImageFromArray(np.random.default_rng(0).random((50, 50, 50)).astype('f4'))\n"
        "try:\n    write_image(image, sys.argv[1], {})\n"
        "except OutputError as error:\n    sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        preexec_fn=_with_small_disk,
        capture_output=True,
        check=False,
    )
    assert done.returncode == OutputError.exit_code, done.stderr.decode()
    assert list(target.parent.iterdir()) == []


def test_real_images_are_read_as_itk_reads_them(shared_data: Path) -> None:
    files = [shared_data / "heads" / "IXI012-HH-1211_T1.nii.gz", shared_data / "t1" / "sub-01_T1w.nii.gz"]
    for file in files:
        loaded, itk = read_image(file, kind="t1"), sitk.ReadImage(str(file), sitk.sitkFloat32)
        assert loaded.verdict.level == "ok"
        assert same_grid(loaded.image, itk)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image), sitk.GetArrayFromImage(itk))


def _ball(value: float) -> np.ndarray:
    """A smooth ball of 60 to 100 in a background of ``value`` [i, j, k]."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    return np.where(i**2 + j**2 + k**2 < 0.6, 80 + 19 * np.sin(4 * i), value).astype(np.float32)


def test_a_statistical_map_is_refused_by_its_values_and_by_its_header(tmp_path: Path) -> None:
    ball = _ball(0)
    scores = np.where(ball > 0, np.random.default_rng(2).normal(0.3, 1, SIZE), 0).astype(np.float32)
    with pytest.raises(InputError, match=r"above and below its background \(\d\d % below"):
        read_image(nifti(tmp_path / "t.nii", scores), kind="t1")
    with pytest.raises(InputError, match="statistical map: its header says t test"):
        read_image(nifti(tmp_path / "intent.nii", ball, intent_code=3), kind="t1")
    ringing = ball.copy()
    ringing[::5, ::5, ::5] -= 3  # a resampled T1 has a few voxels below its background
    for number, sound in enumerate((ball, ringing, ball - 0.5 * ball.max())):
        assert read_image(nifti(tmp_path / f"{number}.nii", sound), kind="t1").verdict.level == "ok"
    assert read_image(nifti(tmp_path / "pet.nii", scores), kind="pet").image.GetSize() == SIZE


def test_an_animal_is_not_taken_for_a_header_in_cm(tmp_path: Path) -> None:
    rat = nifti(tmp_path / "rat.nii", voxels((128, 128, 64)), np.diag([0.2, 0.2, 0.3, 1]), xyzt_units=2)
    with pytest.raises(InputError, match=r"25\.6 x 25\.6 x 19\.2 mm large: an animal's brain\?"):
        read_image(rat, kind="t1")


def test_noise_in_the_air_as_mp2rage_has_it_is_told(tmp_path: Path) -> None:
    """UNI: tissue has contrast, air is noise over the whole range."""
    air = np.random.default_rng(3).uniform(0, 100, SIZE)
    uni = np.where(_ball(0) > 0, _ball(0), air).astype(np.float32)
    loaded = read_image(nifti(tmp_path / "uni.nii", uni), kind="t1")
    assert [f.code for f in loaded.verdict.findings] == ["noisy-air"]
    assert "MP2RAGE" in loaded.verdict.reasons()[0] and "UNI-DEN" in loaded.verdict.reasons()[0]
    noise = read_image(nifti(tmp_path / "noise.nii", air.astype(np.float32)), kind="t1")
    assert noise.verdict.level == "ok"  # no head in it either: another check's
    quiet = np.where(_ball(0) > 0, _ball(0), air * 0.03).astype(np.float32)
    assert read_image(nifti(tmp_path / "quiet.nii", quiet), kind="t1").verdict.level == "ok"


@pytest.mark.parametrize("library", ["zlib", "ISA-L"])
def test_gzip_files_are_whole_whichever_library_writes_and_reads_them(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own ``gzip`` is the judge; a damaged or shortened file is an error of zlib's either way."""
    if library == "zlib":
        monkeypatch.setattr(gzipped, "_fast", None)
    else:
        pytest.importorskip("isal")
    content = np.random.default_rng(0).integers(0, 4, 300_000, dtype=np.uint8).tobytes()
    path = tmp_path / "a.gz"
    path.write_bytes(b"".join(gzipped.deflated((content[:77], memoryview(content)[77:]))))
    assert gzip.decompress(path.read_bytes()) == content
    assert gzipped.read_gzip(path, 1000, 5000) == (content[1000:6000], 0)
    assert gzipped.read_gzip(path, 5, 20, to_end=False) == (content[5:25], 0)
    assert gzipped.read_gzip(path, len(content), 0) == (b"", 0)
    with pytest.raises(EOFError):
        gzipped.read_gzip(path, len(content) - 10, 20)
    whole = path.read_bytes()
    path.write_bytes(whole + whole + b"tail")
    assert gzipped.read_gzip(path, 299_990, 20) == (content[-10:] + content[:10], 4)
    path.write_bytes(whole[:-4])
    with pytest.raises(EOFError):
        gzipped.read_gzip(path, 0, 10)
    path.write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    with pytest.raises((zlib.error, EOFError)):
        gzipped.read_gzip(path, 0, 10)
