"""Images with damaged headers and data, of every format that is read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from damage import Rng, cut, flip

SIZE = (20, 22, 19)  # i, j, k at 8 mm
NAMES = (
    "a.nii", "a.nii.gz", "a.nhdr", "raw.mhd", "raw.mha", "raw.nrrd", "z.mha", "z.nrrd", "z.mhd", "a.mgz",
    "two.nii", "pair.hdr", "analyze.hdr",
)  # fmt: skip
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


def write(folder: Path) -> None:
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


def damaged(rng: Rng, content: bytes, name: str) -> bytes:
    """The bytes of a file with something wrong, mostly in its header."""
    if name.endswith((".nii.gz", ".mgz")) and rng.random() < 0.8:
        return gzip.compress(
            damaged(rng, gzip.decompress(content), name.removesuffix(".gz").replace("mgz", "mgh")), 1
        )
    binary = name.endswith((".nii", ".hdr", ".mgh", ".mgz", ".gz"))
    ways: list[Callable[[Rng, bytes], bytes]] = [cut, flip, flip]
    ways += [_binary_field] * 4 if binary else [_text_field] * 5 + [_text_line] * 2
    for _ in range(int(rng.integers(1, 4))):
        content = ways[rng.integers(len(ways))](rng, content)
    return content


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
    lines[n : n + 1] = (
        [lines[n]] * 2 if way == 0 else [] if way == 1 else [lines[n], _NEW[rng.integers(len(_NEW))]]
    )
    return b"\n".join(lines) + rest


def spoil(rng: Rng, sound: Path, work: Path) -> Path:
    """One of them, damaged, with what belongs to it."""
    source = sound / NAMES[rng.integers(len(NAMES))]
    for beside in sound.glob(f"{source.stem}.*"):
        (work / beside.name).write_bytes(beside.read_bytes())
    (work / source.name).write_bytes(damaged(rng, source.read_bytes(), source.name))
    return work / source.name


def use(path: Path) -> None:
    """Read it as a T1.

    :raises AssertionError: if what was read makes no sense.
    """
    from MRI2PETLib.images.io import read_image

    image = read_image(path, kind="t1").image
    assert np.isfinite(sitk.GetArrayViewFromImage(image)).all()
    assert np.isfinite([*image.GetOrigin(), *image.GetSpacing(), *image.GetDirection()]).all()
    assert max(s * n for s, n in zip(image.GetSpacing(), image.GetSize())) < 2000
