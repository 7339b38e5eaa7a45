"""The standing words of the reports: what the numbers mean, what they cannot say, which model it was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.reports.page import how_many
from MRI2PETLib.synthesis.case_files import SIMULATED_PERSON, synthetic_note

CANNOT_SAY = (
    "A synthetic PET is computed from the T1. It is no measurement of the tracer, and a change of the PET "
    "that leaves the T1 as it is cannot appear in it.",
    "A small error or a high correlation is no evidence of biology: read every number beside its baselines. "
    "What the warped average reaches needs no tracer at all.",
    "Correlation depends on the mask (here: the brain, without the background) and on the noise of the real "
    "PET.",
    "MSE and MAE depend on the unit and the scale. They do not compare with numbers from other scalings, "
    "such as the 0 to 1 of published work.",
    "Scale-free numbers divide each image by its own mean in the brain: they judge the pattern and do not "
    "see the level.",
    "Regions in MNI space are brought to the person by an affine registration: borders are off by a few "
    "millimetres, and small nuclei suffer most.",
    "Nothing here supports a diagnosis or a treatment. Research use only.",
)
CANNOT_SAY_OF_MRI = (
    "A synthetic MRI is computed from the PET. It shows an anatomy that fits the uptake, not the person's: "
    "use it to bring the PET to a template, never to look for disease.",
    "A small error or a high correlation is no evidence: read every number beside its baselines. What the "
    "warped average reaches needs no PET at all.",
    "Correlation depends on the mask (here: the brain, without the background).",
    "The intensity of a T1 has no unit: each T1 is scaled from its 1st to its 99th percentile in the brain. "
    "What is a ratio to zero (NormDiff, differences in %), smoothing to the noise of a PET, tests of groups "
    "and the published tables of PET are left out.",
    "The baselines are placed by an affine: a warp would need the T1 that is predicted.",
    "Nothing here supports a diagnosis or a treatment. Research use only.",
)
# Sections of a report that make no sense for a synthetic MRI.
UNFIT_FOR_MRI = {
    "levels": "Left out: intensities of a T1 have no unit.",
    "errors": "Left out: differences in % are ratios to zero, which an MRI does not have.",
    "spaces": "Left out: the published comparison of spaces is of PET.",
    "within": "Left out: each T1 is scaled by itself, so levels of groups do not compare.",
    "asymmetry": "Left out: an index of asymmetry is a ratio to zero, which an MRI does not have.",
    "t1": "Left out: the target is the T1 itself.",
    "specificity": "Left out: that a brain has its own anatomy needs no proof, and the uptake is the input.",
    "groups": "Left out: each T1 is scaled by itself, so levels of groups do not compare.",
    "paper": "Left out: the published table is of PET.",
}
GROUP_CAUTION = (
    "Caution: groups are compared on synthetic PET. A difference between groups that only the synthetic PET "
    "shows comes from the anatomy or from the model, not from the tracer; published data hold such a case. "
    "Rely on the real PET."
)


def coverage_sentence(share: float) -> str:
    """What a report says of how much of the brain a PET measured (0..1)."""
    if share >= 0.9995:
        return "The real PET measured the whole brain."
    return f"The real PET measured {100 * share:.1f} % of the brain; nothing else enters a number."


def least_coverage_sentence(shares: Mapping[str, float]) -> str:
    """The same of many PETs, by case."""
    case = min(shares, key=lambda name: shares[name])
    if shares[case] >= 0.9995:
        return "All real PETs measured the whole brain."
    return (
        f"The real PETs measured {100 * shares[case]:.1f} % of the brain and more ({case} has the least); "
        "nothing else enters a number."
    )


def card_paragraph(bundle: Bundle | None) -> str:
    """The first paragraph of the model card as plain text, or why there is none."""
    if bundle is None:
        return "The model that made the synthetic image is not known or not installed here."
    blocks = re.split(r"\n\s*\n", bundle.card().replace("\r\n", "\n").strip())
    text = next((b for b in blocks if b.strip() and not b.lstrip().startswith(("#", "---", "|"))), "")
    text = re.sub(r"[*_`>]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text))
    return " ".join(text.split()) or str(bundle.metadata["description"])


def cannot_say(direction: Direction) -> tuple[str, ...]:
    """What the numbers of a report cannot say."""
    return CANNOT_SAY if direction.to_pet else CANNOT_SAY_OF_MRI


def left_out(direction: Direction) -> dict[str, str]:
    """Section of a report -> why it makes no sense for the target; empty where it does."""
    return dict.fromkeys(UNFIT_FOR_MRI, "") if direction.to_pet else UNFIT_FOR_MRI


def case_note(model: dict[str, Any], simulated: bool, direction: Direction) -> str:
    """What every picture and report of a comparison says.

    :param model: provenance of the synthetic image's model, empty where it is not known.
    """
    note = synthetic_note(str(model.get("intended_use", "")), direction.source, direction.target)
    return f"{note} {SIMULATED_PERSON}" if simulated else note


def notes_of_cases(notes: Sequence[str], thing: str = "case") -> list[str]:
    """What a page of many cases says first: the note of each, once; of how many, where not of all.

    >>> notes_of_cases(["A.", "B.", "A."])
    ['2 of 3 cases: A.', '1 of 3 cases: B.']
    """
    counts = Counter(filter(None, notes))
    return [
        note if count == len(notes) else f"{count} of {how_many(len(notes), thing)}: {note}"
        for note, count in counts.items()
    ]
