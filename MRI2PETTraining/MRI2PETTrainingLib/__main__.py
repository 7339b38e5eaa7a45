"""``python -m MRI2PETTrainingLib DATASET -o RUN``: ``mri2pet train`` where no package is installed."""

import sys

from MRI2PETLib.cli import main
from MRI2PETTrainingLib import command

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], {"train": command}))
