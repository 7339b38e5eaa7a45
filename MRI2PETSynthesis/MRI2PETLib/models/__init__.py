"""The closed registry of model families.

A bundle names its family; only names in this table are ever built, so a bundle from a stranger cannot choose
code. Families know nothing of T1 or PET: they map a source volume to a target volume of the same grid.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from MRI2PETLib.errors import BundleError
from MRI2PETLib.progress import ProgressCallback

if TYPE_CHECKING:
    import torch

_FAMILIES = {"unet": "MRI2PETLib.models.unet"}


class Family(Protocol):
    """What a family module offers. Tensors are float32 [batch, channel, k, j, i]."""

    def build(self, arguments: dict[str, Any]) -> torch.nn.Module:
        """Build the network from plain JSON arguments, checked one by one."""
        ...

    def loss(
        self,
        network: torch.nn.Module,
        source: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor,
        settings: dict[str, Any],
    ) -> torch.Tensor:
        """One training step's scalar loss."""
        ...

    def predict(
        self,
        network: torch.nn.Module,
        source: torch.Tensor,
        *,
        samples: int,
        steps: int,
        seed: int,
        progress: ProgressCallback,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the mean prediction and the SD over samples (``None`` for a deterministic family)."""
        ...


def family_names() -> list[str]:
    """Names that a bundle may use."""
    return sorted(_FAMILIES)


def get_family(name: str) -> Family:
    """Return the family module called ``name``.

    :raises BundleError: if the registry has no such family.
    """
    if name not in _FAMILIES:
        raise BundleError(
            f"Unknown model family {name!r}.",
            f"Known families: {', '.join(family_names())}. Update the extension?",
        )
    return import_module(_FAMILIES[name])
