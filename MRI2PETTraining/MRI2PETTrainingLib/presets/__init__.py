"""What a training run does: a preset (JSON in ``presets/``, or a file of the same form) and its overrides.

A preset may be for several families: ``families`` holds what each sets otherwise. Its name means the family
that it names itself, ``NAME-FAMILY`` another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import BundleError, InputError
from MRI2PETLib.core.files import read_object
from MRI2PETLib.models.model_space import SPACES, ModelSpace
from MRI2PETTrainingLib.settings import TrainingSettings

_KINDS: dict[str, tuple[type, ...]] = {  # what JSON may hold in a field of this type
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "Mapping[str, Any]": (Mapping,),
}
LIGHTNING_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}  # as Lightning calls them
_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training pair; 0 is none.

    :ivar flip: probability of mirroring left and right.
    :ivar rotate_deg: largest rotation about each axis.
    :ivar scale: largest relative change of size.
    :ivar shift_voxels: largest shift along each axis.
    :ivar gamma: the T1 (0..1) is raised to exp(U(-gamma, gamma)).
    :ivar noise: SD of Gaussian noise on the T1 (0..1).
    """

    flip: float = 0.0
    rotate_deg: float = 0.0
    scale: float = 0.0
    shift_voxels: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _check_kinds(self)
        if not (0 <= self.flip <= 1 and min(vars(self).values()) >= 0):
            raise InputError(f"The augmentation cannot be {vars(self)}.", "Give 0 or more; a flip of 0 to 1.")


@dataclass(frozen=True)
class Preset:
    """All settings that decide the trained weights, but for the data and the seed.

    :ivar loss: settings of the family's training step.
    :ivar beta1: first decay rate of Adam.
    :ivar accumulate: batches whose gradients make one step: the effective batch is ``batch_size`` x this.
    :ivar schedule: ``constant``, or ``cosine`` (warm-up over a tenth of the steps, then down to 1 %).
    :ivar gradient_clip: largest norm of the gradient, 0 for no limit.
    :ivar ema_decay: of the moving average of the weights that is validated and kept, 0 for none.
    :ivar patience: epochs without a better validation before stopping, 0 to train all epochs.
    :ivar select: ``best`` epoch by validation, or ``last``.
    :ivar validate_every: epochs between validations and checkpoints.
    :ivar validation_samples: samples of a stochastic family whose mean is validated.
    :ivar validation_steps: sampling steps in validation, 0 for the network's own.
    :ivar precision: ``fp32`` or ``bf16`` (mixed).
    """

    name: str
    description: str
    family: str
    network: Mapping[str, Any]
    space: ModelSpace
    loss: Mapping[str, Any]
    learning_rate: float
    schedule: str
    epochs: int
    batch_size: int
    gradient_clip: float
    ema_decay: float
    patience: int
    select: str
    precision: str
    gradient_checkpointing: bool
    augmentation: Augmentation = field(default_factory=Augmentation)
    beta1: float = 0.9
    accumulate: int = 1
    validate_every: int = 1
    validation_samples: int = 4
    validation_steps: int = 0

    def __post_init__(self) -> None:
        _check_kinds(self)
        sound = {
            "learning_rate": 0 < self.learning_rate < 1,
            "schedule": self.schedule in ("constant", "cosine"),
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "gradient_clip": self.gradient_clip >= 0,
            "ema_decay": 0 <= self.ema_decay < 1,
            "patience": self.patience >= 0,
            "select": self.select in ("best", "last"),
            "precision": self.precision in LIGHTNING_PRECISIONS,
            "beta1": 0 <= self.beta1 < 1,
            "accumulate": self.accumulate >= 1,
            "validate_every": self.validate_every >= 1,
            "validation_samples": self.validation_samples >= 1,
            "validation_steps": self.validation_steps >= 0,
        }
        for key, fine in sound.items():
            if not fine:
                raise InputError(f"{key} cannot be {getattr(self, key)!r}.", f"Correct it ({self.name}).")

    def to_dict(self) -> dict[str, Any]:
        content = asdict(replace(self, space=ModelSpace()))
        del content["space"]
        return {**content, "model_space": self.space.to_dict()}


def _check_kinds(settings: Augmentation | Preset) -> None:
    """:raises InputError: if a field does not hold what its type says."""
    for own in fields(settings):
        value, kinds = getattr(settings, own.name), _KINDS.get(str(own.type), (object,))
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds != (bool,)):
            raise InputError(f"{own.name} cannot be {value!r:.80}.", f"It is of the kind {own.type}.")


def preset_names() -> list[str]:
    """Names of the presets that come with the library."""
    return sorted(_by_name())


def _by_name() -> dict[str, tuple[Path, str]]:
    """File and family of each shipped preset."""
    presets = {}
    for path in _FOLDER.glob("*.json"):
        content = read_object(path)
        for family in content.get("families", {content["family"]: {}}):
            presets[_name(path.stem, family, content["family"])] = (path, family)
    return presets


def _name(stem: str, family: str, default: str) -> str:
    return stem if family == default else f"{stem}-{family}"


def default_preset(family: str | None) -> str:
    """Name of the preset to use when none is named.

    :raises BundleError: if there is no such family.
    """
    from MRI2PETLib.models import get_family

    return get_family(family or "unet").PRESET


def check_preset(preset: Preset) -> None:
    """Check what only the family knows, before anything is prepared: network, loss, packages.

    :raises BundleError: for an argument of network or loss that the family does not take.
    :raises DependencyError: if a package is missing.
    """
    import torch

    from MRI2PETLib.models import get_family

    with torch.device("meta"):  # nothing is allocated
        get_family(preset.family).build(dict(preset.network))
        get_family(preset.family).objective(dict(preset.loss))


def preset_of(settings: TrainingSettings) -> Preset:
    """The preset of a training, with what its settings replace.

    :raises InputError: see :func:`read_preset`.
    """
    assert settings.preset is not None
    own = {field.name for field in fields(Preset)} & (settings.options().keys() - {"family"})
    values = {name: getattr(settings, name) for name in own}
    preset = read_preset(
        settings.preset, settings.family, **{n: None if v is False else v for n, v in values.items()}
    )
    if settings.reference_region is None:
        return preset
    return replace(preset, space=preset.space.by_region(settings.reference_region))


def read_preset(reference: str | Path, family: str | None = None, **overrides: Any) -> Preset:
    """Read a preset by name or from a JSON file.

    :param family: which of the families of a preset that is for several; its own choice by default.
    :param overrides: settings that replace those of the file; ``None`` leaves them.
    :raises InputError: if there is no such preset, it is not for ``family``, or a setting is missing, unknown
        or out of range.
    """
    path, family_of_name = _by_name().get(str(reference), (Path(reference), None))
    if not path.is_file():
        raise InputError(
            f"There is no preset {str(reference)!r}.",
            f"Presets: {', '.join(preset_names())}; or give a JSON file of the same form.",
        )
    try:
        content = read_object(path)
        families, default = content.pop("families", {}), content["family"]
        own_family = family or family_of_name or default
        if own_family not in families and own_family != default:
            others = ", ".join(sorted(families)) or default
            raise InputError(
                f"The preset {path.stem} is for {others}, not {own_family}.", "Leave out --family."
            )
        content |= families.get(own_family, {})
        content |= {k: v for k, v in overrides.items() if v is not None}
        space = content.pop("model_space")
        content["space"] = SPACES[space] if isinstance(space, str) else ModelSpace.from_dict(space)
        content["augmentation"] = Augmentation(**content.get("augmentation", {}))
        unknown = set(content) - {f.name for f in fields(Preset)}
        if unknown:
            raise InputError(f"The preset {path} has the unknown setting {sorted(unknown)[0]!r}.")
        return Preset(**{**content, "family": own_family, "name": _name(path.stem, own_family, default)})
    except (ValueError, KeyError, TypeError, AttributeError, BundleError) as error:
        raise InputError(
            f"The preset {path} cannot be used: {error}.", "Compare it with a shipped one."
        ) from error
