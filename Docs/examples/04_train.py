"""4. Train on T1 + PET pairs: cross-validation, report, and the model that it leaves.

    python 04_train.py [DATASET]

Without a dataset twelve simulated people are used, with the preset `smoke` (minutes on a laptop; it shows the
way, its model is of no use). Everything is written below ./example; a second run goes on where it stopped.
"""

import sys
from pathlib import Path

from MRI2PETLib.cli import main

if __name__ == "__main__":  # processes that prepare cases read this file again
    folder = Path("example")
    options = []
    if len(sys.argv) > 1:
        dataset = sys.argv[1]
    else:
        dataset = str(folder / "dataset")
        main(["simulate", "-n", "12", "--spacing-mm", "4", "-o", dataset])
        options = ["--preset", "smoke", "--folds", "3"]
    run = folder / "run"
    if (run / "run.json").exists():
        options.append("--resume")
    main(["train", dataset, "-o", str(run), "--device", "cpu", *options])
    print(f"Open {run / 'report.html'}.")
    print(f"Use the model: mri2pet synthesize T1 --model {run / 'ensemble'} -o OUT")
