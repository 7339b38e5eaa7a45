"""All tables of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from MRI2PETLib.evaluation.asymmetry import AsymmetryStatistics, asymmetry_table
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.cohort_groups import GroupRow, group_table
from MRI2PETLib.evaluation.cohort_tables import GlobalRow, RegionStatistics, global_table, region_table
from MRI2PETLib.evaluation.fid import FidRow
from MRI2PETLib.evaluation.paired import PairedRow, methods_table
from MRI2PETLib.evaluation.published_tables import (
    PaperRow,
    SpaceRow,
    UptakeRow,
    paper_table4,
    space_table,
    uptake_table,
)
from MRI2PETLib.evaluation.specificity import OtherDifference, Specificity


class CohortTables(NamedTuple):
    """The tables of a cohort by the names of their files; those that do not apply are empty."""

    summary: Sequence[GlobalRow]
    region_statistics: Sequence[RegionStatistics]
    groups: Sequence[GroupRow]
    levels: Sequence[UptakeRow]
    spaces: Sequence[SpaceRow]
    asymmetry: Sequence[AsymmetryStatistics]
    specificity: Sequence[Specificity]
    others: Sequence[OtherDifference]
    paper_table4: Sequence[PaperRow]
    fid: Sequence[FidRow]
    methods: Sequence[PairedRow]
    against: Sequence[PairedRow]


def all_tables(cohort: Cohort, compared: Sequence[PairedRow] = ()) -> CohortTables:
    """:param compared: with another model, see :func:`.against.against_table`."""
    to_pet = cohort.direction.to_pet
    return CohortTables(
        summary=global_table(cohort),
        region_statistics=region_table(cohort),
        groups=group_table(cohort) if to_pet else [],
        levels=uptake_table(cohort) if to_pet else [],
        spaces=space_table(cohort) if to_pet else [],
        asymmetry=asymmetry_table(cohort) if to_pet else [],
        specificity=cohort.specificity,
        others=cohort.others,
        paper_table4=paper_table4(cohort) if to_pet else [],
        fid=cohort.fid,
        methods=methods_table(cohort),
        against=compared,
    )
