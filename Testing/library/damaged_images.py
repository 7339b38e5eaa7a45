"""Images with damaged headers and data, at random but repeatable; what reading them may do is checked.

``python Testing/library/damaged_images.py --seed 0 --count 100000`` tries many, ``test_damaged_images.py``
some, in a child process: a crash of a native reader ends that, and its last line names the file.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SIZE = (20, 22, 19)  # i, j, k at 8 mm
Rng = np.random.Generator
_HOSTILE = (
    "0", "-1", "1", "2", "3", "4", "7", "65536", "2147483647", "-2147483648", "4294967296",
    "99999999999999999999", "1e30", "1e308", "-1e-300", "nan", "inf", "", " ", "x", "%n%n%s", "%99999d",
    "%s%03d.raw 1 10 1", "LIST", "LOCAL", "../../../etc/passwd", "/etc/passwd", "/dev/zero", "True", "False",
    "MET_FLOAT", "MET_DOUBLE_ARRAY", "float", "block", "raw", "gzip", "bzip2", "hex", "A" * 300, "A" * 70000,
    "1 " * 1000, "(1,0,0)", "none none none", "(nan,nan,nan) (0,1,0) (0,0,1)",
    "(1e300,0,0) (0,1e300,0) (0,0,1e300)", "\x00", "\r\nElementDataFile = x%n%n",
)  # fmt: skip
_NEW = (
    b"Comment = " + b"c" * 5000, b"HeaderSize = -1", b"byte skip: -1", b"line skip: 3",
    b"ElementNumberOfChannels = 3",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31))
_FLOATS = (0.0, -1.0, 1.0, 0.5, 1e30, -1e30, 1e-30, 3e38, np.nan, np.inf, -np.inf, 352.0, 348.0, 1e9)


def _image() -> sitk.Image:
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE[::-1]], indexing="ij")
    noise = np.random.default_rng(0).uniform(0, 5, k.shape)
    image = sitk.GetImageFromArray((100 * np.exp(-(i**2 + j**2 + k**2) / 0.3) + noise).astype(np.float32))
    image.SetSpacing([8.0] * 3)
    image.SetOrigin([-70.0, 31.5, -12.25])
    return image


def write_sound_images(folder: Path) -> list[Path]:
    """One file of each format, by the programs that usually write it."""
    import nibabel as nib

    image = _image()
    array = sitk.GetArrayFromImage(image).T
    affine = np.diag([-8.0, -8.0, 8.0, 1.0])
    for name in ("a.nii", "a.nii.gz", "a.nhdr", "raw.mhd"):
        sitk.WriteImage(image, str(folder / name))
    for name in ("raw.mha", "raw.nrrd"):
        sitk.WriteImage(image, str(folder / name), useCompression=False)
    for name in ("z.mha", "z.nrrd", "z.mhd"):
        sitk.WriteImage(image, str(folder / name), useCompression=True)
    nib.save(nib.MGHImage(array, affine), folder / "a.mgz")
    nib.save(nib.Nifti2Image(array, affine), folder / "two.nii")
    nib.save(nib.Nifti1Pair(array, affine), folder / "pair.hdr")
    nib.save(nib.AnalyzeImage(array, affine), folder / "analyze.hdr")
    names = (
        "a.nii a.nii.gz a.nhdr raw.mhd raw.mha raw.nrrd z.mha z.nrrd z.mhd a.mgz two.nii pair.hdr analyze.hdr"
    )
    return [folder / name for name in names.split()]


def damage(rng: Rng, content: bytes, name: str) -> bytes:
    """The bytes of a file with something wrong, mostly in its header."""
    if name.endswith((".nii.gz", ".mgz")) and rng.random() < 0.8:
        return gzip.compress(
            damage(rng, gzip.decompress(content), name.removesuffix(".gz").replace("mgz", "mgh")), 1
        )
    binary = name.endswith((".nii", ".hdr", ".mgh", ".mgz", ".gz"))
    ways: list[Callable[[Rng, bytes], bytes]] = [_cut, _flip, _flip]
    ways += [_binary_field] * 4 if binary else [_text_field] * 5 + [_text_line] * 2
    for _ in range(int(rng.integers(1, 4))):
        content = ways[rng.integers(len(ways))](rng, content)
    return content


def _cut(rng: Rng, content: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def _flip(rng: Rng, content: bytes) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    reach = len(content) if rng.random() < 0.3 else min(len(content), 540)
    for position in rng.integers(0, reach, int(rng.integers(1, 5))):
        changed[position] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _binary_field(rng: Rng, content: bytes) -> bytes:
    changed = bytearray(content)
    start = int(rng.integers(0, 88)) * 4
    kind = ("<i4", "<i2", "<f4", ">i4", ">f4")[rng.integers(5)]
    values = _FLOATS if "f" in kind else _NUMBERS
    with np.errstate(all="ignore"):
        value = np.array(values[rng.integers(len(values))]).astype(kind).tobytes()
    changed[start : start + len(value)] = value
    return bytes(changed)


def _header_end(content: bytes) -> int:
    marks = [
        content.find(mark) + len(mark) for mark in (b"ElementDataFile = LOCAL\n", b"\n\n") if mark in content
    ]
    return min(marks, default=len(content))


def _text_field(rng: Rng, content: bytes) -> bytes:
    """Another value for one of the fields."""
    end = _header_end(content)
    lines, rest = content[:end].split(b"\n"), content[end:]
    n = int(rng.integers(len(lines)))
    for separator in (b" = ", b": "):
        key, separated, _ = lines[n].partition(separator)
        if separated:
            value = _HOSTILE[rng.integers(len(_HOSTILE))].encode("latin-1")
            words = lines[n][len(key + separator) :].split(b" ")
            if rng.random() < 0.5:
                words[rng.integers(len(words))] = value
                value = b" ".join(words)
            lines[n] = key + separator + value
    return b"\n".join(lines) + rest


def _text_line(rng: Rng, content: bytes) -> bytes:
    """A field twice, gone, or new."""
    end = _header_end(content)
    lines, rest = content[:end].split(b"\n"), content[end:]
    n, way = int(rng.integers(len(lines))), rng.integers(3)
    new = (
        b"Comment = " + b"c" * 5000,
        b"HeaderSize = -1",
        b"byte skip: -1",
        b"line skip: 3",
        b"ElementNumberOfChannels = 3",
    )
    lines[n : n + 1] = (
        [lines[n]] * 2 if way == 0 else [] if way == 1 else [lines[n], new[rng.integers(len(new))]]
    )
    return b"\n".join(lines) + rest


def read_one(path: Path) -> str:
    """``read`` or ``refused``.

    :raises AssertionError: if what was read makes no sense.
    :raises Exception: what a user would see as a fault of the program.
    """
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.images.io import read_image

    try:
        image = read_image(path, kind="t1").image
    except InputError:
        return "refused"
    assert np.isfinite(sitk.GetArrayViewFromImage(image)).all()
    assert np.isfinite([*image.GetOrigin(), *image.GetSpacing(), *image.GetDirection()]).all()
    assert max(s * n for s, n in zip(image.GetSpacing(), image.GetSize())) < 2000
    return "read"


def try_many(seed: int, count: int, folder: Path) -> None:
    """Damage and read ``count`` files; prints the seed of each before it is read, and the outcomes at the
    end.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    (folder / "sound").mkdir()
    sound = write_sound_images(folder / "sound")
    tally, faults = {"read": 0, "refused": 0}, 0
    for number in range(seed, seed + count):
        rng = np.random.default_rng(number)
        source = sound[rng.integers(len(sound))]
        work = folder / "work"
        work.mkdir(exist_ok=True)
        for beside in source.parent.glob(f"{source.stem}.*"):
            (work / beside.name).write_bytes(beside.read_bytes())
        content = damage(rng, source.read_bytes(), source.name)
        (work / source.name).write_bytes(content)
        print(f"{number} {source.name}", flush=True)
        try:
            tally[read_one(work / source.name)] += 1
        except Exception:
            faults += 1
            print(f"seed {number}, {source.name}:\n{traceback.format_exc()}", file=sys.stderr)
        for file in work.iterdir():
            file.unlink()
    print(tally, flush=True)
    sys.exit(bool(faults))


def run(seed: int, count: int, timeout_s: float) -> str:
    """Run :func:`try_many` in a child process. Returns its last line.

    :raises AssertionError: if the child crashed, failed or hung; names the seed of the file.
    """
    with tempfile.TemporaryDirectory(prefix="damaged-") as folder:
        command = [sys.executable, __file__, "--seed", str(seed), "--count", str(count), "--folder", folder]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as child:
            try:
                out, err = child.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                err += "\nit hangs"
    last = out.strip().splitlines()[-1] if out.strip() else "nothing"
    assert child.returncode == 0, f"seed {last}: exit code {child.returncode}\n{err[-3000:]}"
    return last


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder:
        try_many(arguments.seed, arguments.count, arguments.folder)
    else:
        for first in range(arguments.seed, arguments.seed + arguments.count, 1000):
            print(first, run(first, min(1000, arguments.seed + arguments.count - first), 600), flush=True)
