"""Age, sex, genotype and group of a person, whichever table or command says them and how."""

from __future__ import annotations

import re
from collections.abc import Iterable

from MRI2PETLib.core.tables import EMPTY_CELLS

OLDEST_YEARS = 120
_NOTHING = EMPTY_CELLS | {"unknown", "unk", "missing", "not available", "not stated", "none", "?", "-", "."}
_SEXES = {"F": ("f", "female", "woman"), "M": ("m", "male", "man"), "O": ("o", "other", "intersex")}
_GENOTYPES = {name: (name.lower(),) for name in ("HAB", "MAB", "LAB")}
_CONTROLS = frozenset(
    "control ctrl ctl hc hv nc cn healthy normal healthycontrol normalcontrol healthysubject "
    "healthyvolunteer volunteer cognitivelynormal".split()
)
_YEARS = re.compile(r"\s*(?:y|yrs?|years?)$", re.IGNORECASE)
_COMMA = re.compile(r"(?<=\d),(?=\d+$)")  # of decimals, as many countries write them
_CODE = re.compile(r"-\d+|9+(\.0)?|8{2,}|7{2,}")  # of what is missing, where nothing else is a number


def person_value(column: str, text: str) -> tuple[str, str]:
    """A cell of a column in one spelling, and what is odd about it; columns of other names stay as they are.

    An empty cell: nothing is known, which a code such as -9 or ``unknown`` says, too.

    >>> person_value("sex", "female"), person_value("genotype", "hab"), person_value("age", "067Y")
    (('F', ''), ('HAB', ''), ('67', ''))
    >>> person_value("age", "999"), person_value("age", "62,5")
    (('', "The age 999 is no person's: it counts as missing."), ('62.5', ''))
    """
    if column not in ("age", "sex", "genotype"):
        return text, ""
    if text.strip().lower() in _NOTHING:
        return "", ""
    if column == "age":
        return _age(text)
    spellings = _SEXES if column == "sex" else _GENOTYPES
    for name, others in spellings.items():
        if text.strip().lower() in others:
            return name, ""
    if _CODE.fullmatch(text.strip()):
        return "", f"The {column} {text} counts as missing."
    return text, f"The {column} {text} is none of {', '.join(spellings)}: it is a name of its own."


def is_control_group(group: str) -> bool:
    """Whether a name of a group is one of those that studies call their controls by.

    >>> [is_control_group(name) for name in ("HC", "Healthy Controls", "cognitively-normal", "CN-", "AD", "")]
    [True, True, True, False, False, False]
    """
    word = re.sub(r"(?<=\w)[\s_-]+(?=\w)", "", group.strip().lower())
    return bool({word, word.removesuffix("s")} & _CONTROLS)


def group_of_controls(groups: Iterable[str]) -> str | None:
    """The one of some groups that :func:`is_control_group`, empty where there is no group at all; ``None``:
    it is not clear which one it is.

    >>> group_of_controls(["AD", "HC"]), group_of_controls([""]), group_of_controls(["AD", "MCI"])
    ('HC', '', None)
    """
    names = set(groups) - {""}
    called = [name for name in names if is_control_group(name)]
    if not names:
        return ""
    return called[0] if len(called) == 1 else None


def _age(text: str) -> tuple[str, str]:
    bare = _COMMA.sub(".", _YEARS.sub("", text.strip()))
    try:
        years = float(bare)
    except ValueError:
        return text, ""  # a covariate of names, or refused where a number is needed
    if not 0 < years <= OLDEST_YEARS:
        return "", f"The age {text} is no person's: it counts as missing."
    return bare if bare == text.strip() else f"{years:g}", ""
