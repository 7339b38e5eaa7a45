"""Average anatomies: what people have in common in MNI space, as a group's template shows it.

The T1 of a template such as the ICBM 152 has neither the folds nor the contrast of any person. A network that
has seen people only takes it for something else; averages of random groups of the training people teach it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MRI2PETLib.images.grid import RAS_AXES, Grid
from MRI2PETLib.models.model_space import model_grid
from MRI2PETLib.templates.icbm152 import load_template
from TSPODemoModel.activity_model import OTHER_WEIGHT, tissue_activity
from TSPODemoModel.anatomies import FIELD_SIZE, SOURCE_SPACE, PersonAnatomy

SMALLEST_GROUP, LARGEST_GROUP = 3, 24


def average_anatomies(people: Sequence[PersonAnatomy], n: int, seed: int) -> list[PersonAnatomy]:
    """``n`` averages of random groups of ``people``: 3 to 24 of them, small groups as often as large ones.

    They lie in MNI space, T1s scaled by their 99th percentile, and are used like people.
    """
    grid, _ = model_grid(load_template().mask, RAS_AXES, SOURCE_SPACE)
    volumes = np.stack([_in_mni(person, grid) for person in people])
    rng = np.random.default_rng(seed)
    largest = min(LARGEST_GROUP, len(people))
    sizes = np.exp(rng.uniform(np.log(SMALLEST_GROUP), np.log(largest + 1), n)).astype(int)
    averages = []
    for number, size in enumerate(sizes):
        group = rng.permutation(len(people))[:size]
        share, t1, gm, wm, csf = volumes[group].astype(np.float32).mean(0)
        mask = share > 0.5
        t1, gm, wm, csf = (np.divide(v, share, out=np.zeros_like(v), where=mask) for v in (t1, gm, wm, csf))
        nowhere = np.zeros((3, *(FIELD_SIZE,) * 3), np.float32)
        averages.append(
            PersonAnatomy(f"average-{number:02d}", grid, t1, mask, gm, wm, csf, nowhere, np.eye(4))
        )
    return averages


def tissue_of(person: PersonAnatomy) -> np.ndarray:
    """Activity of a person's tissue before any correction, 0 outside the brain: [k, j, i] on their grid."""
    tissue = tissue_activity(person.gm, person.wm, person.csf)
    other = np.clip(person.mask - person.gm - person.wm - person.csf, 0, 1)
    return np.asarray((tissue + OTHER_WEIGHT * other) * person.mask, np.float32)


def mean_tissue(people: Sequence[PersonAnatomy]) -> np.ndarray:
    """Mean of :func:`tissue_of` over ``people`` in MNI space: [k, j, i] on the template's grid, 0 where fewer
    than half of them have brain.
    """
    grid = Grid.of(load_template().mask)
    share, tissue = np.zeros((2, *grid.size[::-1]), np.float32)
    for person in people:
        mask, activity = person.onto(grid, person.mask.astype(np.float32), tissue_of(person))
        share += mask / len(people)
        tissue += activity / len(people)
    return np.divide(tissue, share, out=np.zeros_like(tissue), where=share > 0.5)


def _in_mni(person: PersonAnatomy, grid: Grid) -> np.ndarray:
    """Mask, T1 and tissue fractions x mask on an MNI grid: float16 [5, k, j, i]."""
    inside = person.mask.astype(np.float32)
    t1 = person.t1 / np.percentile(person.t1[person.mask], 99)
    moved = person.onto(grid, inside, t1 * inside, person.gm, person.wm, person.csf)
    return np.stack(moved).astype(np.float16)
