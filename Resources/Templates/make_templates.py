"""Make the 2 mm template files of this folder from the ICBM 152 2009a maps that nilearn distributes.

    pip install nilearn && python Resources/Templates/make_templates.py

Brain-only T1, brain mask, and grey matter, white matter and CSF probability (0-255 for 0-1), on one grid
padded by 24 mm so that a registration has room around the brain. CSF is what the mask holds beyond grey and
white matter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nilearn.datasets import (
    load_mni152_brain_mask,
    load_mni152_gm_template,
    load_mni152_template,
    load_mni152_wm_template,
)

PAD = 12  # voxels of 2 mm


def main() -> None:
    here = Path(__file__).resolve().parent
    mask_image = load_mni152_brain_mask(resolution=2)
    mask = np.asarray(mask_image.dataobj) > 0
    t1 = np.asarray(load_mni152_template(resolution=2).dataobj, dtype=float) * mask
    gm = np.asarray(load_mni152_gm_template(resolution=2).dataobj, dtype=float) * mask
    wm = np.asarray(load_mni152_wm_template(resolution=2).dataobj, dtype=float) * mask
    scale = np.maximum(gm + wm, 1.0)
    gm, wm = gm / scale, wm / scale
    csf = np.clip(mask - gm - wm, 0, 1)
    top = np.percentile(t1[mask], 99.9)
    volumes = {
        "icbm152_2009a_T1": t1 / top * 255,
        "icbm152_2009a_mask": mask * 1,
        "icbm152_2009a_gm": gm * 255,
        "icbm152_2009a_wm": wm * 255,
        "icbm152_2009a_csf": csf * 255,
    }
    affine = mask_image.affine @ np.vstack([np.c_[np.eye(3), -PAD * np.ones(3)], [0, 0, 0, 1]])
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    for name, volume in volumes.items():
        padded = np.pad(np.clip(np.rint(volume), 0, 255).astype(np.uint8), PAD)
        image = sitk.GetImageFromArray(np.ascontiguousarray(padded.T))
        spacing = np.linalg.norm(lps[:, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
        image.SetOrigin(lps[:, 3].tolist())
        sitk.WriteImage(image, str(here / f"{name}.nii.gz"), useCompression=True)


if __name__ == "__main__":
    main()
