"""A container of the BIDS App at work: what it makes is what the command makes outside of it.

What follows ``--`` runs the container and is given the arguments of ``mri2pet bids``; FOLDER stands for the
folder to be bound, under its own name:

    python Testing/containers/check_image.py -- docker run --rm --network none --read-only --tmpfs /tmp \\
      --user 1234:1234 --volume FOLDER:FOLDER mri2pet
    python Testing/containers/check_image.py -- apptainer run --cleanenv --containall --bind FOLDER FILE.sif

Two simulated people with a PET, the shipped model. Everybody may write to the output, whatever user the
container runs as.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "MRI2PETSynthesis"), str(REPOSITORY / "Testing" / "slurm")]
TOLERANCE_SUVR = 1e-5  # another number of threads changes the last bits of a registration


def check(folder: Path, container: Sequence[str]) -> None:
    from array_job import environment
    from MRI2PETLib.synthesis.batch import SYNTHESIS

    outside = [sys.executable, "-m", "MRI2PETLib", "bids"]
    inside = [word.replace("FOLDER", str(folder)) for word in container]
    for name, line in (("outside", outside), ("inside", inside)):
        output = folder / name
        output.mkdir()
        output.chmod(0o777)
        for level in (["participant", "--with-pet", "--progress=none"], ["group"]):
            subprocess.run([*line, str(folder / "bids"), str(output), *level], env=environment(), check=True)
    rows = SYNTHESIS.read(folder / "inside")
    assert [row.status for row in rows] == ["done"] * 2, rows
    assert "2 cases: " in (folder / "inside/group.html").read_text(encoding="utf-8")
    paths = [path.relative_to(folder / "outside") for path in (folder / "outside").rglob("*.nii.gz")]
    farthest = 0.0
    for path in paths:
        images = [sitk.ReadImage(folder / name / path) for name in ("outside", "inside")]
        one, other = (sitk.GetArrayFromImage(image).astype(float) for image in images)
        farthest = max(farthest, float(np.abs(one - other).max()))
    assert len(paths) >= 4 and farthest <= TOLERANCE_SUVR, (paths, farthest)
    owners = {path.stat().st_uid for path in (folder / "inside").rglob("*.nii.gz")}
    print(
        f"{len(paths)} images, at most {farthest:.1g} from those made outside; they belong to user {owners}"
    )


def main(words: Sequence[str]) -> None:
    from array_job import write_inputs

    if words[:1] != ["--"] or not words[1:]:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        write_inputs(folder, 2)
        check(folder, words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
