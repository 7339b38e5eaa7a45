"""``python -m TSPODemoModel`` builds the demonstration model."""

import sys

from TSPODemoModel.command import main

sys.exit(main())
