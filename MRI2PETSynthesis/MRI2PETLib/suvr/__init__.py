"""SUVR by region, with an MRI of the person or without one."""
