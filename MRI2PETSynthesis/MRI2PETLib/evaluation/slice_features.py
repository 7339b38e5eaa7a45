"""What the Fréchet distance between sets of PETs looks at: features of axial slices.

Two kinds. ``texture``: ten numbers of a slice that need no weights (levels, four bands of detail, steps along
both axes). Inception v3, as Theodorou et al. 2025 use it: weights from a file of the user; it was trained on
photographs, nothing is downloaded. Distances by different features do not compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MRI2PETLib.core.errors import DependencyError, InputError

if TYPE_CHECKING:
    import torch

TEXTURE = "texture"
TEXTURE_NAMES = (
    *("mean", "5th percentile", "median", "95th percentile"),
    *("detail below 2 mm", "detail of 2 to 4 mm", "detail of 4 to 8 mm", "pattern above 8 mm"),
    *("steps left to right", "steps front to back"),
)
_SIGMAS = (1.0, 2.0, 4.0)  # voxels of 2 mm
INPUT_SIZE = 299
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_AT_ONCE = 16


@dataclass(frozen=True)
class SliceFeatures:
    """A function of slices.

    :ivar compute: takes axial slices, array [slices, j, i] of voxels of 2 mm scaled to 0..1, and the brain on
        them (bool); gives features, array [slices, features].
    :ivar standardise: divide each feature by its SD over the real slices, so that no unit decides.
    """

    name: str
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray]
    standardise: bool


def features_named(name: str) -> SliceFeatures:
    """The features ``texture``, or those of Inception v3 with the weights in a file of that name.

    :raises DependencyError, InputError: see :func:`load_inception`.
    """
    if name == TEXTURE:
        return SliceFeatures("texture of slices (10 numbers, no trained network)", texture, True)
    network = load_inception(name)
    return SliceFeatures(
        f"Inception v3 (weights {Path(name).name})",
        lambda slices, inside: network_features(slices * inside, network),
        False,
    )


def texture(slices: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The numbers of :data:`TEXTURE_NAMES` of every slice, from the voxels inside: array [slices, 10].

    A band of detail is the RMS of the difference between two Gaussian blurs (sigma 0, 2, 4, 8 mm) inside the
    brain; the last one that of the widest blur from the slice's mean.
    """
    slices = np.where(inside, slices, 0).astype(np.float64)
    blurred = [slices, *(_blur(slices, inside, sigma) for sigma in _SIGMAS)]
    bands = [first - second for first, second in zip(blurred, blurred[1:])]
    rows = []
    for number, (values, brain) in enumerate(zip(slices, inside)):
        own = values[brain]
        wide = blurred[-1][number][brain]
        rows.append(
            [
                *(own.mean(), *np.percentile(own, (5, 50, 95))),
                *(_rms(band[number][brain]) for band in bands),
                _rms(wide - wide.mean()),
                *(_steps(values, brain, axis) for axis in (1, 0)),
            ]
        )
    return np.array(rows).reshape(-1, len(TEXTURE_NAMES))


def _blur(slices: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    sums, share = (
        ndimage.gaussian_filter(v.astype(np.float64), (0, sigma, sigma), mode="constant")
        for v in (slices, inside)
    )
    return np.divide(sums, share, out=np.zeros_like(sums), where=inside)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _steps(values: np.ndarray, inside: np.ndarray, axis: int) -> float:
    n = values.shape[axis]
    both = inside.take(range(1, n), axis) & inside.take(range(n - 1), axis)
    return _rms(np.diff(values, axis=axis)[both])


def load_inception(weights: Path | str) -> torch.nn.Module:
    """Inception v3 without its last layer, with the ImageNet weights in a file of the user.

    :param weights: state dictionary as torchvision publishes it (``.pth``), or as safetensors. Nothing is
        downloaded, and nothing in the file is run.
    :raises DependencyError: if torchvision is not installed.
    :raises InputError: if the file is not such a state dictionary.
    """
    import torch

    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"{str(weights)!r} is neither the name of features nor a file.",
            f"Use {TEXTURE}, or name a file with torchvision's weights of Inception v3.",
        )
    try:
        from torchvision.models import inception_v3
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch raises RuntimeError
        raise DependencyError(
            f"Inception v3 needs torchvision, which cannot be imported: {error}.",
            f"Install the torchvision that belongs to your torch, or use the features {TEXTURE}.",
        ) from error
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network = inception_v3(weights=None, aux_logits=True, init_weights=False)
        network.load_state_dict(state)
    except Exception as error:  # every reader raises its own kind
        raise InputError(
            f"{path} holds no weights of Inception v3: {error}.", "Give torchvision's file."
        ) from error
    network.fc = torch.nn.Identity()
    return network.eval()


def network_features(slices: np.ndarray, network: torch.nn.Module) -> np.ndarray:
    """Features of grey slices [slices, j, i] in 0..1 by a network for colour photographs: [slices, n]."""
    import torch

    rows = []
    mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _SD))
    for first in range(0, len(slices), _AT_ONCE):
        grey = torch.from_numpy(slices[first : first + _AT_ONCE].astype(np.float32))
        large = torch.nn.functional.interpolate(grey[:, None], (INPUT_SIZE,) * 2, mode="bilinear")
        with torch.inference_mode():
            rows.append(network((large.expand(-1, 3, -1, -1) - mean) / sd).flatten(1).numpy())
    return np.concatenate(rows)
