"""``python -m MRI2PETLib`` is ``mri2pet``."""

import sys

from MRI2PETLib.cli import main

sys.exit(main())
