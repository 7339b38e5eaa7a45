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
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.models.model_space import ModelSpace

if TYPE_CHECKING:
    import torch

METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
CARD = "docs/README.md"
LICENCE = "LICENSE"
FORMAT = "mri2pet-bundle-1"
DEMONSTRATION = "demonstration"

_LARGEST_METADATA = 2_000_000  # bytes
_LARGEST_WEIGHTS = 4_000_000_000
_UNKNOWN_ORIGIN = "Do not use bundles of unknown origin."
_REQUIRED: dict[str, type] = {
    "format": str,
    "id": str,
    "name": str,
    "version": str,
    "description": str,
    "family": str,
    "network": dict,
    "model_space": dict,
    "source": dict,
    "target": dict,
    "intended_use": str,
    "training_data": str,
    "license": str,
    "weights_sha256": str,
}


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
    def weights(self) -> dict[str, str]:
        """Weight files, relative to the folder, and their checksums: one, or one a member of an ensemble."""
        if "members" not in self.metadata:
            return {WEIGHTS: self.sha256}
        return {_member_file(m["name"]): m["sha256"] for m in self.metadata["members"]}

    @property
    def is_demonstration(self) -> bool:
        """Whether the model may not be used for research on people."""
        return self.metadata["intended_use"] == DEMONSTRATION

    @property
    def tracer(self) -> str:
        """Tracer of the target as in BIDS ``trc-``, for example ``PBR28``; empty when the target is not a
        PET.
        """
        return str(self.metadata["target"].get("tracer", ""))

    def card(self) -> str:
        """The model card (Markdown), or an empty string."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""

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

        from MRI2PETLib.models import get_family

        network = get_family(self.family).build(self.metadata["network"])
        try:
            state = safetensors.torch.load(self._content(name, sha256))
        except (safetensors.SafetensorError, ValueError) as error:
            raise BundleError(f"The weights of {self.id} are not a safetensors file: {error}.") from error
        expected = network.state_dict()
        wrong = [n for n in expected if n not in state or state[n].shape != expected[n].shape]
        wrong += [n for n in state if n not in expected]
        if wrong:
            raise BundleError(
                f"The weights of {self.id} do not fit its network: {len(wrong)} tensors are missing, surplus "
                f"or of another shape, the first is {wrong[0]!r}.",
                "Get the bundle again from where it came from.",
            )
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
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise BundleError(
                f"The weights of {self.id} ({name}) have checksum {found[:12]}…, "
                f"its metadata says {sha256[:12]}….",
                "The file was altered or is incomplete: get the bundle again from where it came from.",
            )
        return content


def read_bundle(folder: Path | str) -> Bundle:
    """Read and check a bundle's metadata. Weights are checked when the network is built.

    :raises BundleError: with the reason, if the bundle is incomplete, malformed or not safe.
    """
    from MRI2PETLib.models import check_family

    folder = Path(folder)
    path = folder / METADATA
    if not path.is_file():
        raise BundleError(f"{folder} is not a model bundle: it has no {METADATA}.")
    if path.stat().st_size > _LARGEST_METADATA:
        raise BundleError(f"{path} is larger than {_LARGEST_METADATA / 1e6:.0f} MB.")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"{path} does not hold a JSON object.")
    _refuse_code(metadata, path)
    for key, kind in _REQUIRED.items():
        if not isinstance(metadata.get(key), kind):
            raise BundleError(f"{path} has no valid {key!r} ({kind.__name__} expected).")
    if metadata["format"] != FORMAT:
        raise BundleError(f"{path} has format {metadata['format']!r}; this version reads {FORMAT!r}.")
    if not is_safe_name(metadata["id"]):
        raise BundleError(
            f"{metadata['id']!r} is not a valid model id.", "Use letters, digits, '-', '_' and '.'."
        )
    check_family(metadata["family"])
    _check_members(metadata, path)
    return Bundle(folder, metadata, ModelSpace.from_dict(metadata["model_space"]))


def _member_file(name: str) -> str:
    return f"models/{name}.safetensors"


def _check_members(metadata: dict[str, Any], path: Path) -> None:
    """The members of an ensemble, if it is one: safe names, each once, and the checksum that follows from
    theirs.
    """
    if "members" not in metadata:
        return
    members = metadata["members"]
    sound = isinstance(members, list) and all(
        isinstance(m, dict)
        and isinstance(m.get("sha256"), str)
        and isinstance(m.get("name"), str)
        and is_safe_name(m["name"])
        for m in members
    )
    if not sound or len(members) < 2 or len({m["name"] for m in members}) < len(members):
        raise BundleError(f"{path} has no valid 'members' (two or more, each with name and sha256).")
    if metadata["weights_sha256"] != _ensemble_sha256(members):
        raise BundleError(f"The checksum of {path} does not follow from those of its members.")


def _ensemble_sha256(members: list[dict[str, str]]) -> str:
    return hashlib.sha256("\n".join(m["sha256"] for m in members).encode()).hexdigest()


def is_safe_name(name: str) -> bool:
    """Whether ``name`` can name a folder: letters, digits, ``-``, ``_``, ``.``, not starting with a dot."""
    return (
        0 < len(name) <= 64
        and name[0] != "."
        and all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)
    )


def _refuse_code(value: Any, path: Path) -> None:
    """MONAI configurations can hold code; ours never do, so its mere presence is a reason to refuse."""
    if isinstance(value, dict):
        if "_target_" in value:
            raise BundleError(
                f"{path} names code to be imported (_target_).", "Do not use bundles of unknown origin."
            )
        for key, inner in value.items():
            _refuse_code(key, path)
            _refuse_code(inner, path)
    elif isinstance(value, list):
        for inner in value:
            _refuse_code(inner, path)
    elif isinstance(value, str) and value.startswith("$"):
        raise BundleError(f"{path} holds an expression to be evaluated ({value[:40]!r}).", _UNKNOWN_ORIGIN)


def save_bundle(
    folder: Path | str,
    network: torch.nn.Module | Mapping[str, torch.nn.Module],
    metadata: dict[str, Any],
    card: str,
) -> Bundle:
    """Write a bundle, whole or not at all: it is made in a temporary folder beside ``folder``, which it
    replaces.

    :param network: one network, or those of an ensemble by the name of the member.
    :param metadata: everything of :data:`_REQUIRED` but ``format`` and ``weights_sha256``.
    """
    import os
    import shutil

    import safetensors.torch

    from MRI2PETLib.core.files import make_folder, write_json, write_text

    folder = Path(folder)
    make_folder(folder.parent)

    def serialised(one: torch.nn.Module) -> bytes:
        return safetensors.torch.save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in one.state_dict().items()}
        )

    if isinstance(network, Mapping):
        weights = {_member_file(name): serialised(one) for name, one in network.items()}
        digests = [hashlib.sha256(content).hexdigest() for content in weights.values()]
        members = [{"name": name, "sha256": digest} for name, digest in zip(network, digests)]
        metadata = {**metadata, "members": members, "weights_sha256": _ensemble_sha256(members)}
    else:
        weights = {WEIGHTS: serialised(network)}
        metadata = {**metadata, "weights_sha256": hashlib.sha256(weights[WEIGHTS]).hexdigest()}
    metadata = {"format": FORMAT, **metadata}
    # Not mkdtemp: its folders are closed to the other users of a shared disk.
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        for name in (METADATA, WEIGHTS, CARD):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        for name, content in weights.items():
            (temporary / name).write_bytes(content)
        write_json(temporary / METADATA, metadata)
        write_text(temporary / CARD, card)
        read_bundle(temporary).networks()
        replaced = temporary.with_name(f"{temporary.name}-old")
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(temporary, folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_bundle(folder)
