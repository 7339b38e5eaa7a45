"""A model on disk: weights, metadata and card in the layout of a MONAI Bundle.

::

    <bundle>/configs/metadata.json      what the model is and expects (plain JSON)
    <bundle>/models/model.safetensors   the weights
    <bundle>/docs/README.md             the model card

An ensemble has several networks of one kind: its metadata lists ``members`` (``name``, ``sha256``), and their
weights are ``models/<name>.safetensors`` instead. A prediction is their mean, with their SD beside it.

A bundle from a stranger must not run code. Only these files are read, as JSON and safetensors; the family
comes from a closed registry and its arguments are checked one by one; nothing is parsed by MONAI's
configuration parser, which evaluates ``$`` expressions and imports ``_target_`` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.checksums import sha256_of_value
from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.core.files import new_folder, read_json, replace_folder, write_json, write_text
from MRI2PETLib.models.bundle_checks import (
    FORMAT,
    LARGEST_TEXT,
    check_metadata,
    check_weights,
    ensemble_sha256,
    member_file,
    refuse_links,
)
from MRI2PETLib.models.model_space import ModelSpace

if TYPE_CHECKING:
    import torch

METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
CARD = "docs/README.md"
LICENCE = "LICENSE"
DEMONSTRATION = "demonstration"
IMAGES, PEOPLE = "images", "people"  # of its training, as checksums
# What a window, a picture, a sidecar and a report say of such a model.
DEMONSTRATION_NOTE = "DEMONSTRATION MODEL, not trained on real T1/PET pairs."
_LARGEST_WEIGHTS = 4_000_000_000


@dataclass(frozen=True)
class ErrorSD:
    """How far real images lie from a model's prediction in people who did not train it.

    :ivar what: a printable sentence: whose errors, and of what.
    :ivar parcellation: name of the built-in regions.
    :ivar sd: in the unit of the model's target, by the name of the region; ``elsewhere``: the rest of the
        brain.
    """

    what: str
    parcellation: str
    sd: dict[str, float]


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    ``metadata`` is the content of ``metadata.json``; weights are read by :meth:`networks`.
    """

    folder: Path
    metadata: dict[str, Any]
    space: ModelSpace

    @property
    def id(self) -> str:
        return self.metadata["id"]

    @property
    def family(self) -> str:
        return self.metadata["family"]

    @property
    def sha256(self) -> str:
        """Checksum of the weights (of an ensemble: of the members' checksums), which identifies the model."""
        return self.metadata["weights_sha256"]

    @property
    def checksum(self) -> str:
        """Of all that decides a prediction: the metadata, the checksums of the weights among them."""
        return sha256_of_value(self.metadata)

    @property
    def weights(self) -> dict[str, str]:
        """Weight files, relative to the folder, and their checksums: one, or one a member of an ensemble."""
        if "members" not in self.metadata:
            return {WEIGHTS: self.sha256}
        return {member_file(m["name"]): m["sha256"] for m in self.metadata["members"]}

    @property
    def is_demonstration(self) -> bool:
        """Whether the model may not be used for research on people."""
        return self.metadata["intended_use"] == DEMONSTRATION

    @property
    def demonstration_warning(self) -> str:
        """What a command says before it uses a demonstration model."""
        return f"{self.id} is a DEMONSTRATION model: {self.metadata['description']}"

    @property
    def tracer(self) -> str:
        """Tracer of the target as in BIDS ``trc-``, for example ``PBR28``; empty for other targets."""
        return str(self.metadata["target"].get("tracer", ""))

    def trained_on(self, what: str) -> set[str] | None:
        """What its weights have seen, :data:`IMAGES` or :data:`PEOPLE`; ``None``: it does not say."""
        training = self.metadata.get("training")
        names = training.get(what) if isinstance(training, dict) else None
        return {str(name) for name in names} if isinstance(names, list) else None

    @property
    def error_sd(self) -> ErrorSD | None:
        """The error that was measured on people who did not train it, if the model states one."""
        about = self.metadata.get("uncertainty")
        return None if about is None else ErrorSD(about["what"], about["parcellation"], about["sd"])

    def card(self) -> str:
        """The model card (Markdown), or an empty string."""
        path = self.folder / CARD
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(LARGEST_TEXT).decode("utf-8", "replace")

    def networks(self) -> list[torch.nn.Module]:
        """Build the networks and load their weights strictly, in evaluation mode on the CPU.

        :returns: one, or the members of an ensemble.
        :raises BundleError: if weights are missing, altered, or do not fit the network.
        """
        return [self._network(name, sha256) for name, sha256 in self.weights.items()]

    def network(self) -> torch.nn.Module:
        """The network of a model that is not an ensemble, see :meth:`networks`.

        :raises BundleError: for an ensemble, too.
        """
        networks = self.networks()
        if len(networks) > 1:
            raise BundleError(
                f"{self.id} is an ensemble of {len(networks)} networks.", "Use one of its members."
            )
        return networks[0]

    def _network(self, name: str, sha256: str) -> torch.nn.Module:
        import safetensors.torch
        import torch

        from MRI2PETLib.models import get_family

        family = get_family(self.family)
        try:
            state = safetensors.torch.load(self._content(name, sha256))
        except (safetensors.SafetensorError, ValueError) as error:
            raise BundleError(f"The weights of {self.id} are not a safetensors file: {error}.") from error
        with torch.device("meta"):  # no memory for a network that the weights do not fit
            check_weights(state, family.build(self.metadata["network"]).state_dict(), self.id)
        network = family.build(self.metadata["network"])
        network.load_state_dict(state, strict=True)
        return network.eval()

    def _content(self, name: str, sha256: str) -> bytes:
        path = self.folder / name
        if not path.is_file():
            raise BundleError(
                f"The bundle {self.id} has no {name}.",
                "Other formats (model.pt, pickle) can run code and are not read.",
            )
        if path.stat().st_size > _LARGEST_WEIGHTS:
            raise BundleError(
                f"The weights of {self.id} are {path.stat().st_size / 1e9:.1f} GB, too large to load."
            )
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != sha256:
            raise BundleError(
                f"The weights of {self.id} ({name}) have checksum {digest[:12]}…, "
                f"its metadata says {sha256[:12]}….",
                "The file was altered or is incomplete: get the bundle again from where it came from.",
            )
        return content


def read_bundle(folder: Path | str) -> Bundle:
    """Read and check a bundle's metadata. Weights are checked when the network is built.

    :raises BundleError: with the reason, if the bundle is incomplete, malformed or not safe.
    """
    folder = Path(folder)
    path = folder / METADATA
    if not path.is_file():
        raise BundleError(f"{folder} is not a model bundle: it has no {METADATA}.")
    refuse_links(folder, (METADATA, CARD, LICENCE))
    metadata = check_metadata(read_json(path, BundleError, largest=LARGEST_TEXT), path)
    bundle = Bundle(folder, metadata, ModelSpace.from_dict(metadata["model_space"]))
    refuse_links(folder, tuple(bundle.weights))
    return bundle


def save_bundle(
    folder: Path | str,
    network: torch.nn.Module | Mapping[str, torch.nn.Module],
    metadata: dict[str, Any],
    card: str,
) -> Bundle:
    """Write a bundle, whole or not at all: it is made in a temporary folder beside ``folder``, which it
    replaces.

    :param network: one network, or those of an ensemble by the name of the member.
    :param metadata: everything of :data:`.bundle_checks._REQUIRED` but ``format`` and ``weights_sha256``.
    """
    import safetensors.torch

    folder = Path(folder)

    def serialised(one: torch.nn.Module) -> bytes:
        return safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in one.state_dict().items()}
        )

    if isinstance(network, Mapping):
        weights = {member_file(name): serialised(one) for name, one in network.items()}
        digests = [hashlib.sha256(content).hexdigest() for content in weights.values()]
        members = [{"name": name, "sha256": digest} for name, digest in zip(network, digests)]
        metadata = {**metadata, "members": members, "weights_sha256": ensemble_sha256(members)}
    else:
        weights = {WEIGHTS: serialised(network)}
        metadata = {**metadata, "weights_sha256": hashlib.sha256(weights[WEIGHTS]).hexdigest()}
    metadata = {"format": FORMAT, **metadata}
    with new_folder(folder.parent) as temporary:
        for name in (METADATA, WEIGHTS, CARD):
            (temporary / name).parent.mkdir(exist_ok=True)
        for name, content in weights.items():
            (temporary / name).write_bytes(content)
        write_json(temporary / METADATA, metadata)
        write_text(temporary / CARD, card)
        read_bundle(temporary).networks()
        replace_folder(temporary, folder)
    return read_bundle(folder)
