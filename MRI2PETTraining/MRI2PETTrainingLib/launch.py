"""Which process of a training this is, by what torchrun, Lightning and SLURM say in the environment."""

from __future__ import annotations

import os

from MRI2PETLib.core.errors import InputError

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "JSM_NAMESPACE_RANK")
_UNSET = "Unset it, or start the training as Docs/how_to/training.md says (torchrun, srun)."


def is_first_process() -> bool:
    """Whether this is the first process of a training by torchrun, Lightning or SLURM, or the only one."""
    return _other_rank() is None


def check_launch(processes: int, folds_at_once: int = 1) -> None:
    """Check that the environment tells of as many processes as the settings: others would be waited for.

    :param processes: devices times nodes.
    :raises InputError: naming the variable; or if several folds are each to have several processes.
    """
    if processes > 1 and folds_at_once > 1:
        raise InputError("--folds-at-once is for one device.", "Leave it out, or --devices and --nodes.")
    other = _other_rank()
    if processes == 1 and other is not None:
        raise InputError(
            f"{other} is {_number(other)}: this is not the first process of a training, but --devices and "
            "--nodes say that there is one.",
            "Give them as the launcher has them, or unset that variable.",
        )
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):
        if processes > 1 and _number(name) > 1 and _number(name) != processes:
            raise InputError(
                f"{name} is {_number(name)}, but --devices and --nodes ask for {processes} processes.",
                "They must be the same.",
            )
    if processes > 1 and _number("SLURM_NTASKS") > 1 and not os.environ.get("SLURM_NTASKS_PER_NODE"):
        raise InputError(
            "SLURM was given --ntasks without --ntasks-per-node.", "Lightning needs --ntasks-per-node."
        )


def _other_rank() -> str | None:
    """The variable that says that this process is not the first one."""
    names = [*_RANKS, *(["SLURM_PROCID"] if _number("SLURM_NTASKS") > 1 else [])]
    return next((name for name in names if _number(name) != 0), None)


def _number(name: str) -> int:
    """The number in a variable, 0 where there is none.

    :raises InputError: if it is none.
    """
    text = os.environ.get(name) or "0"
    if not text.isdecimal() or not text.isascii():
        raise InputError(f"The environment variable {name} is {text!r}, not a number.", _UNSET)
    return int(text)
