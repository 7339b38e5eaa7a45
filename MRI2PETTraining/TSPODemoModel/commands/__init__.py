"""The subcommands of ``python -m TSPODemoModel``, one file each."""
