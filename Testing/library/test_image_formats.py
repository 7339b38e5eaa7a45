"""Formats besides NIfTI: those that nibabel reads, NRRD in every space, and how to convert the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.formats import is_image
from MRI2PETLib.images.io import read_image

SIZE = (20, 22, 19)
ARRAY = np.random.default_rng(1).uniform(1, 100, SIZE).astype(np.float32)
OBLIQUE = np.array([[7.9, 1.2, 0, -70], [-1.2, 7.9, 0, -90], [0, 0, 8, -60], [0, 0, 0, 1.0]])


def world(image: sitk.Image, index: tuple[int, int, int]) -> np.ndarray:
    """RAS mm."""
    return np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_freesurfer(tmp_path: Path, suffix: str) -> None:
    import nibabel as nib

    path = tmp_path / f"T1{suffix}"
    nib.save(nib.MGHImage(ARRAY, OBLIQUE), path)
    image = read_image(path, kind="t1").image
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, ARRAY)
    np.testing.assert_allclose(world(image, (3, 4, 5)), (OBLIQUE @ [3, 4, 5, 1])[:3], atol=1e-2)


def test_freesurfer_without_geometry_is_told(tmp_path: Path) -> None:
    """goodRASFlag 0: FreeSurfer takes coronal voxels of 1 mm, whatever else the header holds."""
    import nibabel as nib

    array = np.random.default_rng(2).uniform(0, 100, (150, 152, 154)).astype(np.float32)
    content = bytearray(nib.MGHImage(array, OBLIQUE).to_bytes())
    content[28:30] = b"\0\0"
    (tmp_path / "T1.mgh").write_bytes(content)
    loaded = read_image(tmp_path / "T1.mgh", kind="t1")
    assert loaded.metadata["orientation"] == "LIA" and loaded.metadata["spacing_mm"] == [1, 1, 1]
    assert [f.code for f in loaded.verdict.findings] == ["orientation-unknown"]


def test_nifti_pair(tmp_path: Path) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Pair(ARRAY, OBLIQUE), tmp_path / "t1.hdr")
    for name in ("t1.hdr", "t1.img"):
        loaded = read_image(tmp_path / name, kind="t1")
        np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image).T, ARRAY)
        np.testing.assert_allclose(world(loaded.image, (3, 4, 5)), (OBLIQUE @ [3, 4, 5, 1])[:3], atol=1e-2)
        assert loaded.forms is not None


def test_analyze_says_that_its_sides_are_not_known(tmp_path: Path) -> None:
    import nibabel as nib

    nib.save(nib.AnalyzeImage(ARRAY, np.diag([-8.0, 8, 8, 1])), tmp_path / "t1.hdr")
    loaded = read_image(tmp_path / "t1.img", kind="t1")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image).T, ARRAY)
    assert loaded.metadata["orientation"] == "LAS"
    assert [f.code for f in loaded.verdict.findings] == ["orientation-unknown"]
    (tmp_path / "t1.img").unlink()
    with pytest.raises(InputError, match="cannot be read as Analyze.*nib-convert"):
        read_image(tmp_path / "t1.hdr", kind="t1")


def test_minc_1(tmp_path: Path) -> None:
    """Stored k, j, i with a range a slice; voxel (i, j, k) is at start + step x index."""
    from scipy.io import netcdf_file

    stored = np.rint(ARRAY.T * 100).astype(">i2")
    with netcdf_file(tmp_path / "t1.mnc", "w") as file:
        for name, n, start in (("zspace", 19, -60.0), ("yspace", 22, -90.0), ("xspace", 20, -70.0)):
            file.createDimension(name, n)
            axis = file.createVariable(name, "i4", ())
            axis.step, axis.start, axis.spacing = 8.0, start, b"regular__"
        image = file.createVariable("image", "i2", ("zspace", "yspace", "xspace"))
        image[:] = stored
        image.signtype, image.valid_range = b"signed__", np.array([0.0, 32767.0])
        for name, value in (("image-min", 0.0), ("image-max", 327.67)):
            file.createVariable(name, "f8", ("zspace",))[:] = value
    image = read_image(tmp_path / "t1.mnc", kind="t1").image
    assert image.GetSize() == (19, 22, 20)  # as stored: z, y, x
    assert image[5, 4, 3] == pytest.approx(stored[5, 4, 3] / 100, abs=1e-4)
    np.testing.assert_allclose(world(image, (5, 4, 3)), (-46, -58, -20), atol=1e-4)


def test_minc_2_names_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from MRI2PETLib.images import other_formats

    (tmp_path / "t1.mnc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setattr(other_formats, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="MINC 2, which needs the package h5py.*mnc2nii"):
        read_image(tmp_path / "t1.mnc", kind="t1")


def par_header() -> str:
    """A Philips PAR of one volume, 20 x 22 x 19 voxels of 8 mm, slices transverse."""
    general = {
        "Patient name": "nobody", "Examination name": "test", "Protocol name": "T1",
        "Examination date/time": "",
        "Series Type": "Image   MRSERIES", "Acquisition nr": 1, "Reconstruction nr": 1,
        "Scan Duration [sec]": 100, "Max. number of cardiac phases": 1, "Max. number of echoes": 1,
        "Max. number of slices/locations": 19, "Max. number of dynamics": 1, "Max. number of mixes": 1,
        "Patient position": "Head First Supine", "Preparation direction": "Anterior-Posterior",
        "Technique": "T1TFE", "Scan resolution  (x, y)": "20  22", "Scan mode": "3D",
        "Repetition time [ms]": 10, "FOV (ap,fh,rl) [mm]": "176.0 152.0 160.0",
        "Water Fat shift [pixels]": 0, "Angulation midslice(ap,fh,rl)[degr]": "0 0 0",
        "Off Centre midslice(ap,fh,rl) [mm]": "0 0 0", "Flow compensation <0=no 1=yes> ?": 0,
        "Presaturation     <0=no 1=yes> ?": 0, "Phase encoding velocity [cm/sec]": "0 0 0",
        "MTC               <0=no 1=yes> ?": 0, "SPIR              <0=no 1=yes> ?": 0,
        "EPI factor        <0,1=no EPI>": 1, "Dynamic scan      <0=no 1=yes> ?": 0,
        "Diffusion         <0=no 1=yes> ?": 0, "Diffusion echo time [ms]": 0,
        "Max. number of diffusion values": 1, "Max. number of gradient orients": 1,
        "Number of label types   <0=no ASL>": 0,
    }  # fmt: skip
    lines = ["# CLINICAL TRYOUT             Research image export tool     V4.2", "#"]
    lines += [f".    {name:<35}:   {value}" for name, value in general.items()]
    lines += ["# === IMAGE INFORMATION"]
    for n in range(19):
        lines.append(
            f"{n + 1} 1 1 1 0 0 {n} 16 100 20 22 0 1 1 100 50 0 0 0 0 {(n - 9) * 8.0} 0 8 0 0 1 0 2 8 8 "
            "3 0 0 0 1 8 0 0 0 1 0 1 1 7 0 0 0 0 1"
        )
    return "\n".join([*lines, "# === END OF DATA DESCRIPTION FILE", ""])


@pytest.mark.parametrize("name", ["t1.PAR", "t1.REC"])
def test_philips_par_rec(tmp_path: Path, name: str) -> None:
    stored = np.rint(ARRAY.T).astype("<u2")
    (tmp_path / "t1.PAR").write_text(par_header())
    (tmp_path / "t1.REC").write_bytes(stored.tobytes())
    image = read_image(tmp_path / name, kind="t1").image
    assert image.GetSpacing() == pytest.approx((8, 8, 8))
    np.testing.assert_array_equal(np.sort(sitk.GetArrayFromImage(image).ravel()), np.sort(stored.ravel()))
    (tmp_path / "t1.REC").write_bytes(stored.tobytes()[:-2])
    with pytest.raises(InputError, match="cannot be read as PAR/REC.*dcm2niix"):
        read_image(tmp_path / "t1.PAR", kind="t1")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pet.v", "ECAT.*ecatpet2bids"),
        ("t1+orig.HEAD", "AFNI.*3dAFNItoNIFTI"),
        ("t1.mif", "MRtrix.*mrconvert"),
        ("T1.json", "sidecar.*image beside"),
        ("t1.dcm", "slice of a DICOM series"),
    ],
)
def test_other_formats_are_named_with_the_way_out(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 600)
    assert not is_image(tmp_path / name)
    with pytest.raises(InputError, match=f"not of a supported image type.*{says}"):
        read_image(tmp_path / name, kind="t1")


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_nrrd_in_every_space(tmp_path: Path, space: str, signs: tuple[int, int, int]) -> None:
    """SimpleITK before 2.5.6 turns left-anterior-superior by 180 degrees."""
    path = tmp_path / "t1.nrrd"
    header = (
        f"NRRD0005\ntype: float\ndimension: 3\nspace: {space}\nsizes: 20 22 19\n"
        "space directions: (7.9,-1.2,0) (1.2,7.9,0) (0,0,8)\nkinds: domain domain domain\n"
        "endian: little\nencoding: raw\nspace origin: (-70,-90,-60)\n\n"
    )
    path.write_bytes(header.encode() + ARRAY.tobytes(order="F"))
    image = read_image(path, kind="t1").image
    position = OBLIQUE[:3] @ [3, 4, 5, 1]
    np.testing.assert_allclose(world(image, (3, 4, 5)), position * signs, atol=1e-4)


NRRD_FIELDS = "NRRD0005\ntype: float\ndimension: 3\nsizes: 20 22 19\nendian: little\nencoding: raw\n"
MHA_FIELDS = (
    "ObjectType = Image\nNDims = 3\nDimSize = 20 22 19\nElementType = MET_FLOAT\nElementSpacing = 8 8 8\n"
)
DIRECTIONS = "space directions: (8,0,0) (0,8,0) (0,0,8)\n"


@pytest.mark.parametrize(
    ("name", "header", "has_sides"),
    [
        ("t1.nrrd", f"{NRRD_FIELDS}space: left-posterior-superior\n{DIRECTIONS}\n", True),
        ("t1.nrrd", f"{NRRD_FIELDS}space: RAS\n{DIRECTIONS}\n", True),
        ("t1.nrrd", f"{NRRD_FIELDS}spacings: 8 8 8\n\n", False),
        ("t1.nrrd", f"{NRRD_FIELDS}space dimension: 3\n{DIRECTIONS}\n", False),
        ("t1.nrrd", f"{NRRD_FIELDS}space: 3D-right-handed\n{DIRECTIONS}\n", False),
        ("t1.mha", f"{MHA_FIELDS}TransformMatrix = 0 1 0 -1 0 0 0 0 1\nElementDataFile = LOCAL\n", True),
        ("t1.mha", f"{MHA_FIELDS}ElementDataFile = LOCAL\n", False),
    ],
)
def test_nrrd_and_metaimage_without_sides_are_told(
    tmp_path: Path, name: str, header: str, has_sides: bool
) -> None:
    (tmp_path / name).write_bytes(header.encode() + ARRAY.tobytes(order="F"))
    loaded = read_image(tmp_path / name, kind="t1")
    assert [f.code for f in loaded.verdict.findings] == ([] if has_sides else ["orientation-unknown"])
    reader = sitk.ReadImage(str(tmp_path / name))
    assert loaded.image.GetDirection() == pytest.approx(reader.GetDirection())


def test_a_metaimage_with_a_scaling_is_refused(tmp_path: Path) -> None:
    """ITK, so Slicer, shows the values without it."""
    scaling = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementToIntensityFunctionSlope = 2\n"
    content = f"{MHA_FIELDS}{scaling}ElementDataFile = LOCAL\n".encode() + ARRAY.tobytes()
    (tmp_path / "t1.mha").write_bytes(content)
    with pytest.raises(InputError, match="scaling of its values"):
        read_image(tmp_path / "t1.mha", kind="t1")


def test_nrrd_of_several_volumes_says_how_to_get_one(tmp_path: Path) -> None:
    path = tmp_path / "pet.nrrd"
    header = (
        "NRRD0005\ntype: float\ndimension: 4\nspace: left-posterior-superior\nsizes: 3 20 22 19\n"
        "space directions: none (8,0,0) (0,8,0) (0,0,8)\nkinds: list domain domain domain\n"
        "endian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + np.repeat(ARRAY[..., None], 3, 3).tobytes())
    with pytest.raises(InputError, match="holds 3 values a voxel.*Sequences"):
        read_image(path, kind="pet")
