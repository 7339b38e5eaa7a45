"""What all families share: how a training step is described, and how JSON arguments are checked."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from MRI2PETLib.core.errors import BundleError

NETWORK_STATE, OBJECTIVE_STATE = "network", "objective"


class Objective(nn.Module):
    """How a network is trained.

    Its own parameters, if it has any (the critic of a GAN), are trained beside the network by an optimiser of
    their own. They are in the checkpoints of a training and not in the bundle.

    :ivar relative_rate: their learning rate over that of the network.
    """

    relative_rate = 1.0

    def losses(
        self, network: nn.Module, source: Tensor, target: Tensor, mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield scalar losses, each with whose parameters it trains: ``NETWORK`` or ``OBJECTIVE``.

        At each yield the trainer computes the gradients and, at the end of an effective batch, updates those
        parameters, before the generator goes on. Gradients reach every parameter that the loss depends on:
        detach, or use :func:`.objective.frozen`, where they must not. Random numbers come from torch's global
        generator, which the trainer seeds.

        :param source: [batch, 1, k, j, i], as ``target`` and ``mask`` (0 or 1).
        """
        raise NotImplementedError


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What is computed inside sends no gradients to the parameters of ``module`` (but through it)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def check_arguments(
    what: str, arguments: Mapping[str, Any], allowed: Mapping[str, tuple[type, Container[Any]]]
) -> None:
    """Compare JSON arguments with a table of type and allowed values.

    :param what: whose arguments they are, for the message.
    :raises BundleError: for an unknown argument or a value that is not allowed.
    """
    for name, value in arguments.items():
        if name not in allowed:
            raise BundleError(f"{what} has no argument {name!r}.", f"It has: {', '.join(allowed)}.")
        kind, values = allowed[name]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or value not in values:
            raise BundleError(f"{what}: {name} cannot be {value!r}.", f"Allowed: {values}.")


class Between:
    """The numbers from ``low`` to ``high``, both included."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and self._low <= value <= self._high

    def __repr__(self) -> str:
        return f"{self._low:g} to {self._high:g}"
