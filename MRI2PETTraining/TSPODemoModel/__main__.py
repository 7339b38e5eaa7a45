"""``python -m TSPODemoModel`` builds the demonstration model."""

import sys
from importlib import import_module

from MRI2PETLib.cli import main

RECIPE_COMMANDS = ("prepare", "train", "bundle", "gates", "ablation")

if __name__ == "__main__":
    modules = {name: import_module(f"TSPODemoModel.commands.{name}") for name in RECIPE_COMMANDS}
    sys.exit(main(commands=modules, program="python -m TSPODemoModel"))
