"""Maps of a cohort in MNI space for other programs (SPM, PALM, nilearn), with the tables of their design.

::

    mni/<case>_space-MNI_desc-{real,synthetic,residual}_pet.nii.gz    smoothed, 0 outside the person's brain
    mni/mask.nii.gz     where every scan has a value
    mni/maps.tsv        a line a scan: its maps, and what the table of cases says of it
    mni/design.csv      numbers, a line a scan in the order of maps.tsv: a column a group, then covariates
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import make_folder
from MRI2PETLib.core.names import file_name
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.covariates import Covariate
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image

COHORT_MAPS = "mni"
MAPS_OF_CASE = ("real", "synthetic", "residual", "z")
_FORMULAS = {
    "residual": "real - synthetic",
    "z": "residual against those of other people: the controls where there are any",
}


def map_name(case: str, what: str) -> str:
    """File of one of :data:`MAPS_OF_CASE`."""
    return f"{file_name(case)}_space-MNI_desc-{what}_pet.nii.gz"


class CohortMaps:
    """Writes the maps of scan after scan below ``folder``."""

    def __init__(self, folder: Path, fwhm_mm: float) -> None:
        self.folder, self.fwhm_mm = make_folder(folder / COHORT_MAPS), fwhm_mm
        self._grid = Grid.of(mni_grid())
        self._everywhere = np.ones(self._grid.shape, bool)
        self.cases: list[CohortCase] = []
        self._names = [*MAPS_OF_CASE[:3]]

    def add(self, case: CohortCase, synthetic: np.ndarray, real: np.ndarray, unit: str) -> None:
        """Write a scan: images [k, j, i] on the MNI grid, NaN where nothing is known."""
        inside = np.isfinite(synthetic) & np.isfinite(real)
        order = self._grid.spacing_mm[::-1]
        smooth = {
            name: smooth_in_mask(image, inside, (order[0], order[1], order[2]), self.fwhm_mm)
            for name, image in (("real", real), ("synthetic", synthetic))
        }
        smooth["residual"] = smooth["real"] - smooth["synthetic"]
        for name, values in smooth.items():
            self.write(case.case, name, values, unit)
        self._everywhere &= inside
        self.cases.append(case)

    def write(self, case: str, name: str, values: np.ndarray, unit: str) -> None:
        """Write one map, [k, j, i]."""
        about: dict[str, Any] = {**GENERATED_BY, "Units": unit, "SmoothingFWHMmm": self.fwhm_mm}
        about |= {"Space": "MNI (ICBM 152 2009a), non-linear", "Synthetic": name == "synthetic"}
        if name in _FORMULAS:
            about["Formula"] = _FORMULAS[name]
        write_image(self._grid.image(values.astype(np.float32)), self.folder / map_name(case, name), about)

    def residuals(self) -> np.ndarray:
        """All residuals inside the mask, [scan, voxel]."""
        rows = []
        for case in self.cases:
            path = self.folder / map_name(case.case, "residual")
            rows.append(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[self._everywhere])
        return np.array(rows)

    def write_z(self, z: np.ndarray) -> None:
        """The scores of :meth:`residuals`, in the same order."""
        self._names = [*MAPS_OF_CASE]
        for case, scores in zip(self.cases, z):
            values = np.zeros(self._grid.shape)
            values[self._everywhere] = np.nan_to_num(scores)
            self.write(case.case, "z", values, "z")

    def finish(self, covariates: Sequence[Covariate]) -> None:
        """Write the mask and both tables."""
        mask = self._grid.image(self._everywhere.astype(np.uint8))
        write_image(mask, self.folder / "mask.nii.gz", {**GENERATED_BY, "Type": "Brain"})
        others = sorted({name for case in self.cases for name in case.others})
        columns = ["case", "subject", *self._names, "group", "genotype", "site", *others]
        lines = [
            {
                "case": case.case,
                "subject": case.subject,
                **{name: map_name(case.case, name) for name in self._names},
                **{name: case.entry(name) for name in ("group", "genotype", "site", *others)},
            }
            for case in self.cases
        ]
        columns = [name for name in columns if name in ("case", "subject") or any(row[name] for row in lines)]
        write_table(self.folder / "maps.tsv", columns, [{c: row[c] for c in columns} for row in lines])
        names, design = design_matrix(self.cases, covariates)
        write_table(self.folder / "design.csv", names, design.tolist())


def design_matrix(
    cases: Sequence[CohortCase], covariates: Sequence[Covariate]
) -> tuple[list[str], np.ndarray]:
    """A column of 0 and 1 for each group (``all`` without groups), then centred covariates, [scan, column].

    A scan without a value of a covariate has 0, its mean.
    """
    groups = sorted({case.group for case in cases})
    names = [name or "no group" for name in groups] if any(groups) else ["all"]
    columns = [np.array([[float(case.group == name) for name in groups] for case in cases])]
    for covariate in covariates:
        values = covariate.columns([case.subject for case in cases])
        columns.append(np.nan_to_num(values))
        texts = sorted({str(v) for v in covariate.values.values() if v is not None})
        names += [covariate.name] if covariate.is_number else [f"{covariate.name}={t}" for t in texts[1:]]
    return names, np.column_stack(columns)
