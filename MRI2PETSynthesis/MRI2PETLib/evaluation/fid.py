"""Frechet inception distance between two sets of volumes: an optional extra, with weights from the user.

FID compares the distributions of features of axial slices (Heusel et al. 2017, NeurIPS; as Theodorou et al.
2025 use it). It needs no pairs, says nothing about a person, and is far from 0 for few slices of one and the
same distribution: so it is refused where the covariance of the features cannot be estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MRI2PETLib.core.errors import DependencyError, InputError

if TYPE_CHECKING:
    import torch

INPUT_SIZE = 299
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_AT_ONCE = 16
_PERCENTILE = 99.5


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two sets of features, no unit.

    :param first: features, array [n, features].
    :raises InputError: if a set has no more rows than features: its covariance would be singular.
    """
    for features in (first, second):
        n, width = features.shape
        if n <= width:
            raise InputError(
                f"FID needs more slices than features: there are {n} slices and {width} features.",
                "Use more volumes, or read SSIM and PSNR instead.",
            )
    means = first.mean(axis=0), second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(f.astype(np.float64), rowvar=False)) for f in (first, second)]
    root = _root(covariances[0])
    # (C1 C2) has the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2).
    shared = np.linalg.eigvalsh(root @ covariances[1] @ root)
    apart = float(np.sum((means[0] - means[1]) ** 2))
    return apart + float(sum(np.trace(c) for c in covariances) - 2 * np.sqrt(np.clip(shared, 0, None)).sum())


def _root(symmetric: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def load_inception(weights: Path | str) -> torch.nn.Module:
    """Inception v3 without its last layer, with the ImageNet weights in a file of the user.

    :param weights: state dictionary as torchvision publishes it (``.pth``), or as safetensors. Nothing is
        downloaded, and nothing in the file is run.
    :raises DependencyError: if torchvision is not installed.
    :raises InputError: if the file is not such a state dictionary.
    """
    import torch

    try:
        from torchvision.models import inception_v3
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch raises RuntimeError
        raise DependencyError(
            f"FID needs torchvision, which cannot be imported: {error}.",
            "Install the torchvision that belongs to your torch.",
        ) from error
    path = Path(weights)
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


def slice_features(volumes: Sequence[np.ndarray], top: float, network: torch.nn.Module) -> np.ndarray:
    """Features of all axial slices with signal, array [slices, features].

    :param volumes: [k, j, i], 0 outside the brain, in one unit.
    :param top: value shown as 1; the same for all, so that a wrong level counts.
    """
    import torch

    features = []
    mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _SD))
    for volume in volumes:
        slices = volume[np.any(volume != 0, axis=(1, 2))]
        for first in range(0, len(slices), _AT_ONCE):
            grey = torch.from_numpy(np.clip(slices[first : first + _AT_ONCE] / top, 0, 1).astype(np.float32))
            large = torch.nn.functional.interpolate(grey[:, None], (INPUT_SIZE,) * 2, mode="bilinear")
            with torch.inference_mode():
                features.append(network((large.expand(-1, 3, -1, -1) - mean) / sd).flatten(1).numpy())
    if not features:
        raise InputError("The volumes hold no slice with signal.", "Check the images.")
    return np.concatenate(features)


def fid(synthetic: Sequence[np.ndarray], real: Sequence[np.ndarray], network: torch.nn.Module) -> float:
    """FID of synthetic against real volumes by the features of ``network`` (:func:`load_inception`).

    Published values scale every volume by its own minimum and maximum; here both sets share the window of the
    real one, so they do not compare.

    :raises InputError: for too few slices, see :func:`frechet_distance`.
    """
    inside = np.concatenate([v[v != 0] for v in real])
    if not inside.size or not np.percentile(inside, _PERCENTILE) > 0:
        raise InputError("The real volumes hold nothing above zero.", "Check the images.")
    top = float(np.percentile(inside, _PERCENTILE))
    return frechet_distance(*(slice_features(v, top, network) for v in (synthetic, real)))
