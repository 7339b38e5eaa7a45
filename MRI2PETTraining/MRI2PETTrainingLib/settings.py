"""The settings of a training: the only place that names them, see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core import options
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.settings import Settings, option
from MRI2PETLib.models import family_names

_FOLDS, _DATA, _MACHINE = "folds", "data", "machine"
_TRAINING = "training (replaces the preset's)"
_PRETRAINING = "pre-training on MRIs without PET (then --start-from RUN)"


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """What is trained, where to, and how. ``dataset`` and ``output`` are empty until a window has them.

    A setting of the name of one of a :class:`.presets.Preset` replaces that.
    """

    dataset: str = option(
        "manifest.csv, a BIDS dataset, or a folder of case folders (T1 + PET)", positional=True
    )
    output: str = option("folder of the run", short="-o", metavar="RUN", decides=False)
    family: str | None = option(
        f"{', '.join(family_names())}; without it: the preset's", None, metavar="F", decides=False
    )
    preset: str | None = option(
        "name (see Docs/how_to/training.md) or JSON file; without it: the family's own",
        None,
        metavar="P",
        decides=False,
    )

    folds: int = option("number of folds", 5, least=2, group=_FOLDS)
    seed: int = option("random seed of folds, weights and order", 42, least=0, group=_FOLDS)
    keep_together: tuple[str, ...] = option(
        "keep equal values of this column in one fold, as is done for subject and donor",
        (),
        choices=("subject", "donor", "site"),
        group=_FOLDS,
    )
    leave_one_site_out: bool = option("one fold per site", False, group=_FOLDS)
    test_site: tuple[str, ...] = option(
        "one split in place of folds: the people of this site are tested, all others train; repeatable",
        (),
        metavar="SITE",
        group=_FOLDS,
    )

    subject_pattern: str | None = option(
        "regular expression with a group (?P<subject>...) that finds the subject in the name of a case",
        None,
        metavar="REGEX",
        group=_DATA,
    )
    subjects: Path | None = option(
        "table with the columns case and subject; it takes precedence over the pattern",
        None,
        metavar="CSV",
        decides=False,
        group=_DATA,
    )
    register: str = options.register(group=_DATA)
    window: tuple[float, float] | None = options.window_option(
        "; the column window_min of a manifest takes precedence", group=_DATA
    )
    realign_frames: bool = options.realign_frames(group=_DATA)
    reference_region: str | None = options.reference_region(
        "the target is that of the preset", decides=False, group=_DATA
    )
    exclude_bad: bool = option("leave out cases that cannot be used", False, group=_DATA)
    adjust_genotype: bool = option(
        "remove the HAB/MAB difference, fitted on the training people of each fold; leaves out LAB",
        False,
        group=_DATA,
    )
    cache: Path | None = option(
        "prepared cases; without it: RUN/cache", None, metavar="DIR", decides=False, group=_DATA
    )
    workers: int = option("processes that prepare cases", 2, least=1, decides=False, group=_DATA)

    epochs: int | None = option("epochs of each fold", None, least=1, decides=False, group=_TRAINING)
    batch_size: int | None = option("pairs a step", None, least=1, decides=False, group=_TRAINING)
    learning_rate: float | None = option("of Adam", None, decides=False, group=_TRAINING)
    precision: str | None = option(
        "arithmetic of the network; auto: bf16 where a GPU computes with it, else fp32",
        None,
        choices=options.PRECISIONS,
        decides=False,
        group=_TRAINING,
    )
    gradient_checkpointing: bool = option(
        "needs less memory and about 1.3 times the time", False, decides=False, group=_TRAINING
    )
    start_from: str | None = option(
        "model whose weights to start from; a run's folder: each fold from the same fold of it",
        None,
        metavar="ID|DIR",
        decides=False,
        group=_TRAINING,
    )

    unpaired: Path | None = option(
        "train on these, each in the style of a PET of DATASET; folds as DATASET's",
        None,
        metavar="MRIS",
        group=_PRETRAINING,
    )
    vgg19: Path | None = option(
        "torchvision's VGG19 weights: style by its features, as published",
        None,
        metavar="FILE",
        group=_PRETRAINING,
    )

    device: str = options.device(decides=False, group=_MACHINE)
    devices: int = option("devices on this machine", 1, least=1, decides=False, group=_MACHINE)
    nodes: int = option("machines (torchrun or SLURM)", 1, least=1, decides=False, group=_MACHINE)
    folds_at_once: int = option(
        "folds that are trained at the same time on this machine; they share its cores, and each needs the "
        "memory of a training",
        1,
        least=1,
        decides=False,
        group=_MACHINE,
    )
    loaders: int | None = option(
        "processes that load batches; without it: none on a CPU, else one a core, up to 8",
        None,
        least=0,
        decides=False,
        group=_MACHINE,
    )
    threads: int | None = option(
        "CPU threads of the network; without it: torch's own number",
        None,
        least=1,
        decides=False,
        group=_MACHINE,
    )


@dataclass(frozen=True)
class Task(Settings):
    """What of a run is done now; its result does not depend on it."""

    check: bool = option("check and prepare the dataset, make the folds, stop", False)
    resume: bool = option("go on with the run in the folder", False)
    fold: tuple[int, ...] = option("train this fold only; repeatable", (), metavar="K")


def check_run_folder(settings: TrainingSettings) -> None:
    """:raises InputError: if the run would write among the images of its dataset."""
    dataset, run = (Path(text).expanduser().resolve() for text in (settings.dataset, settings.output))
    if dataset.is_dir() and dataset == run:
        raise InputError(f"{run} is the folder of the dataset.", "Choose another folder for the run.")
