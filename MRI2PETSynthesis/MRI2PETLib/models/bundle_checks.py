"""What a bundle from a stranger must satisfy before anything is done with it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.core.names import is_label, is_safe_name

if TYPE_CHECKING:
    import torch

FORMAT = "mri2pet-bundle-1"
LARGEST_TEXT = 2_000_000  # bytes of metadata, card and licence
_UNKNOWN_ORIGIN = "Do not use bundles of unknown origin."
_GET_AGAIN = "Get the bundle again from where it came from."
ELSEWHERE = "elsewhere"  # the brain outside all regions
_MOST_REGIONS = 1000
_CUBIC = 4  # coefficients of the baseline "cubic of T1"
_WIDEST_MM = 30  # its smoothing
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


def refuse_links(folder: Path, names: Sequence[str]) -> None:
    """Refuse a bundle whose files are somewhere else: to copy it would publish what a link leads to.

    :raises BundleError: naming the link.
    """
    for name in names:
        for path in (folder / name, *(folder / parent for parent in Path(name).parents)):
            if path != folder and path.is_symlink():
                raise BundleError(
                    f"{path} is a link: the files of a bundle must lie in its folder.", _UNKNOWN_ORIGIN
                )


def check_metadata(metadata: Any, path: Path) -> dict[str, Any]:
    """The content of ``metadata.json``, checked value by value but for the model space and the network.

    :raises BundleError: naming the value.
    """
    from MRI2PETLib.models import check_family

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
            f"{metadata['id']!r} is not a valid model id.",
            "It has up to 64 letters, digits, '-', '_' and '.', and begins with a letter or digit.",
        )
    check_family(metadata["family"])
    for side in ("source", "target"):
        tracer = metadata[side].get("tracer", "")
        if tracer != "" and not is_label(tracer):  # it goes into file names
            raise BundleError(
                f"{path}: {tracer!r} cannot be the tracer of the {side}.", "It has letters and digits only."
            )
    _check_cubic(metadata, path)
    _check_uncertainty(metadata, path)
    _check_members(metadata, path)
    return metadata


def _check_cubic(metadata: Mapping[str, Any], path: Path) -> None:
    """The coefficients c0..c3 of the baseline that knows the source only, where there are some."""
    cubic: Any = metadata.get("baselines")
    cubic = cubic.get("cubic_of_t1") if isinstance(cubic, dict) else None
    value = cubic.get("coefficients") if isinstance(cubic, dict) else None
    if value is None:
        return
    fwhm_mm = cubic.get("fwhm_mm", 0)
    if type(fwhm_mm) not in (int, float) or not 0 <= fwhm_mm <= _WIDEST_MM:
        raise BundleError(
            f"{path}: the cubic is smoothed by {fwhm_mm!r:.80} mm.", f"0 to {_WIDEST_MM} are possible."
        )
    numbers = isinstance(value, list) and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    if not numbers or len(value) != _CUBIC:
        raise BundleError(f"{path}: a cubic has {_CUBIC} finite coefficients, not {value!r:.80}.", _GET_AGAIN)


def _check_uncertainty(metadata: Mapping[str, Any], path: Path) -> None:
    """The SD of the error by region, where the model states one, see :class:`.bundle.ErrorSD`."""
    value = metadata.get("uncertainty")
    if value is None:
        return
    texts = isinstance(value, dict) and all(isinstance(value.get(k), str) for k in ("what", "parcellation"))
    sd = value.get("sd") if texts else None
    numbers = isinstance(sd, dict) and all(
        type(v) in (int, float) and math.isfinite(v) and v >= 0 for v in sd.values()
    )
    if not isinstance(sd, dict) or not numbers or ELSEWHERE not in sd or len(sd) > _MOST_REGIONS:
        raise BundleError(
            f"{path}: 'uncertainty' needs what, parcellation, and sd: a number for each region and for "
            f"{ELSEWHERE!r}.",
            _GET_AGAIN,
        )
    if value.get("unit") != metadata["target"].get("unit"):
        raise BundleError(
            f"{path}: the unit of 'uncertainty' is {value.get('unit')!r}, that of the target "
            f"{metadata['target'].get('unit')!r}.",
            _GET_AGAIN,
        )


def member_file(name: str) -> str:
    """The weights of a member of an ensemble, relative to the bundle."""
    return f"models/{name}.safetensors"


def ensemble_sha256(members: Sequence[Mapping[str, str]]) -> str:
    """What identifies an ensemble: a checksum of its members' checksums."""
    return hashlib.sha256("\n".join(m["sha256"] for m in members).encode()).hexdigest()


def _check_members(metadata: Mapping[str, Any], path: Path) -> None:
    """The members of an ensemble: safe names, each once, and the checksum that follows from theirs."""
    if "members" not in metadata:
        return
    members = metadata["members"]
    sound = isinstance(members, list) and all(
        isinstance(m, dict) and isinstance(m.get("sha256"), str) and is_safe_name(m.get("name"))
        for m in members
    )
    if not sound or not members or len({m["name"] for m in members}) < len(members):
        raise BundleError(f"{path} has no valid 'members' (one or more, each with name and sha256).")
    if metadata["weights_sha256"] != ensemble_sha256(members):
        raise BundleError(f"The checksum of {path} does not follow from those of its members.")


def _refuse_code(value: Any, path: Path) -> None:
    """MONAI configurations can hold code; ours never do, so its mere presence is a reason to refuse."""
    if isinstance(value, dict):
        if "_target_" in value:
            raise BundleError(f"{path} names code to be imported (_target_).", _UNKNOWN_ORIGIN)
        for key, inner in value.items():
            _refuse_code(key, path)
            _refuse_code(inner, path)
    elif isinstance(value, list):
        for inner in value:
            _refuse_code(inner, path)
    elif isinstance(value, str) and value.startswith("$"):
        raise BundleError(f"{path} holds an expression to be evaluated ({value[:40]!r}).", _UNKNOWN_ORIGIN)


def check_weights(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], model: str
) -> None:
    """Whether weights are those of a network, and those of one that has learnt anything.

    :param expected: the network's own state; its values do not matter.
    :raises BundleError: for missing, surplus or misshapen tensors, numbers that are not finite, or nothing
        but zeros.
    """

    def fits(name: str) -> bool:
        own, required = state[name], expected[name]
        return own.shape == required.shape and own.is_floating_point() == required.is_floating_point()

    wrong = [name for name in expected if name not in state or not fits(name)]
    wrong += [name for name in state if name not in expected]
    if wrong:
        raise BundleError(
            f"The weights of {model} do not fit its network: {len(wrong)} tensors are missing, surplus "
            f"or of another shape or kind, the first is {wrong[0]!r}.",
            _GET_AGAIN,
        )
    numbers = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    broken = [name for name, tensor in numbers.items() if not tensor.isfinite().all()]
    if broken:
        raise BundleError(
            f"The weights of {model} are not all finite numbers, see {broken[0]!r}.", _GET_AGAIN
        )
    if not any(tensor.any() for tensor in numbers.values()):
        raise BundleError(f"The weights of {model} are all zero.", _GET_AGAIN)
