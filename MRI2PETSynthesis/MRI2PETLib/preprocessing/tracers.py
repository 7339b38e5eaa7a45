"""Tracers by their many names, and what to say where two that should be one differ."""

from __future__ import annotations

import re

from MRI2PETLib.core.findings import Finding
from MRI2PETLib.preprocessing.frame_window import tracer_of_protocol

_ISOTOPE = re.compile(
    r"[\[(\s]*(?:\d{1,3}\s*[a-z]{1,2}|[a-z]{1,2}\s*[-^]?\s*\d{1,3}\^?)[\])\s]*(?=[^\d])", re.I
)


def tracer_name(text: str) -> str:
    """One spelling of a tracer: ``[11C]PBR28``, ``trc-PBR28`` and ``PBR28`` are ``pbr28``; aliases of
    ``Resources/PET/tracer_windows.csv`` are one name. Empty for an empty text.
    """
    published = tracer_of_protocol(text)
    bare = published or re.sub(r"^(?:\W*trc-)+", "", text.strip(), flags=re.I)
    match = None if published else _ISOTOPE.match(bare)
    return re.sub(r"[^a-z0-9]", "", bare[match.end() if match else 0 :].lower())


def check_tracer(pet: str, expected: str, whose: str) -> tuple[Finding, ...]:
    """A warning where a PET shows another tracer than the one that ``whose`` (``the model``) is of.

    Nothing is said where one of the two is not stated.
    """
    one, other = tracer_name(pet), tracer_name(expected)
    if not one or not other or one in other or other in one:
        return ()
    message = f"The PET is of {pet}, {whose} of {expected}: their patterns differ whatever the brain."
    return (Finding("warn", "other-tracer", message, "Compare PETs of one tracer, or take another model."),)
