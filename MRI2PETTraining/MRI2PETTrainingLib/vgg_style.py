"""Style transfer by features of a VGG19 (Gatys et al. 2016), axial slice by axial slice.

Only the first five convolutions are needed, so the network is built here and reads the weights that
torchvision publishes (``vgg19-dcbb9e9d.pth``); torchvision itself is not needed. The weights are the user's:
nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MRI2PETLib.core.checksums import sha256_of_value, sha256_of_voxels
from MRI2PETLib.core.errors import InputError

# Position in torchvision's ``features`` and channels of the convolutions; a pooling precedes some of them.
CONVOLUTIONS = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256))
_POOLED = (5, 10)
_CONTENT = 7  # the fourth convolution, as published
_STYLE_OVER_CONTENT = 1000.0  # as published
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the weights expect
_SLICES = 16  # at once, for the memory


class VGGFeatures(nn.Module):
    """Outputs of the first five convolutions of a VGG19 for grey images [batch, 1, j, i] from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        layers = {str(at): nn.Conv2d(into, out, 3, padding=1) for at, into, out in CONVOLUTIONS}
        self.features = nn.ModuleDict(layers)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        mean, sd = (torch.tensor(v, device=images.device)[None, :, None, None] for v in (_MEAN, _SD))
        x = (images.expand(-1, 3, -1, -1) - mean) / sd
        features = {}
        for at, *_ in CONVOLUTIONS:
            x = F.max_pool2d(x, 2) if at in _POOLED else x
            features[at] = x = self.features[str(at)](x)
            x = F.relu(x)
        return features


def read_vgg(path: Path) -> VGGFeatures:
    """Read torchvision's VGG19 weights; nothing else in the file is used, and no code in it is run.

    :raises InputError: if the file is not that.
    """
    network = VGGFeatures()
    required = network.state_dict()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({name: state[name] for name in required}, strict=True)
    except Exception as error:  # noqa: BLE001  a wrong file makes the unpickler raise anything
        raise InputError(
            f"{path} does not hold the weights of a VGG19: {type(error).__name__}.",
            "Give torchvision's file, vgg19-dcbb9e9d.pth.",
        ) from error
    return network.requires_grad_(False).eval()


class VGGStyle:
    """A :data:`MRI2PETTrainingLib.pretraining.Style`: the content of the MRI, the style of the PET.

    :param steps: of the L-BFGS optimiser, from the MRI.
    """

    def __init__(self, network: VGGFeatures, device: torch.device, steps: int = 100) -> None:
        sums = {name: sha256_of_voxels(tensor.cpu().numpy()) for name, tensor in network.state_dict().items()}
        self.name = f"vgg19 with {sha256_of_value(sums)}, {steps} steps"
        self._network, self._device, self._steps = network.to(device), device, steps

    def __call__(
        self,
        mri: np.ndarray,
        mask: np.ndarray,
        pet: np.ndarray,
        pet_mask: np.ndarray,
        spacing_mm: tuple[float, float, float],
    ) -> np.ndarray:
        with torch.no_grad():
            style = self._style(self._slices(pet * (pet_mask > 0), pet_mask))
        out = np.zeros(mri.shape, np.float32)
        rows = np.flatnonzero((mask > 0).any(axis=(1, 2)))
        for start in range(0, len(rows), _SLICES):
            some = rows[start : start + _SLICES]
            content = torch.from_numpy(np.asarray(mri[some], np.float32))[:, None].to(self._device)
            out[some] = self._transfer(content, style)[:, 0].cpu().numpy()
        return np.clip(out, 0, 1) * (mask > 0)

    def _transfer(self, content: Tensor, style_grams: dict[int, Tensor]) -> Tensor:
        with torch.no_grad():
            content_features = self._network(content)[_CONTENT]
        x = content.clone().requires_grad_(True)
        optimiser = torch.optim.LBFGS([x], max_iter=self._steps)

        def closure() -> Tensor:
            optimiser.zero_grad()
            features = self._network(x)
            style = torch.stack(
                [F.mse_loss(_gram(features[at]), gram) for at, gram in style_grams.items()]
            ).sum()
            loss = _STYLE_OVER_CONTENT * style + F.mse_loss(features[_CONTENT], content_features)
            loss.backward()
            return loss

        optimiser.step(closure)
        return x.detach().clamp(0, 1)

    def _style(self, slices: Tensor) -> dict[int, Tensor]:
        """Gram matrices over all slices, a part of them at a time."""
        parts = [(len(some), self._network(some)) for some in slices.split(_SLICES)]
        total = sum(n for n, _ in parts)
        first = parts[0][1]
        return {at: torch.stack([_gram(f[at]) * n / total for n, f in parts]).sum(dim=0) for at in first}

    def _slices(self, volume: np.ndarray, mask: np.ndarray) -> Tensor:
        slices = volume[(mask > 0).any(axis=(1, 2))]
        return torch.from_numpy(np.asarray(slices, np.float32))[:, None].to(self._device)


def _gram(features: Tensor) -> Tensor:
    """Products of channels, averaged over slices and voxels: [channel, channel]."""
    flat = features.transpose(0, 1).flatten(1)
    return flat @ flat.t() / flat.shape[1]
