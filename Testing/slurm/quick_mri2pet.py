"""``mri2pet``, whose registrations look less far, as in the tests: an array is about who makes which case."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))

from MRI2PETLib.cli import main  # noqa: E402
from quick_registration import look_less_far, warp_less  # noqa: E402

if __name__ == "__main__":
    warp_less(setattr)
    look_less_far(setattr)
    sys.exit(main())
