"""What a model translates: a T1 to a PET or a PET to an MRI, and of which tracer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.preprocessing.tracers import stated_tracer

Modality = Literal["MR", "PET"]


@dataclass(frozen=True)
class Direction:
    """From ``source`` to ``target``; ``tracer`` of the PET as BIDS names it, empty when it is not stated."""

    source: Modality = "MR"
    target: Modality = "PET"
    tracer: str = ""

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Direction:
        """Of a model."""
        side = bundle.metadata["target" if bundle.space.target_modality == "PET" else "source"]
        to_mr = bundle.space.target_modality == "MR"
        return cls(*(("PET", "MR") if to_mr else ("MR", "PET")), stated_tracer(side.get("tracer")))

    @classmethod
    def of_sidecar(cls, sidecar: Mapping[str, Any]) -> Direction:
        """Of a synthetic image, by the sidecar that a synthesis writes; T1 to PET where there is none."""
        tracer = stated_tracer(sidecar.get("TracerName"))
        return cls("PET", "MR", tracer) if sidecar.get("Modality") == "MR" else cls(tracer=tracer)

    @property
    def to_pet(self) -> bool:
        return self.target == "PET"

    @property
    def source_name(self) -> str:
        """For sentences: ``T1`` or ``PET``."""
        return "T1" if self.source == "MR" else "PET"

    @property
    def target_name(self) -> str:
        """For sentences: ``PET`` or ``MRI``."""
        return "PET" if self.to_pet else "MRI"
