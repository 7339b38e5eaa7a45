"""DICOM folders: geometry by hand, choice of the T1 series, incomplete and foreign files."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import dicom_series as dcm
from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.dicom import list_series
from MRI2PETLib.images.io import read_image, same_grid


def test_geometry_and_voxels_by_hand(tmp_path: Path) -> None:
    """Sagittal: i runs to the back (+y), j down (-z), k along the normal y x -z = -x, to the right."""
    array = dcm.volume()
    dcm.write_series(tmp_path, array, **dcm.MPRAGE)
    loaded = read_image(tmp_path, kind="t1")
    image = loaded.image
    assert image.GetSize() == (32, 30, 24)
    assert image.GetSpacing() == pytest.approx((6, 6, 6))
    assert image.TransformIndexToPhysicalPoint((0, 0, 0)) == pytest.approx((-90, 40, 25))
    assert image.TransformIndexToPhysicalPoint((1, 0, 0)) == pytest.approx((-90, 46, 25))
    assert image.TransformIndexToPhysicalPoint((0, 1, 0)) == pytest.approx((-90, 40, 19))
    assert image.TransformIndexToPhysicalPoint((0, 0, 1)) == pytest.approx((-96, 40, 25))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    assert image.GetPixelID() == sitk.sitkFloat32
    assert loaded.verdict.level == "ok"
    assert loaded.sha256 == sha256_of(tmp_path)
    assert loaded.metadata["series"]["SeriesDescription"] == "t1_mprage_sag"
    assert "PatientID" not in loaded.metadata["series"]


def test_agrees_with_gdcm_on_an_anisotropic_oblique_series(tmp_path: Path) -> None:
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.2, -0.1, 0.4)
    matrix = np.array(rotation.GetMatrix()).reshape(3, 3)
    orientation = [float(f"{v:.9f}") for v in [*matrix[:, 0], *matrix[:, 1]]]
    dcm.write_series(tmp_path, dcm.volume(), orientation=orientation, spacing=(5.0, 6.0, 7.0), **dcm.MPRAGE)
    ours = read_image(tmp_path, kind="t1").image
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    gdcm = sitk.Cast(reader.Execute(), sitk.sitkFloat32)
    assert same_grid(ours, gdcm)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(gdcm))


def test_other_files_and_copies_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "Ünï cödé"
    array = dcm.volume()
    dcm.write_series(folder, array, **dcm.MPRAGE)
    (folder / "README.txt").write_text("notes")
    (folder / "DICOMDIR").write_bytes(b"\0" * 300)
    (folder / "empty").write_bytes(b"")
    shutil.copy(folder / "IM0003", folder / "copy of IM0003")
    image = read_image(folder, kind="t1").image
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)


def test_t1_is_chosen_among_other_series(tmp_path: Path) -> None:
    array = dcm.volume(3)
    dcm.write_series(tmp_path / "t2", dcm.volume(1), **dcm.T2)
    uid = dcm.write_series(tmp_path / "t1", array, **dcm.MPRAGE)
    phase = {**dcm.MPRAGE, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}
    dcm.write_series(tmp_path / "phase", dcm.volume(2), **phase)
    gad = {**dcm.MPRAGE, "SeriesDescription": "t1_mprage post", "ContrastBolusAgent": "Gd", "SeriesNumber": 9}
    dcm.write_series(tmp_path / "gad", dcm.volume(4), **gad)
    pet = {"Modality": "PT", "SeriesDescription": "PBR28"}
    dcm.write_series(tmp_path / "pet", dcm.volume(5), **pet)
    loaded = read_image(tmp_path, kind="t1")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image), array)
    assert loaded.metadata["series"]["SeriesInstanceUID"] == uid
    assert [f.code for f in loaded.verdict.findings] == ["series-chosen"]
    assert "Of 5 series" in loaded.verdict.reasons()[0]
    assert "t1_mprage_sag" in loaded.verdict.reasons()[0]
    assert loaded.verdict.level == "ok"


def test_physics_decides_where_the_description_does_not(tmp_path: Path) -> None:
    array = dcm.volume(1)
    bravo = {**dcm.MPRAGE, "SeriesDescription": "Ax 3D", "RepetitionTime": 7.3, "ScanningSequence": "GR"}
    dcm.write_series(tmp_path / "a", array, **{**bravo, "EchoTime": 3.0, "InversionTime": 400.0})
    dcm.write_series(tmp_path / "b", dcm.volume(2), **{**dcm.T2, "SeriesDescription": "Sag 3D"})
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path, kind="t1").image), array)


def test_localiser_with_three_orientations_is_passed_over(tmp_path: Path) -> None:
    uid = dcm.generate_uid()
    for orientation in (dcm.AXIAL, dcm.SAGITTAL, [1, 0, 0, 0, 0, -1]):
        name = "".join(str(abs(v)) for v in orientation)
        scout = {"SeriesDescription": "localizer", "EchoTime": 4.0, "RepetitionTime": 20.0}
        dcm.write_series(
            tmp_path, dcm.volume()[:3], uid=uid, prefix=f"L{name}", orientation=orientation, **scout
        )
    array = dcm.volume(2)
    dcm.write_series(tmp_path, array, **dcm.MPRAGE)
    assert [s.size[2] for s in list_series(tmp_path)].count(3) == 3
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path, kind="t1").image), array)


def test_finer_of_two_t1s_is_taken(tmp_path: Path) -> None:
    fine = dcm.volume(1, (48, 40, 40))
    dcm.write_series(tmp_path / "coarse", dcm.volume(), **dcm.MPRAGE)
    dcm.write_series(tmp_path / "fine", fine, spacing=(4.5, 4.5, 3.0), **dcm.MPRAGE)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path, kind="t1").image), fine)


def test_ambiguous_choice_lists_the_candidates(tmp_path: Path) -> None:
    first = dcm.write_series(tmp_path / "1", dcm.volume(1), **dcm.MPRAGE)
    second = dcm.write_series(tmp_path / "2", dcm.volume(2), **{**dcm.MPRAGE, "SeriesNumber": 6})
    with pytest.raises(InputError, match="2 series that could be the T1") as caught:
        read_image(tmp_path, kind="t1")
    assert first in caught.value.hint and second in caught.value.hint
    assert "32 x 30 x 24 at 6.00 x 6.00 x 6.00 mm" in caught.value.hint
    image = read_image(tmp_path, kind="t1", series_uid=second)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image.image), dcm.volume(2))
    with pytest.raises(InputError, match=r"no series 1\.2\.3"):
        read_image(tmp_path, kind="t1", series_uid="1.2.3")


def test_only_volume_that_does_not_look_like_a_t1_is_used_with_a_warning(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume(), **dcm.T2)
    loaded = read_image(tmp_path, kind="t1")
    assert [f.code for f in loaded.verdict.findings] == ["series-not-recognised"]
    assert loaded.verdict.level == "warn"


def test_several_patients_are_refused(tmp_path: Path) -> None:
    dcm.write_series(tmp_path / "1", dcm.volume(1), **dcm.MPRAGE)
    dcm.write_series(tmp_path / "2", dcm.volume(2), **{**dcm.MPRAGE, "PatientID": "somebody else"})
    with pytest.raises(InputError, match="several patients"):
        read_image(tmp_path, kind="t1")


def test_missing_slices_are_refused(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume(), leave_out=(4, 10, 11), **dcm.MPRAGE)
    with pytest.raises(InputError, match=r"lacks 3 slices \(21 found, 6.00 mm apart\)"):
        read_image(tmp_path, kind="t1")


def test_uneven_slices(tmp_path: Path) -> None:
    array = dcm.volume()
    for shift, folder in ((0.25, "little"), (1.5, "much")):
        positions = [[-90.0 - 6 * k - shift * (k == 7), 40.0, 25.0] for k in range(len(array))]
        dcm.write_series(
            tmp_path / folder, array, per_slice={"ImagePositionPatient": positions}, **dcm.MPRAGE
        )
    loaded = read_image(tmp_path / "little", kind="t1")
    assert [f.code for f in loaded.verdict.findings] == ["uneven-slices"]
    with pytest.raises(InputError, match="uneven: 4.50 to 7.50 mm apart"):
        read_image(tmp_path / "much", kind="t1")


def test_tilted_gantry_is_resampled_and_told(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume(), step=np.array([-6.0, 0.0, 0.8]), **dcm.MPRAGE)
    assert [f.code for f in read_image(tmp_path, kind="t1").verdict.findings] == ["shear"]


def test_repeated_positions(tmp_path: Path) -> None:
    uid = dcm.write_series(tmp_path, dcm.volume(1), prefix="A", **dcm.MPRAGE)
    dcm.write_series(tmp_path, dcm.volume(2), prefix="B", uid=uid, **dcm.MPRAGE)
    with pytest.raises(InputError, match="4-D: it has 2 frames"):
        read_image(tmp_path, kind="t1")
    (tmp_path / "B0003").unlink()
    with pytest.raises(InputError, match="different numbers of images"):
        read_image(tmp_path, kind="t1")


def test_slab_series_is_refused_by_its_size(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume()[:18], spacing=(6.0, 6.0, 2.0), **dcm.MPRAGE)
    with pytest.raises(InputError, match="covers only 36 mm in left-right"):
        read_image(tmp_path, kind="t1")


def test_slice_cut_short(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume(), **dcm.MPRAGE)
    path = tmp_path / "IM0005"
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(InputError, match="IM0005 is incomplete: it holds 1220 of 1920 bytes"):
        read_image(tmp_path, kind="t1")


def test_damaged_tags_are_refused_or_harmless(tmp_path: Path) -> None:
    """Bytes overwritten in the header of one file: read or refused, never anything but an InputError."""
    dcm.write_series(tmp_path, dcm.volume(), **dcm.MPRAGE)
    path = sorted(tmp_path.iterdir())[7]
    content = path.read_bytes()
    refused = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for position in rng.integers(132, 1000, 6):
            damaged[position] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            read_image(tmp_path, kind="t1")
        except InputError:
            refused += 1
    assert refused > 5


def test_rescale_slope_of_each_slice_is_applied(tmp_path: Path) -> None:
    """PET scanners give every slice its own slope."""
    array = dcm.volume()
    slopes = [round(0.5 + 0.01 * k, 4) for k in range(len(array))]
    rescale = {"RescaleSlope": slopes, "RescaleIntercept": [0] * len(array)}
    dcm.write_series(tmp_path, array, per_slice=rescale, Modality="PT", SeriesDescription="PET")
    image = read_image(tmp_path, kind="pet").image
    expected = array * np.array(slopes)[:, None, None]
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), expected, rtol=1e-6)


def test_folders_without_a_series(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no DICOM image \(0 files"):
        read_image(tmp_path, kind="t1")
    (tmp_path / "sub-01_T1w.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="no DICOM image") as caught:
        read_image(tmp_path, kind="t1")
    assert "sub-01_T1w.nii.gz" in caught.value.hint
    dcm.write_series(tmp_path / "pet", dcm.volume(), Modality="PT", SeriesDescription="PBR28")
    with pytest.raises(InputError, match=r"no T1 series \(modality MR\)") as caught:
        read_image(tmp_path, kind="t1")
    assert "PBR28" in caught.value.hint


def test_enhanced_multi_frame_is_refused(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume()[:1], NumberOfFrames=24)
    with pytest.raises(InputError, match="multi-frame DICOM, which is not supported") as caught:
        read_image(tmp_path, kind="t1")
    assert "dcm2niix" in caught.value.hint


def test_real_series(shared_data: Path, tmp_path: Path) -> None:
    """A Siemens MPRAGE of 192 sagittal slices; the same grid and voxels as GDCM's own reader gives."""
    with tarfile.open(shared_data / "dicom" / "SAG-anon.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    loaded = read_image(tmp_path, kind="t1")
    assert loaded.image.GetSize() == (256, 256, 192)
    assert loaded.image.GetSpacing() == pytest.approx((0.859375, 0.859375, 0.9), abs=1e-6)
    assert loaded.verdict.level == "ok"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    gdcm = reader.Execute()
    assert same_grid(loaded.image, gdcm)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(loaded.image)[::9], sitk.GetArrayFromImage(gdcm)[::9].astype(np.float32)
    )


def test_echo_times_that_differ_by_rounding_are_one_volume(tmp_path: Path) -> None:
    """A scanner wrote 2.98 and 2.984 ms into the slices of one scan."""
    array = dcm.volume()
    echoes = [2.98 if k % 3 else 2.984 for k in range(len(array))]
    dcm.write_series(tmp_path, array, per_slice={"EchoTime": echoes}, **dcm.MPRAGE)
    loaded = read_image(tmp_path, kind="t1")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image), array)
    assert loaded.verdict.level == "ok"


def test_echoes_of_one_series_are_told_apart(tmp_path: Path) -> None:
    """The multi-echo MPRAGE of the TSPO study: four echoes under one UID."""
    uid = dcm.generate_uid()
    for n, echo in enumerate((1.64, 3.5, 5.36, 7.22)):
        dcm.write_series(tmp_path, dcm.volume(n), uid=uid, prefix=f"E{n}", **{**dcm.MPRAGE, "EchoTime": echo})
    with pytest.raises(InputError, match="4 series that could be the T1") as caught:
        read_image(tmp_path, kind="t1")
    assert "--series" in caught.value.hint and "series_uid" not in caught.value.hint
    lines = caught.value.hint.split("; ")
    assert len(set(lines)) == len(lines) == 4
    for n, echo in enumerate(("1.64", "3.5", "5.36", "7.22"), start=1):
        (line,) = [text for text in lines if f"TE {echo} ms" in text]
        key = f"{uid}#{line.split('#')[1].split()[0].rstrip('.')}"
        image = read_image(tmp_path, kind="t1", series_uid=key)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image.image), dcm.volume(n - 1))
    with pytest.raises(InputError, match="4 series that could be"):
        read_image(tmp_path, kind="t1", series_uid=uid)


def test_acquisitions_of_one_series_are_told_apart(tmp_path: Path) -> None:
    """Two scans of the same positions under one UID, that differ in their acquisition only."""
    uid = dcm.generate_uid()
    for n, time in ((1, "101500"), (2, "102200")):
        tags = {**dcm.MPRAGE, "AcquisitionNumber": n, "AcquisitionTime": time}
        dcm.write_series(tmp_path, dcm.volume(n), uid=uid, prefix=f"A{n}", **tags)
    with pytest.raises(InputError, match="2 series that could be the T1") as caught:
        read_image(tmp_path, kind="t1")
    assert "acquisition 1, acquired 10:15:00" in caught.value.hint
    assert "acquisition 2, acquired 10:22:00" in caught.value.hint
    image = read_image(tmp_path, kind="t1", series_uid=f"{uid}#2")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image.image), dcm.volume(2))


def test_series_that_share_a_uid_by_mistake_are_told_apart(tmp_path: Path) -> None:
    uid = dcm.generate_uid()
    dcm.write_series(tmp_path, dcm.volume(1), uid=uid, prefix="T1", **dcm.MPRAGE)
    dcm.write_series(tmp_path, dcm.volume(2), uid=uid, prefix="T2", **{**dcm.T2, "EchoTime": 2.98})
    loaded = read_image(tmp_path, kind="t1", series_uid=uid)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image), dcm.volume(1))


def test_acquisition_numbers_that_follow_the_slices_do_not_split(tmp_path: Path) -> None:
    numbers = [1 + k % 2 for k in range(dcm.SHAPE[0])]
    dcm.write_series(tmp_path, dcm.volume(), per_slice={"AcquisitionNumber": numbers}, **dcm.MPRAGE)
    assert len(list_series(tmp_path)) == 1


@pytest.mark.parametrize("implicit", [False, True])
def test_data_set_without_preamble_is_read(tmp_path: Path, implicit: bool) -> None:
    """What archives of the last century hold: the file begins with the first element of group 0008."""
    array = dcm.volume()
    dcm.write_series(tmp_path / "whole", array, **dcm.MPRAGE)
    (tmp_path / "bare").mkdir()
    for file in (tmp_path / "whole").iterdir():
        data = pydicom.dcmread(file)
        data.preamble, data.file_meta = None, pydicom.dataset.FileMetaDataset()
        bare = tmp_path / "bare" / file.name
        pydicom.dcmwrite(bare, data, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert bare.read_bytes()[:2] == b"\x08\x00"
    (tmp_path / "bare" / "notes.txt").write_bytes(b"\x08\x00 a text that begins oddly")
    loaded = read_image(tmp_path / "bare", kind="t1")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(loaded.image), array)
    assert same_grid(loaded.image, read_image(tmp_path / "whole", kind="t1").image)


@pytest.mark.parametrize("dated", [True, False])
def test_frames_are_in_the_order_of_their_times(tmp_path: Path, dated: bool) -> None:
    """23:50, 23:55:30 and 00:05, spelled in three ways; the midnight is passed with and without dates."""
    uid = dcm.generate_uid()
    for n, time in ((2, "0005"), (0, "23:50:00"), (1, "235530.5")):
        tags = {"Modality": "PT", "AcquisitionTime": time}
        if dated:
            tags["AcquisitionDate"] = "20200302" if n == 2 else "20200301"
        dcm.write_series(tmp_path, dcm.volume(n), uid=uid, prefix=f"F{n}", **tags)
    (series,) = list_series(tmp_path)
    assert series.n_frames == 3
    assert [series.files[t * 24].name[:2] for t in range(3)] == ["F0", "F1", "F2"]
