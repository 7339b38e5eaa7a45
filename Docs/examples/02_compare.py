"""2. How close does it come? A synthetic against a real PET of one person, with the baselines beside it.

    python 02_compare.py [T1 PET]

Without files a simulated person is used, whose PET is simulated too. Everything is written below ./example.
"""

import sys
from pathlib import Path

from MRI2PETLib.cli import main
from MRI2PETLib.evaluation.case import evaluate_case
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.metrics import METRICS
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.reports.case_report import write_comparison

folder = Path("example")
if len(sys.argv) > 2:
    t1, pet = map(Path, sys.argv[1:3])
else:
    main(["simulate", "-n", "1", "--spacing-mm", "3", "-o", str(folder / "people"), "--progress", "none"])
    t1, pet = (folder / "people" / "subject_001" / f"{name}.nii.gz" for name in ("T1", "PET"))
main(["synthesize", str(t1), "-o", str(folder / "synthetic"), "--device", "cpu", "--progress", "none"])
synthetic = next((folder / "synthetic").glob("*_desc-synthetic_pet.nii.gz"))

# The real PET is in SUV: over its mean in the brain it compares with the SUVR of the synthetic one.
case = load_case(CasePaths(synthetic=synthetic, pet=pet, t1=t1), EvaluationSettings(to_synthetic_unit=True))
result = evaluate_case(case)
for scale, table in result.scales.items():
    rows = {"network": table["network"], **table["baselines"]}
    for name in ("pearson_r", "mse", "ssim"):
        values = {row: figures.get(name) for row, figures in rows.items()}
        print(scale, METRICS[name].label, {row: round(v, 3) for row, v in values.items() if v is not None})
write_comparison(folder / "report", "Simulated person", case, result, [])
print(f"Open {folder / 'report' / 'report.html'}")
