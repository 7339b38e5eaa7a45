"""What the columns of a score are called, in reports and in Slicer alike, by the names of the fields."""

from __future__ import annotations

REGION_HEADINGS = {
    "region": "region",
    "z": "z",
    "percentile": "percentile",
    "p_family": "p",
    "z_unconditional": "unconditional z",
    "percentile_unconditional": "its percentile",
    "p_family_unconditional": "its p",
    "real": "real ({unit})",
    "predicted": "predicted ({unit})",
    "expected": "expected ({unit})",
    "parcellation": "parcellation",
}
CLUSTER_HEADINGS = {
    "kind": "map",
    "sign": "real PET",
    "peak_z": "peak z",
    "volume_ml": "volume (mL)",
    "x_ras_mm": "MNI R (mm)",
    "y_ras_mm": "MNI A (mm)",
    "z_ras_mm": "MNI S (mm)",
    "region": "regions",
    "p_peak": "p (peak)",
    "p_size": "p (size)",
}
