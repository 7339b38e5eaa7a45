"""The closed registry of model families, and what a family offers.

A bundle names its family; only names in this table are ever built, so a bundle from a stranger cannot choose
code. Families know nothing of T1 or PET: they map a source volume to a target volume of the same grid.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.core.progress import ProgressCallback

if TYPE_CHECKING:
    import torch

    from MRI2PETLib.models.objective import Objective

_FAMILIES = {
    "diffusion": "MRI2PETLib.models.diffusion",
    "pix2pix": "MRI2PETLib.models.pix2pix",
    "unet": "MRI2PETLib.models.unet",
}


class Family(Protocol):
    """What a family module offers. Tensors are float32 [batch, 1, k, j, i] in the 0..1 of the model space.

    :ivar STOCHASTIC: whether predictions are samples, so that several of them have a mean and an SD.
    :ivar PRESET: name of the preset to train it with unless told otherwise.
    """

    STOCHASTIC: bool
    PRESET: str

    def build(self, arguments: dict[str, Any]) -> torch.nn.Module:
        """Build what a bundle holds and :meth:`predict` uses, from plain JSON arguments, checked one by one.

        :raises BundleError: for an unknown argument or a value that cannot be used.
        :raises DependencyError: if the family needs a package that is not installed.
        """
        ...

    def objective(self, settings: dict[str, Any]) -> Objective:
        """How to train the network, from a preset's ``loss``, checked one by one.

        :raises BundleError: for an unknown setting or a value that cannot be used.
        """
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
        """Return the mean prediction and the SD over samples (``None`` for one sample or no samples at all).

        The result for a volume depends on nothing else in its batch. ``progress`` may raise to cancel.

        :param steps: of sampling; 0 for the network's own number.
        :param seed: the same seed gives the same result; sample ``n`` of seed ``s`` is the one of ``s + n``.
        """
        ...


def family_names() -> list[str]:
    """Names that a bundle may use."""
    return sorted(_FAMILIES)


def check_family(name: str) -> None:
    """Check a family's name without importing what computes.

    :raises BundleError: if the registry has no such family.
    """
    if name not in _FAMILIES:
        raise BundleError(
            f"Unknown model family {name!r}.",
            f"Known families: {', '.join(family_names())}. Update the extension?",
        )


def get_family(name: str) -> Family:
    """Return the family module called ``name``.

    :raises BundleError: if the registry has no such family.
    """
    check_family(name)
    return import_module(_FAMILIES[name])
