"""The networks of a bundle as one ONNX file, which says on what grid and in what scale it works.

ONNX holds one pass through the networks. What leads there from an image and back (finding the brain, the
model's grid, the scaling) is described in the file's ``metadata_props``, not part of it.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import BundleError, DependencyError
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import Bundle

INPUT, OUTPUT = "image", "pred"
_OPSET = 18
_AXES = "[batch, 1, k, j, i]: k runs to superior, j to anterior, i to the right"
_SCALES = {
    "mask-p1-p99": "percentiles 1 and 99 in the brain mask are 0 and 1, clipped",
    "crop-p1-p99": "percentiles 1 and 99 of the whole grid are 0 and 1, not clipped",
    "suvr-half": "half of the ratio to the mean in the brain mask, clipped to 0 to 1",
    "suvr-cerebellum": "a quarter of the ratio to the mean in the cerebellum, clipped to 0 to 1",
    "suvr-occipital": "a quarter of the ratio to the mean in the occipital cortex, clipped to 0 to 1",
    "minmax": "0 to 1 from the smallest to the largest value inside the brain mask",
}


class _MeanNetwork(nn.Module):
    """All networks of a bundle that take one pass: [batch, 1, k, j, i] -> the mean of what they give."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.networks = nn.ModuleList(bundle.networks())

    def forward(self, source: Tensor) -> Tensor:
        return torch.stack([network(source).float() for network in self.networks]).mean(0)


def onnx_model(bundle: Bundle) -> bytes:
    """The content of the file.

    :raises BundleError: for a family that samples in many steps.
    :raises DependencyError: without onnx and onnxscript (extra ``onnx``), or with a torch before 2.6.
    """
    if get_family(bundle.family).STOCHASTIC:
        raise BundleError(
            f"{bundle.id} is a {bundle.family} model: it draws samples in many passes, and ONNX holds one.",
            "Use --format bundle or monai.",
        )
    _check_packages()
    import onnx

    network = _MeanNetwork(bundle).eval().requires_grad_(False)
    source = torch.zeros(1, 1, *reversed(bundle.space.size))
    with torch.no_grad():
        program: Any = torch.onnx.export(
            network,
            (source,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=_OPSET,
            verbose=False,
        )
    model = program.model_proto
    model.producer_name, model.producer_version = "SlicerMRI2PET", __version__
    model.doc_string = str(bundle.metadata["description"])
    onnx.helper.set_model_props(model, onnx_metadata(bundle))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def onnx_metadata(bundle: Bundle) -> dict[str, str]:
    """What the file says of itself: names and texts, ``model_space`` as JSON."""
    own, space = bundle.metadata, bundle.space
    return {
        **{
            key: str(own[key])
            for key in ("id", "name", "version", "intended_use", "training_data", "license")
        },
        "weights_sha256": bundle.sha256,
        "model_space": json.dumps(space.to_dict()),
        "grid": f"{space.grid_text}, {_AXES}",
        "input": f"{INPUT}: {space.source_modality}, {_SCALES[space.source]}",
        "output": f"{OUTPUT}: {space.target_modality} {bundle.tracer}, {_SCALES[space.target]}",
        "note": "Research use only. What it makes is computed, not measured.",
    }


def _check_packages() -> None:
    for name in ("onnx", "onnxscript"):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            remedy = "Install what the export needs: pip install 'mri2pet[onnx]'."
            raise DependencyError(f"The package {name} is not installed.", remedy) from error
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < (2, 6):
        raise DependencyError(
            f"torch {torch.__version__} cannot write this.", "Export with torch 2.6 or newer."
        )
