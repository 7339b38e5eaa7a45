"""A bundle as MONAI itself runs it: metadata by its schema, and a configuration for inference.

The configuration is for MONAI. This program neither reads nor imports it: it holds code by design.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from MRI2PETLib import __version__
from MRI2PETLib.core.installed import version_of
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import METADATA, Bundle, read_bundle

# The schema that MONAI's model zoo checks metadata by.
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_OLDEST_MONAI = "1.5.0"
_LOGGING = """[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=console
[handler_console]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)
[formatter_plain]
format=%(asctime)s %(levelname)s %(name)s: %(message)s
"""


class BundleNetwork(nn.Module):
    """All networks of a bundle as one: [batch, 1, k, j, i] in model space -> the mean prediction there.

    Of a stochastic family, one sample with seed 0.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.networks = nn.ModuleList(bundle.networks())
        self._family = get_family(bundle.family)

    def forward(self, source: Tensor) -> Tensor:
        options: dict[str, Any] = {"samples": 1, "steps": 0, "seed": 0, "progress": no_progress}
        plain = source.as_subclass(Tensor)
        predictions = [self._family.predict(network, plain, **options)[0] for network in self.networks]
        prediction = torch.stack(predictions).mean(0)
        if not hasattr(source, "copy_meta_from"):
            return prediction
        placed: Any = type(source)(prediction)  # MONAI's tensors know where they lie
        placed.copy_meta_from(source)
        return placed


def network_of(folder: str) -> BundleNetwork:
    """What the configuration names as its network: read as every bundle is, weights checked.

    :raises BundleError: if the bundle is not sound.
    """
    return BundleNetwork(read_bundle(Path(folder)))


def monai_files(bundle: Bundle) -> dict[str, str]:
    """The files by which a bundle differs from ours, by their names in it."""
    return {
        METADATA: _json(_metadata(bundle)),
        "configs/inference.json": _json(_INFERENCE),
        "configs/logging.conf": _LOGGING,
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _metadata(bundle: Bundle) -> dict[str, Any]:
    own = bundle.metadata
    names = {"MR": "T1-weighted MRI", "PET": f"{bundle.tracer} PET".strip()}
    source, target = names[bundle.space.source_modality], names[bundle.space.target_modality]
    shape = list(reversed(bundle.space.size))

    def volume(meaning: str, modality: str) -> dict[str, Any]:
        return {
            "type": "image",
            "format": "magnitude",
            "modality": modality,
            "num_channels": 1,
            "spatial_shape": shape,
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": False,
            "channel_def": {"0": meaning},
        }

    return {
        **own,
        "schema": _SCHEMA,
        "changelog": {own["version"]: f"exported by SlicerMRI2PET {__version__}"},
        "monai_version": _version("monai", _OLDEST_MONAI),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {"mri2pet": __version__, "safetensors": _version("safetensors")},
        "task": f"{source} to {target}, research use only",
        "authors": str(own.get("authors", "see docs/README.md")),
        "copyright": f"weights: {own['license']}, see docs/README.md",
        "network_data_format": {
            "inputs": {"image": volume(f"{source} in model space", bundle.space.source_modality)},
            "outputs": {"pred": volume(f"{target} in model space", bundle.space.target_modality)},
        },
    }


def _version(package: str, otherwise: str = "0") -> str:
    return (version_of(package) or otherwise).partition("+")[0]


# Files are [i, j, k] to MONAI, networks take [k, j, i].
_TRANSPOSED = {"_target_": "Transposed", "indices": [0, 3, 2, 1]}
_INFERENCE: dict[str, Any] = {
    "imports": ["$import glob", "$import torch"],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/images'",
    "output_dir": "$@bundle_root + '/eval'",
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": f"{__name__}.network_of", "folder": "@bundle_root"},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {**_TRANSPOSED, "keys": "image"},
            {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
        ],
    },
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'image': name} for name in sorted(glob.glob(@dataset_dir + '/*.nii.gz'))]",
        "transform": "@preprocessing",
    },
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {**_TRANSPOSED, "keys": "pred"},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ],
    },
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
    },
    "run": ["$@evaluator.run()"],
}
