"""ICBM 152 and what is known in it: tissue, regions, uptake by tracer."""
