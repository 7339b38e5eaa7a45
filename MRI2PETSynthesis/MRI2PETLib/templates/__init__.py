"""ICBM 152 and what is known in it: tissue, regions, uptake by tracer."""

CORTICAL_SPHERES = "cortical-spheres"  # name of the built-in atlas
