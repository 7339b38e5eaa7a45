"""One reader of tables of cases: a column means the same to training, SUVR and evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.names import file_name
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images import case_table
from MRI2PETLib.images.case_table import CaseRow, CaseTable, read_case_table
from MRI2PETLib.images.participants import read_participants
from properties import quick


def read(folder: Path, text: str, *needed: str, **how: object) -> CaseTable:
    path = folder / "cases.csv"
    path.write_text(text)
    return read_case_table(path, needed or ("case", "pet"), **how)  # type: ignore[arg-type]


def test_every_column(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path,
        "Case,SUBJECT,t1,PET,mask,synthetic,unit,window_min,group,genotype,site,donor,fold,exclude,age,sex,iq\n"
        "a_1,a,t.nii,/x/p.nii,m.nii,s.nii,SUV,60-90,AD,HAB,Rome,d,0,moved,70,F,110\n",
    ).rows
    paths = [tmp_path / name for name in ("t.nii", "/x/p.nii", "m.nii", "s.nii")]
    assert row == CaseRow(
        *("a_1", "a", *paths[:3], "SUV", "60-90", "AD", "HAB", "Rome", "70", "F", "d", "moved"),
        *(paths[3], "0", {"iq": "110"}),
    )


def test_empty_cells_in_the_spellings_of_bids_and_spreadsheets(tmp_path: Path) -> None:
    table = read(tmp_path, "case,subject,pet,t1,group,site\na,NA,p,n/a,N/A,nan\n")
    assert table.rows == (CaseRow("a", "NA", None, tmp_path / "p"),)  # NA may be somebody's initials


@pytest.mark.parametrize("text", ["", "no", "No", "0", "FALSE", "n/a", "-"])
def test_a_case_in_use(tmp_path: Path, text: str) -> None:
    assert len(read(tmp_path, f"case,pet,exclude\na,p,{text}\n").used) == 1


@pytest.mark.parametrize(
    ("text", "reason"), [("yes", "marked in the table"), ("1", None), ("moved", "moved")]
)
def test_a_case_left_out_needs_no_images_and_is_told(tmp_path: Path, text: str, reason: str | None) -> None:
    table = read(tmp_path, f"case,subject,pet,exclude\na,,,{text}\nb,b,p,\n")
    assert [row.case for row in table.used] == ["b"]
    assert table.notes() == [f"a is left out: {reason or 'marked in the table'}"]


def test_paths_are_relative_to_the_table_with_either_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "p.nii").touch()
    assert read(tmp_path, "case,pet\na,sub\\p.nii\n").rows[0].pet == tmp_path / "sub" / "p.nii"
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USERPROFILE", "/home/somebody")
    assert read(tmp_path, "case,pet\na,~/p.nii\n").rows[0].pet == Path("/home/somebody/p.nii")


def test_people_come_from_a_column_or_from_the_names(tmp_path: Path) -> None:
    table = read(tmp_path, "case,participant_id,pet\nx1,sub-01,p\nx2,sub-01,q\n")
    assert [row.subject for row in table.rows] == ["sub-01", "sub-01"] and table.names_people
    by_name = read(tmp_path, "case,pet\nHC01_ses-1,p\nHC01_ses-2,q\n")
    assert [row.subject for row in by_name.rows] == ["HC01", "HC01"] and not by_name.names_people
    by_pattern = read(tmp_path, "case,pet\nHC01_x,p\nHC01_y,q\n", subject_pattern=r"(?P<subject>\w+)_.")
    assert {row.subject for row in by_pattern.rows} == {"HC01"}
    spelled = read(tmp_path, "case,subject,pet\na,HC 01,p\nb,hc1,q\nc,10,r\nd,1.0,s\n")
    first, second, *others = (row.subject for row in spelled.rows)
    assert first == second and others == ["10", "1.0"]


def test_repeats_of_a_person_are_pointed_out(tmp_path: Path) -> None:
    (note,) = read(tmp_path, "case,pet\nP01a,p\nP01b,q\nP02a,r\n").notes()
    assert "'P01a' and 'P01b' differ in their last part only" in note and "--subject-pattern" in note
    (note,) = read(tmp_path, "case,subject,pet\nx,P01a,p\ny,P01b,q\n").notes()
    assert "--subject-pattern" not in note and "column subject" in note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,t1\na,b\n", r"lacks the column\(s\) pet\."),
        ("case,real\na,b\n", r"lacks the column\(s\) pet \(real looks like pet\)"),
        ("case,pet,subject_id\na,b,c\n", "has no column subject, but subject_id"),
        ("case,pet,Subjct\na,b,c\n", "has no column subject, but subjct"),
        ("case,pet,Patient ID\na,b,c\n", "has no column subject, but patient_id"),
        ("case,pet,subject\na,b,\n", "Line 2 .* has no subject"),
        ("case,pet,subject\na,b,n/a\n", "Line 2 .* has no subject"),
        ("case,pet\na,b\n\nc,\n", "Line 4 .* has no pet"),
        ("case,pet\n,b\n", "Line 2 .* has no case"),
        ("case,pet\n", "has no row"),
        ("case,pet\na,b\na,c\n", "lists the case 'a' twice"),
        ("case,pet\nA b,b\na-b,c\n", "lists the cases 'A b' and 'a-b'"),
        ("case,pet\n" + "x" * 200 + ",b\n", "too long a name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_a_table_of_far_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows would take minutes to be found wrong."""
    monkeypatch.setattr(case_table, "MOST_CASES", 2)
    assert len(read(tmp_path, "case,pet\na,1\nb,2\n").rows) == 2
    with pytest.raises(InputError, match="has 3 rows; 2 cases are possible"):
        read(tmp_path, "case,pet\na,1\nb,2\nc,3\n")


def test_a_column_that_looks_like_one_of_ours_is_told(tmp_path: Path) -> None:
    table = read(
        tmp_path, "case,pet,subject,diagnosis,genotyp,age,sex,level,findings\na,b,c,AD,HAB,7,f,ok,\n"
    )
    assert [(f.level, f.message.partition(" of ")[0], f.hint) for f in table.findings] == [
        ("warn", "The column diagnosis", "Is it group?"),
        ("warn", "The column genotyp", "Is it genotype?"),
    ]
    assert not read(tmp_path, "case,pet,subject,participant_id,group,diagnosis\na,b,c,d,e,f\n").findings


@pytest.mark.parametrize("text", ["case,pet,include\na,b,0\n", "case,pet,exclude,include\na,b,0,0\n"])
def test_a_column_include_is_told_and_leaves_nothing_out(tmp_path: Path, text: str) -> None:
    """It means the opposite of exclude."""
    table = read(tmp_path, text)
    assert [(f.message.partition(" of ")[0], f.hint) for f in table.findings] == [
        ("The column include", "Only the column exclude leaves cases out: by its reason, yes or 1.")
    ]
    assert len(table.used) == 1


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10).map(str.strip)


@quick
@given(st.lists(st.tuples(names, names.filter(bool)), min_size=1, max_size=6))
def test_any_names_read_back_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    """Cases keep their names, nobody gets into another person's subject, and files never share a name."""
    path = tmp_path_factory.getbasetemp() / "names.csv"
    write_table(path, ("case", "subject", "pet"), [(*row, "p.nii") for row in rows])
    try:
        table = read_case_table(path, ("case", "pet"))
    except InputError:
        return
    assert [row.case for row in table.rows] == [case for case, _ in rows]
    for (_, given_a), a in zip(rows, table.rows):
        for (_, given_b), b in zip(rows, table.rows):
            assert given_a != given_b or a.subject == b.subject
    assert len({file_name(row.case).casefold() for row in table.rows}) == len(table.rows)


def test_what_is_said_of_people_has_one_spelling(tmp_path: Path) -> None:
    """Groups in another case, codes for what is missing, ages of nobody; what is odd is told once."""
    rows = {
        "a": "Control,hab,34,F",
        "b": "control,HAB,-9,female",
        "c": "CONTROL,Mab,999,f",
        "d": "patient,unknown,0,unknown",
        "e": "Patient,-9,067Y,M",
        "f": "patient,n/a,,male",
        "g": "patient +,HAB,-9,1",
        "i": "patient -,LAB,1.5,F",
        "h": 'patient,HAB,"62,5",-9',
    }
    text = "".join(f"{case},{case},{case},{cells}\n" for case, cells in rows.items())
    table = read(tmp_path, "case,subject,pet,group,genotype,age,sex\n" + text)
    about = [(row.group, row.genotype, row.age, row.sex) for row in table.rows]
    assert about == [
        ("CONTROL", "HAB", "34", "F"),
        ("CONTROL", "HAB", "", "F"),
        ("CONTROL", "MAB", "", "F"),
        ("Patient", "", "", ""),
        ("Patient", "", "67", "M"),
        ("Patient", "", "", "M"),
        ("patient +", "HAB", "", "1"),
        ("patient -", "LAB", "1.5", "F"),
        ("Patient", "HAB", "62.5", ""),
    ]
    assert [f"{f.message} {f.hint}" for f in table.findings] == [
        "The age -9 is no person's: it counts as missing. In b and 1 more.",
        "The age 999 is no person's: it counts as missing. In c.",
        "The age 0 is no person's: it counts as missing. In d.",
        "The genotype -9 counts as missing. In e.",
        "The sex 1 is none of F, M, O: it is a name of its own. In g.",
        "The sex -9 counts as missing. In h.",
    ]


# -- participants.tsv ----------------------------------------------------------------------------------------


def people(folder: Path, text: str) -> Path:
    path = folder / "participants.tsv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "participant_id\tGroup\nsub-01\tAD\nsub-02\tHC\n",
        "participant_id,group\n01,AD\n02,HC\n",  # commas, no sub-
        "participant_id\tgroup\nSUB-01\tAD\nSub-02\tHC\n",
        "Participant_ID;group\n1;AD\n2;HC\n",  # a spreadsheet took the zeros
        "participant_id\tgroup\nsub-01\tAD\nsub-01\tn/a\nsub-02\tHC\n",  # a line a session
    ],
)
def test_people_are_found_however_they_are_written(tmp_path: Path, text: str) -> None:
    table = read_participants(people(tmp_path, text))
    assert [table.value(f"sub-{n}", "group", "diagnosis") for n in ("01", "02", "03")] == ["AD", "HC", ""]
    assert "sub-01" in table and "sub-03" not in table


def test_people_who_are_not_one_are_not_mixed_up(tmp_path: Path) -> None:
    table = read_participants(people(tmp_path, "participant_id\tgroup\nsub-1\tAD\nsub-01\tHC\n"))
    assert [table.value(name, "group") for name in ("sub-1", "sub-01", "sub-001")] == ["AD", "HC", ""]
    table = read_participants(people(tmp_path, "participant_id\tgroup\nsub-1\tAD\nsub-1\tHC\n"))
    with pytest.raises(InputError, match="lists sub-1 twice, with the group 'AD' and 'HC'"):
        table.value("sub-1", "group")
    with pytest.raises(InputError, match=r"lacks the column\(s\) participant_id"):
        read_participants(people(tmp_path, "id\tgroup\nsub-1\tAD\n"))
