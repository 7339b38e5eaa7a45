"""Tables: of cases, people, subjects, labels and regions, by the readers of every command."""

from __future__ import annotations

import json
import math
from pathlib import Path

from damage import Rng, damaged, pick

CASES = """case,subject,t1,pet,mask,synthetic,unit,window_min,group,genotype,site,donor,fold,exclude,age
a_1,a,t.nii,p.nii,m.nii,s.nii,SUV,60-90,AD,HAB,Rome,d,0,,70
a_2,a,t2.nii,p2.nii,,s2.nii,Bq/mL,,AD,HAB,Rome,d,0,,71
b,b,t3.nii,p3.nii,,s3.nii,SUVR,,HC,MAB,Oslo,,1,moved,
c,c,t4.nii,p4.nii,,s4.nii,,,HC,LAB,Oslo,,1,no,45.5
"""
FILES = {
    "cases.csv": CASES,
    "manifest.tsv": CASES.replace(",", "\t"),
    "participants.tsv": "participant_id\tage\tweight\tgroup\nsub-01\t40\t70\tAD\nsub-02\t30\t99\tHC\n",
    "sub-01_sessions.tsv": "session_id\tweight\nses-1\t71.5\nses-2\t72\n",
    "subjects.csv": "case,subject\na_1,a\na_2,a\nb,b\n",
    "labels.csv": "label,name\n1,Left-Thalamus\n2,Right-Thalamus\n3,Left-Caudate\n",
    "dseg.tsv": "index\tname\tabbreviation\n1\tThalamus L\tThL\n2\tThalamus R\tThR\n",
    "labels.txt": "# No. Label R G B A\n0 Unknown 0 0 0 0\n10 L Thalamus 0 118 14 0\n49 R Thalamus 1 2 3 0\n",
    "labels.json": json.dumps({"1": "Left-Thalamus", "2": "Right-Thalamus", "3": "Left Caudate"}),
    "rows.json": json.dumps([{"index": 1, "name": "A"}, {"index": 2, "name": "B"}]),
    "regions.csv": "",
    "names.csv": "region,label\nThalamus,1\nCaudate,2\n",
}


def write(folder: Path) -> None:
    """One of each kind."""
    from MRI2PETLib.evaluation.region_table import RegionRow, record_fields

    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    kinds = RegionRow.__annotations__
    row = ["x" if kinds.get(name) == "str" else "1" for name in record_fields()]
    (folder / "regions.csv").write_text("\n".join(map(",".join, (record_fields(), row, row))) + "\n")


def spoil(rng: Rng, sound: Path, work: Path) -> Path:
    name = pick(rng, [*FILES, "cases.csv", "cases.csv", "cases.csv", "participants.tsv"])
    (work / name).write_bytes(damaged(rng, (sound / name).read_bytes(), name))
    return work / name


def use(path: Path) -> None:
    """Read it by all that reads such a table."""
    {"cases.csv": _cases, "manifest.tsv": _cases, "participants.tsv": _people}.get(path.name, _others)(path)


def _cases(path: Path) -> None:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.core.names import file_name
    from MRI2PETLib.core.progress import Reporter
    from MRI2PETLib.core.tables import read_table, write_table
    from MRI2PETLib.evaluation.cohort_cases import read_pairs
    from MRI2PETLib.evaluation.covariates import read_covariate
    from MRI2PETLib.suvr.run import read_cases
    from MRI2PETTrainingLib.dataset.manifest import read_dataset, write_manifest
    from MRI2PETTrainingLib.folds import make_folds

    refusals = []
    for read in (read_pairs, read_cases):
        try:
            cases = read(path, Reporter())
            names = [file_name(case.case).casefold() for case in cases]
            assert len(set(names)) == len(names) and not any("/" in n or n.startswith(".") for n in names)
            for column in ("age", "site", "group"):
                if read is read_pairs:
                    read_covariate(column, [(case.subject, case.entry(column)) for case in cases])
        except InputError as error:
            refusals.append(error)
    try:
        manifest = read_dataset(path)
        assert all(case.subject for case in manifest.used)
        write_manifest(path.parent / "again.csv", manifest)
        again = read_dataset(path.parent / "again.csv")
        assert [c.case for c in again.cases] == [c.case for c in manifest.cases]
        make_folds(manifest.used, 2)
    except InputError as error:
        refusals.append(error)
    table = read_table(path)  # what is read can be written, and reads back
    columns = [name for name in table.columns if name]
    write_table(path.parent / "copy.csv", columns, table.rows)
    if table.rows and columns:
        assert read_table(path.parent / "copy.csv").rows == tuple(r for r in table.rows if any(r.values()))
    if refusals:
        raise refusals[0]


def _people(path: Path) -> None:
    from MRI2PETLib.images.bids import body_weight
    from MRI2PETLib.images.participants import read_participants

    image = path.parent / "sub-01" / "pet" / "sub-01_pet.nii"
    weight = body_weight(image, {})
    assert (weight.kg is None) == bool(weight.reason) and (weight.kg is None or math.isfinite(weight.kg))
    people = read_participants(path)
    for column in people.columns:
        people.value("sub-01", column)


def _others(path: Path) -> None:
    from MRI2PETLib.core.tables import read_rows
    from MRI2PETLib.evaluation.region_table import read_region_rows, shown_columns
    from MRI2PETLib.images.bids import body_weight
    from MRI2PETLib.images.subjects import read_overrides
    from MRI2PETLib.reports.case_files import RegionName
    from MRI2PETLib.templates.label_tables import read_label_table

    if path.name == "subjects.csv":
        assert all(read_overrides(path).values())
    elif path.name == "names.csv":
        read_rows(path, RegionName)
    elif path.name == "regions.csv":
        shown_columns(read_region_rows(path))
    elif path.name.endswith("sessions.tsv"):
        body_weight(path.parent / "ses-1" / "pet" / "sub-01_ses-1_pet.nii", {})
    else:
        names = read_label_table(path).names
        assert names and all(label > 0 and isinstance(name, str) for label, name in names.items())
