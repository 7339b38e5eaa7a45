"""Build the bundled demonstration model from two public datasets: ``python -m TSPODemoModel``."""
