"""What tables for people call the fields of the rows: reports and windows take their headings from here.

Files have the names of the fields. Metrics have their headings in :mod:`.evaluation.metrics`.
"""

from __future__ import annotations

# Where it is not the field's own name.
_HEADINGS = {
    "n_people": "people",
    "n_slices": "slices",
    "n_rows": "rows",
    "n_missing": "without a value",
    "reason": "remark",
    "fdr": "FDR p",
    "effect": "effect (d)",
    "icc": "ICC(2,1)",
    "sd_ratio": "SD ratio",
    "mae": "MAE",
    "first": "first method",
    "second": "second method",
    "first_mae": "MAE of the first",
    "second_mae": "MAE of the second",
    "real_mean": "real",
    "real_percent": "real, smoothed",
    "real_difference": "real, difference",
    "predicted_mean": "synthetic",
    "synthetic_percent": "synthetic",
    "synthetic_difference": "synthetic, difference",
    "percent_difference": "difference",
    "difference_percent": "difference",
    "proportional_slope": "slope of the bias",
    "predicted_t1_r": "synthetic-T1 r",
    "real_t1_r": "real-T1 r",
    "own_mean": "own",
    "own_mse": "own MSE",
    "other_mean": "others",
    "other_mse": "others' MSE",
    "other_r": "others' r",
    "gain_gap": "gain over the warped average",
    "rank": "rank of own",
    "n_ranked": "of",
    "top1": "own is closest",
    "auc": "AUC",
    "gain_auc": "gain in AUC",
    "fid": "distance from the real PETs",
}


def people_better(predictor: str) -> str:
    """The heading of how many of the people a predictor is better for."""
    return f"people with {predictor} better"


def is_p_value(field: str) -> bool:
    return field.rpartition("_")[2] in ("p", "fdr")


def is_percent(field: str) -> bool:
    return "percent" in field.split("_")


def heading(field: str, unit: str = "") -> str:
    """The heading of a column, its unit in brackets.

    >>> heading("bias", "SUVR"), heading("bias_fdr"), heading("percent_difference")
    ('bias (SUVR)', 'FDR p', 'difference (%)')
    """
    name = field.rpartition("_")[2] if is_p_value(field) else field
    words = _HEADINGS.get(name, name.replace("_", " "))
    unit = "%" if is_percent(field) else unit
    return f"{words} ({unit})" if unit else words
