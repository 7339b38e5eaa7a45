"""3. A cohort: many T1s in one run, then all of them against their real PETs.

    python 03_cohort.py

Four simulated people, written below ./example. A failed case does not stop the others; a second run keeps
what is there. For data of your own give `mri2pet synthesize` a BIDS dataset, and `mri2pet evaluate --pairs` a
table with the columns case, subject, synthetic, pet, t1.
"""

import csv
from pathlib import Path

from MRI2PETLib.cli import main

folder = Path("example")
people, output = folder / "cohort", folder / "cohort_synthetic"
main(["simulate", "-n", "4", "--spacing-mm", "4", "-o", str(people)])
main(["synthesize", str(people), "-o", str(output), "--device", "cpu"])

with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as stream:
    table = csv.writer(stream)
    table.writerow(["case", "subject", "synthetic", "pet", "t1"])
    for person in sorted(people.glob("subject_*")):
        synthetic = next(output.glob(f"{person.name}_*_desc-synthetic_pet.nii.gz"))
        images = (synthetic, person / "PET.nii.gz", person / "T1.nii.gz")
        table.writerow([person.name, person.name, *(path.resolve() for path in images)])
report = str(folder / "cohort_report")
main(["evaluate", "--pairs", str(folder / "pairs.csv"), "--to-synthetic-unit", "-o", report])
