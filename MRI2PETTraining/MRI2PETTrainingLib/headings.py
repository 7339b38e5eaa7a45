"""What tables and charts of a training call the fields of its files."""

from __future__ import annotations

_HEADINGS = {
    "train": "training",  # the side of a fold
    "epoch": "epoch kept",
    "train_loss": "training loss",
    "val_nmse": "validation 1 - R²",
    "val_r": "validation r",
    "seconds_per_step": "s a step",
    "seconds_per_case": "s a case and epoch",
    "peak_memory_gb": "peak memory (GB)",
}


def training_heading(field: str) -> str:
    """
    >>> training_heading("train_loss"), training_heading("device")
    ('training loss', 'device')
    """
    return _HEADINGS.get(field, field)
