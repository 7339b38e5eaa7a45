"""1. From a T1 to a synthetic PET.

    python 01_synthesise.py [T1]

Without a T1 a simulated person is used. The result lies on the grid of the T1, in SUVR.
"""

import sys

import SimpleITK as sitk

from MRI2PETLib import synthesize
from MRI2PETLib.simulation import simulate_subject

t1 = sys.argv[1] if len(sys.argv) > 1 else simulate_subject(1, spacing_mm=3.0).t1
result = synthesize(t1, device="cpu")

for reason in result.verdict.reasons():
    print("noticed:", reason)
inside = sitk.GetArrayViewFromImage(result.pet)[sitk.GetArrayViewFromImage(result.mask) > 0]
print(f"Synthetic PET in {result.unit}: mean {inside.mean():.3f}, SD {inside.std():.3f} in the brain.")
model = result.provenance["model"]
print(f"Model {model['id']}: {model['intended_use']}.")
sitk.WriteImage(result.pet, "synthetic_pet.nii.gz")
