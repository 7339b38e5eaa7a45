"""Dice of the brain mask against known truth on heads synthesised from label maps, and the time a case.

    python Testing/benchmarks/brain_mask_dice.py [FOLDER OF training_seg_*.nii.gz]

Truth hugs the cortex: grey and white matter, ventricles, cerebellum and brainstem, closed by 5 mm and filled.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))
from head_phantom import dice, head_from_labels  # noqa: E402
from MRI2PETLib.preprocessing.brain_mask import extract_brain  # noqa: E402

# Spacing in mm, orientation, bias, noise, largest rotation in degrees; the subjects take turns.
CASES = (
    ((1.0, 1.0, 1.0), "LPS", 0.2, 0.03, 8),
    ((1.2, 1.2, 1.2), "RAS", 0.3, 0.04, 15),
    ((1.0, 1.0, 3.0), "LAS", 0.5, 0.06, 25),
    ((0.9, 0.9, 2.0), "PIR", 0.4, 0.05, 12),
    ((1.6, 1.6, 1.6), "ASR", 0.3, 0.03, 20),
    ((1.0, 1.0, 1.0), "RPI", 0.5, 0.06, 25),
    ((1.0, 2.0, 1.0), "SRA", 0.2, 0.04, 15),
    ((1.2, 1.0, 1.0), "LIP", 0.4, 0.04, 10),
    ((0.9, 0.9, 5.0), "LPS", 0.3, 0.03, 10),
    ((2.0, 2.0, 2.0), "PSR", 0.3, 0.05, 15),
    ((3.0, 1.0, 1.0), "SAL", 0.2, 0.03, 20),
    ((1.0, 1.0, 1.0), "RSA", 0.5, 0.05, 25),
)


def main() -> None:
    """Print one row a case."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    default = Path(__file__).resolve().parents[3] / "shared" / "data" / "labels"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    subjects = sorted(folder.glob("training_seg_*.nii.gz"))
    if not subjects:
        sys.exit(f"no training_seg_*.nii.gz in {folder}")
    print("case subject           spacing          axes  dice   missed extra  r     MI    CPU-s verdict")
    rows = []
    for number, (spacing, orientation, bias, noise, rotation) in enumerate(CASES):
        path = subjects[number % len(subjects)]
        head = head_from_labels(
            path,
            100 + number,
            spacing_mm=spacing,
            orientation=orientation,
            rotation_deg=rotation,
            bias=bias,
            noise=noise,
        )
        started = time.process_time()
        result = extract_brain(head.t1)
        seconds = time.process_time() - started
        mask, true = (sitk.GetArrayViewFromImage(m) > 0 for m in (result.mask, head.brain))
        missed, extra = (true & ~mask).sum() / true.sum(), (mask & ~true).sum() / true.sum()
        rows.append((dice(result.mask, head.brain), seconds))
        r, information = (result.measures[f"template_{k}"] for k in ("correlation", "mutual_information"))
        print(
            f"{number:4d} {path.name[:15]:17s} {'x'.join(map(str, spacing)):16s} {orientation:5s} "
            f"{rows[-1][0]:.4f} {missed:.3f}  {extra:.3f}  {r:.3f} {information:.3f} {seconds:5.1f} "
            f"{result.verdict.level}",
            flush=True,
        )
    scores, times = np.array(rows).T
    print(f"mean Dice {scores.mean():.4f}, lowest {scores.min():.4f}, below 0.95: {(scores < 0.95).sum()}")
    print(f"CPU-s: mean {times.mean():.1f}, largest {times.max():.1f}")


if __name__ == "__main__":
    main()
