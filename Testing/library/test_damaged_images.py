"""Damage is noticed before any number comes of it: checksums, missing voxels, hostile headers, no files."""

from __future__ import annotations

import gzip
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fuzz_images import SIZE, write

from dicom_series import MPRAGE, volume, write_series
from MRI2PETLib.cli import main
from MRI2PETLib.core import memory
from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images import raw
from MRI2PETLib.images.io import read_image


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write(folder)
    return folder


def values(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(read_image(path, kind="t1").image)


def copied(sound: Path, folder: Path, name: str) -> Path:
    for file in sound.glob(f"{Path(name).name.partition('.')[0]}.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / name


def test_sound_images_of_all_formats_are_equal(sound: Path) -> None:
    first = values(sound / "a.nii")
    for name in (
        "a.nii.gz a.nhdr raw.mhd raw.mha raw.nrrd z.mha z.nrrd z.mhd a.mgz two.nii pair.hdr pair.img "
        "analyze.hdr analyze.img"
    ).split():
        np.testing.assert_array_equal(values(sound / name), first, err_msg=name)


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("a.nii.gz", "a.nii.gz"),
        ("z.mha", "z.mha"),
        ("z.mhd", "z.zraw"),
        ("z.nrrd", "z.nrrd"),
        ("a.mgz", "a.mgz"),
    ],
)
def test_one_flipped_bit_of_compressed_voxels_is_noticed(
    sound: Path, tmp_path: Path, name: str, damaged: str
) -> None:
    path = copied(sound, tmp_path, name)
    content = (tmp_path / damaged).read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(len(content) // 3, len(content), 40):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        (tmp_path / damaged).write_bytes(changed)
        with pytest.raises(InputError, match="cannot be read"):
            read_image(path, kind="t1")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.nii", "a.nii"),
        ("two.nii", "two.nii"),
        ("pair.hdr", "pair.img"),
        ("raw.mha", "raw.mha"),
        ("raw.mhd", "raw.raw"),
        ("raw.nrrd", "raw.nrrd"),
        ("analyze.hdr", "analyze.img"),
    ],
)
def test_one_missing_byte_of_plain_voxels_is_noticed(
    sound: Path, tmp_path: Path, name: str, data: str
) -> None:
    path = copied(sound, tmp_path, name)
    content = (tmp_path / data).read_bytes()
    (tmp_path / data).write_bytes(content[:-1])
    with pytest.raises(InputError, match="cannot be read"):
        read_image(path, kind="t1")
    (tmp_path / data).write_bytes(content + b"more")
    assert np.isfinite(values(path)).all()


@pytest.mark.parametrize("missing", [2, 1000])
def test_a_dicom_slice_with_fewer_pixels_is_named(tmp_path: Path, missing: int) -> None:
    """ITK fills such a slice with whatever is in memory."""
    write_series(tmp_path / "t1", volume(), **MPRAGE)
    file = sorted((tmp_path / "t1").iterdir())[3]
    file.write_bytes(file.read_bytes()[:-missing])
    with pytest.raises(InputError, match=rf"slice .*{file.name} is incomplete: it holds \d+ of 1920 bytes"):
        read_image(tmp_path / "t1", kind="t1")


@pytest.mark.parametrize(
    ("tag", "value", "says"),
    [
        ("BitsAllocated", 8, "holds 1920 bytes, 960 by its tags"),  # ITK would take half of them
        ("Rows", 1, "lacks 1 slices|by its tags"),
        ("RescaleSlope", "0", "rescale slope of 0"),
    ],
)
def test_a_dicom_slice_whose_tags_contradict_its_pixels_is_named(
    tmp_path: Path, tag: str, value: object, says: str
) -> None:
    import pydicom

    write_series(tmp_path / "t1", volume(), **MPRAGE)
    file = sorted((tmp_path / "t1").iterdir())[3]
    data = pydicom.dcmread(file)
    setattr(data, tag, value)
    data.save_as(file)
    with pytest.raises(InputError, match=says):
        read_image(tmp_path / "t1", kind="t1")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("x%n%n%s 1 100 1", "several files"),
        ("slice%03d.raw 1 19 1", "several files"),
        ("LIST", "several files"),
        ("../raw.raw", "outside of its folder"),
        ("a/../../raw.raw", "outside of its folder"),
        ("/etc/passwd", "outside of its folder"),
        (r"..\raw.raw", "outside of its folder"),
        (r"C:\raw.raw", "outside of its folder"),
        ("other.raw", "is missing"),
        ("", "cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["raw.mhd", "a.nhdr"])
def test_names_in_a_header_are_plain_and_inside(
    sound: Path, tmp_path: Path, name: str, value: str, says: str
) -> None:
    (tmp_path / "in").mkdir()
    path = copied(sound, tmp_path / "in", name)
    (tmp_path / "raw.raw").write_bytes((sound / "raw.raw").read_bytes())
    text = path.read_text().replace("raw.raw", value).replace("data file: a.raw", f"data file: {value}")
    path.write_text(text)
    with pytest.raises(InputError, match=says if value else "cannot be read|several files"):
        read_image(path, kind="t1")
    if value == "LIST":
        path.write_text(text + "raw.raw\n")
        with pytest.raises(InputError, match="several files|cannot be read"):
            read_image(path, kind="t1")


def test_data_in_a_folder_below_are_read(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path, "raw.mhd")
    (tmp_path / "below").mkdir()
    (tmp_path / "raw.raw").rename(tmp_path / "below" / "raw.raw")
    path.write_text(path.read_text().replace("raw.raw", "below/raw.raw"))
    np.testing.assert_array_equal(values(path), values(sound / "a.nii"))
    before = read_image(path, kind="t1").sha256
    (tmp_path / "below" / "raw.raw").write_bytes(bytes(1) + (sound / "raw.raw").read_bytes()[1:])
    assert read_image(path, kind="t1").sha256 != before


@pytest.mark.parametrize("offset", [1e30, -5.0, float("nan"), float("inf"), 1e8])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_that_begin_nowhere(sound: Path, tmp_path: Path, name: str, offset: float) -> None:
    content = (sound / name).read_bytes()
    plain = bytearray(gzip.decompress(content) if name.endswith(".gz") else content)
    plain[108:112] = np.float32(offset).tobytes()
    (tmp_path / name).write_bytes(gzip.compress(plain) if name.endswith(".gz") else plain)
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / name, kind="t1")


@pytest.mark.skipif(os.name != "posix", reason="pipes, sockets and devices as files")
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes into the pipe: opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.nii.gz")
    listening = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    listening.bind("socket.nii")
    for path, kind in (
        (tmp_path / "pipe.nii.gz", "a pipe"),
        (tmp_path / "socket.nii", "a socket"),
        (Path("/dev/zero"), "a device"),
    ):
        for action in (lambda p: read_image(p, kind="t1"), sha256_of):
            with pytest.raises(InputError, match=f"is {kind}, not a file|is no file that can be read"):
                action(path)
        command = ["synthesize", str(path), "-o", str(tmp_path / "out"), "--progress", "none"]
        assert main(command) == InputError.exit_code
        assert f"is {kind}, not a file" in capsys.readouterr().err
    listening.close()


def test_links_and_pointers_name_the_remedy(tmp_path: Path) -> None:
    annex = tmp_path / "annex.nii.gz"
    annex.symlink_to("../.git/annex/objects/Xz/k3/MD5E-s1--a.nii.gz/MD5E-s1--a.nii.gz")
    unlocked = tmp_path / "unlocked.nii.gz"
    unlocked.write_text("/annex/objects/MD5E-s14--0cc175b9.nii.gz\n")
    lfs = tmp_path / "lfs.nii"
    lfs.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    dangling = tmp_path / "dangling.nii"
    dangling.symlink_to("nowhere.nii")
    for path, says in (
        (annex, "not been downloaded.*git annex get"),
        (unlocked, "not been downloaded.*git annex get"),
        (lfs, "not been downloaded.*git lfs pull"),
        (dangling, "link to nowhere.nii, which does not exist"),
    ):
        with pytest.raises(InputError, match=says):
            read_image(path, kind="t1")


def test_foreign_bytes_behind_the_data_are_told(sound: Path, tmp_path: Path) -> None:
    content = (sound / "a.nii.gz").read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content + b"<html>not found</html>")
    loaded = read_image(path, kind="t1")
    assert [f.code for f in loaded.verdict.findings] == ["foreign-tail"]
    assert "22 bytes" in loaded.verdict.reasons()[0]
    np.testing.assert_array_equal(values(path), values(sound / "a.nii"))
    plain = gzip.decompress(content)
    members = [gzip.compress(plain[: len(plain) // 2]), gzip.compress(plain[len(plain) // 2 :])]
    for whole in (content + bytes(1000), members[0] + members[1], members[0] + bytes(7) + members[1]):
        path.write_bytes(whole)
        assert read_image(path, kind="t1").verdict.level == "ok"
        np.testing.assert_array_equal(values(path), values(sound / "a.nii"))
    path.write_bytes(members[0])
    with pytest.raises(InputError, match=r"cannot be read.*it holds"):
        read_image(path, kind="t1")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "raw.mha", "z.nrrd", "a.mgz", "dicom"])
def test_too_little_memory_is_said_before_reading(
    sound: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sound / name
    if name == "dicom":
        path = tmp_path / "dicom"
        write_series(path, volume(), **MPRAGE)
    monkeypatch.setattr(raw, "free_memory", lambda: 100_000)
    with pytest.raises(InputError, match=r"voxels, which take about 0\.0 GB of memory; 0\.0 GB are free"):
        read_image(path, kind="t1")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_the_limit_of_a_process_counts(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import resource, psutil; from MRI2PETLib.core.memory import free_memory\n"
        "used = psutil.Process().memory_info().vms\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))\n"
        "print(free_memory())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 150_000_000 < int(out) <= 200_000_000


@pytest.mark.parametrize("version", [1, 2])
def test_the_memory_of_a_job_counts(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of Slurm has 16 MB, 5 are taken, and 3 of these are a cache of files; its step has no limit."""
    root = tmp_path if version == 2 else tmp_path / "memory"
    job, own = root / "slurm/job_7", tmp_path / "cgroup"
    (job / "step_0").mkdir(parents=True)
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    for folder, limit in ((job, "16000000"), (job / "step_0", "max" if version == 2 else str(2**63 - 4096))):
        for name, text in zip(names[:2], (limit, "5000000")):
            (folder / name).write_text(f"{text}\n")
        (folder / "memory.stat").write_text(f"anon 2000000\n{names[2]} 3000000\n")
    line = "0::" if version == 2 else "4:memory:"
    own.write_text(f"9:name=systemd:/x\n{line}/slurm/job_7/step_0\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN", own)
    assert memory.free_memory() == 14_000_000
    (job / names[1]).write_text("30000000\n")
    assert memory.free_memory() == 0


def test_size_is_as_written(sound: Path) -> None:
    assert read_image(sound / "a.mgz", kind="t1").image.GetSize() == SIZE
