"""Whose scan a name says it is, and which names may be one person."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.similar_subjects import (
    joining_pattern,
    last_part_groups,
    similar_subjects,
    spelling_findings,
)
from MRI2PETLib.images.subjects import plain_name, read_overrides, subject_key, subject_keys
from properties import quick


@pytest.mark.parametrize(
    ("case", "subject"),
    [
        ("subject_001", "subject_001"),
        ("subject_01", "subject_01"),
        ("IGN_CLBP008_01", "IGN_CLBP008"),
        ("IGN_CLBP008_01_REDO", "IGN_CLBP008"),
        ("PBRKOA_KOA003_010818", "PBRKOA_KOA003"),
        ("PBRKOA033_112217", "PBRKOA033"),
        ("P01_2019-03-04", "P01"),
        ("P01_04.03.2019", "P01"),
        ("sub-07_ses-02", "sub-07"),
        ("HC12 scan2", "HC12"),
        ("anna", "anna"),
    ],
)
def test_the_subject_of_a_name(case: str, subject: str) -> None:
    assert subject_key(case) == subject


def test_spellings_that_differ_in_case_separators_or_zeros_are_one_person() -> None:
    keys = subject_keys(["KOA_033_01", "koa033_02", "KOA33_03", "KOA030_01"])
    assert len(set(keys.values())) == 2 and keys["KOA030_01"] not in (keys["KOA33_03"], keys["koa033_02"])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("M\u00fcller", "mu\u0308LLER", True),
        ("7", "7.0", True),
        ("07", "7", True),
        ("1.0", "10", False),
        ("2_10", "21_0", False),
        ("002_S_0295", "2S295", True),
        ("P1", "P10", False),
    ],
)
def test_when_two_spellings_are_one(a: str, b: str, same: bool) -> None:
    assert (plain_name(a) == plain_name(b)) is same


def test_a_prefix_is_shown_and_an_override_joins_the_two() -> None:
    keys = subject_keys(["KOA033_010118", "PBRKOA033_020218", "KOA133_010118"])
    assert list(spelling_findings(keys)) == ["PBRKOA033"]
    joined = subject_keys(["KOA033_010118", "PBRKOA033_020218"], overrides={"PBRKOA033_020218": "KOA033"})
    assert set(joined.values()) == {"KOA033"} and not spelling_findings(joined)


def test_pattern_errors_name_the_pattern() -> None:
    with pytest.raises(InputError, match="no group called subject"):
        subject_keys(["a1"], r"[a-z]\d")
    with pytest.raises(InputError, match="does not match the case 'b'"):
        subject_keys(["b"], r"(?P<subject>a\d)")
    with pytest.raises(InputError, match="names the case 'c9'"):
        subject_keys(["b"], overrides={"c9": "x"})


def test_a_list_of_subjects(tmp_path: Path) -> None:
    path = tmp_path / "subjects.csv"
    path.write_text("Case;Subject\na;p\nb;p\na;p\n")
    assert read_overrides(path) == {"a": "p", "b": "p"}
    for text, message in (
        ("case,subject\na,p\na,q\n", "gives the case 'a' two subjects: 'p' and 'q'"),
        ("case,subject\na,\n", "Line 2 .* lacks"),
        ("case,subject\n", "lists no case"),
        ("case,person\na,p\n", r"lacks the column\(s\) subject"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_overrides(path)


# -- names that differ in their last part only ---------------------------------------------------------------

# Each line: names of cases, of which the first two (and no others) may be one person.
ONE_PERSON = [
    "OAS30001_MR_d0129 OAS30001_MR_d2430 OAS30002_MR_d0100",  # days
    "OAS30001_MR_d0129 OAS30001_MR_d2430",
    "pt07_0100 pt07_2500 pt08_0100",
    "P01.day1 P01.day200 P02.day1",
    "002_S_0295_m00 002_S_0295_m12 002_S_0413_m00 005_S_0221_m00",  # months
    "aibl_0012_18m aibl_0012_36m aibl_0013_18m",
    "P01_jan19 P01_jun20 P02_jan19",
    "R001_wk0 R001_wk12 R002_wk0",
    "sub01_post sub01_pre sub02_pre",
    "anna_post anna_pre bert_pre carl_pre",
    "M\u00fcller-after M\u00fcller-before Meyer-before",
    "P01a P01b P02a P03",  # letters
    "P1-A P1-B P2-A",
    "AD03_I AD03_II AD04_I",
    "P01 P01b P02",
    "OAS2_0001_MR1 OAS2_0001_MR2 OAS2_0002_MR1",  # visits
    "X12_t0 X12_t1 X13_t0",
    "M01_visitA M01_visitB M02_visitA",
    "0001_BL 0001_FU1 0002_BL",
    "smith_2019 smith_2021 jones_2020",  # dates
    "Smith2019 Smith2021 Jones2019",
    "P01_20190304_1030 P01_20200101_1111 P02_20190304_1030",
    "anna_a anna_b bert_a carl_a",  # no number
    "J.Doe.1 J.Doe.2 J.Roe.1",
    "pre_S1 post_S1 pre_S2 pre_S3",  # the visit before the person
    "v1_012 v2_012 v1_013",
    "20190304_S1 20200405_S1 20190304_S2",
    "S1 S1_copy S2 S3",
    "S7#1 S7#2 S8#1",  # other marks
    "S7+1 S7+2 S8+1",
    "S7~1 S7~2 S8~1",
    "S7,a S7,b S8,a",
    "S7-T+6 S7-T+12 S8-T+6",
    "S7@base S7@1y S8@base",
    "BBB007\u03b1 BBB007\u03b2 BBB008\u03b1",
    "subj5_6mo subj5_1.5y subj6_6mo",
    "subj5_0.5h subj5_3h",
    "JS_placebo JS_drug KM_placebo",  # conditions
    "P1_sham P1_active P2_sham",
    "subj5_left subj5_right",
    "subj5_monday subj5_friday",
    "subj5_erste subj5_zweite",
    "JS_before_treatment JS_after_treatment KM_before_treatment",
    "P01_pre_drug P01_post_drug P02_pre_drug",
    "V1_S7 V2_S7 V1_S8",  # the visit first
    "visit_1_S7 visit_2_S7 visit_1_S8",
    "ses01sub01 ses02sub01 ses01sub02",
    "d0129_OAS30001 d2430_OAS30001 d0001_OAS30002",
    "m00_0295 m12_0295 m00_0413",
    "preS1 postS1 preS2",
    "before-anna after-anna before-bert",
    "S1_pre_T1 S1_post_T1 S2_pre_T1",  # the visit in the middle
    "lab_pre_S1 lab_post_S1 lab_pre_S2",
    "ADNI_V1_0295 ADNI_V2_0295 ADNI_V1_0413",
    "P7.drug.T1 P7.placebo.T1 P8.drug.T1",
    "JSpre JSpost KMpre",
    "drug-P1 placebo-P1 drug-P2",
    "left_P01 right_P01 left_P02",
    "2019-P1 2021-P1 2019-P2",
    "2019_03_04-P1 2021_05_06-P1 2019_03_04-P2",
    "T1_pre_anna T1_post_anna T1_pre_bert",
    "KM_ketamine KM_saline AB_ketamine",
    "P01_ketamine P01_saline",  # any word behind a person's number, also as the whole study
    "P01_ketamine_T1 P01_saline_T1",
    "NDA12_scanA NDA12_scanB",
    "subj7_siemens subj7_ge subj8_ge",
    "0295_2011Q1 0295_2012Q3",
    "sub-12_acq-eins sub-12_acq-zwei",
    "p7_prelim p7_final",
    "kl_1.Messung kl_2.Messung",
    "002_S_0295_m00_I12345 002_S_0295_m12_I67890 003_S_0001_m00_I1",  # a number behind the visit
]


@pytest.mark.parametrize("line", ONE_PERSON)
def test_names_that_differ_in_their_last_part_are_pointed_out(line: str) -> None:
    cases = line.split()
    keys = subject_keys(cases)
    assert keys[cases[0]] != keys[cases[1]]
    result = similar_subjects(keys)
    assert set(result) == {keys[cases[0]], keys[cases[1]]}
    assert all(f.level == "warn" and " part only: scans of one person?" in f.message for f in result.values())


@pytest.mark.parametrize("line", [line for line in ONE_PERSON if not line.startswith("Smith2019")])
def test_the_option_that_is_told_joins_them_and_nobody_else(line: str) -> None:
    cases = line.split()
    hint = next(iter(similar_subjects(subject_keys(cases)).values())).hint
    pattern = hint.partition("--subject-pattern '")[2].partition("'")[0]
    joined = subject_keys(cases, pattern)
    assert joined[cases[0]] == joined[cases[1]] and len(set(joined.values())) == len(cases) - 1
    assert not similar_subjects(joined)


@pytest.mark.parametrize(
    "line",
    [
        "subject_001 subject_002 subject_003",
        "sub-01 sub-02",
        "control_001 control_002 patient_001 patient_002",
        "HC01f HC02m HC03f",
        "case_a case_b case_c",
        "control_a control_b patient_a patient_b",
        "control_1 control_2 patient_1 patient_2 AD_1 AD_2",
        "AD_01 HC_01 MCI_01",
        "m01 m02 d01 d02",
        "IXI002-Guys-0828 IXI012-HH-1211 IXI013-HH-1212",
        "sub-CC110033_t1 sub-CC110037_t1",
        "mri_01_x mri_02_x",
        "001 002 003",
        "002_S_0295 002_S_0413 005_S_0221",
        "drug_01 drug_02 placebo_01 placebo_02",
        "left_01 right_01 left_02",
        "A_001 B_001 A_002 B_002",
        "S01_001 S02_001 S01_002 S02_002",
        "w01_001 m01_001 w02_002",
        "control_01 patient_01 control_02 patient_02",
        "AD1 AD2 HC1 HC2 MCI1 MCI2",
        "anna bert carl dora",
        "smith_john smith_anna jones_mary doe_jane",
        "control_S1 patient_S1 control_S2",
        "A01 B01 C01 A02",
        "2012001 2012002 2013001",
        "10011 10012 10021",
        "P01_m P02_f P03_m",
        "P01_T1 P02_T1",
        "sub-01_T1w sub-02_T1w sub-03_T1w",
        "ADNI_002_S_0295 ADNI_002_S_0413",
        "NYU_0051456 NYU_0051457 UCLA_0051456",
        "PPMI_3102 PPMI_3105",
        "MS_relapse_01 MS_relapse_02 MS_stable_01",
        "D01 D02 M01 M02 T01",
        "S7+ S8+ S9+",
        "study1_p1 study1_p2 study1_p3 study1_p4",
        "HC_01 HC_02 MDD_01 MDD_02",
        "TSPO_HAB_01 TSPO_MAB_01 TSPO_HAB_02 TSPO_MAB_02",
        "young_01 young_02 old_01 old_02",
        "male1 male2 female1 female2",
        "HAB_01 MAB_01",
        "post01 post02 post03",
        "Preston01 Postman01",
        "prefrontal_01 postcentral_01",
        "PET_01 PET_02 MRI_01",
        " ".join(f"site01_{n:03d}" for n in range(1, 30)),
        " ".join(f"subject{year}" for year in range(2000, 2030)),
    ],
)
def test_numbered_people_are_left_in_peace(line: str) -> None:
    assert not similar_subjects(subject_keys(line.split()))


def test_ends_that_recur_among_many_names_are_visits() -> None:
    names = ["anna_1", "anna_2", "bert_1", "bert_2", "carl_1", "carl_2"]
    assert [group.subjects for group in last_part_groups(names)] == list(zip(names[::2], names[1::2]))


def test_ends_that_recur_without_a_mark() -> None:
    names = ["mueller1", "mueller2", "schmidt1", "schmidt2", "meier1", "meier2"]
    groups = last_part_groups(names)
    assert sorted(group.subjects for group in groups) == sorted(zip(names[::2], names[1::2]))
    keys = subject_keys(names)
    assert len(set(subject_keys(names, joining_pattern(keys, groups)).values())) == 3


def test_a_copy_in_brackets() -> None:
    keys = subject_keys(["HC01 (1)", "HC01 (2)", "HC02"])
    hint = similar_subjects(keys)["HC01 (1)"].hint
    pattern = hint.partition("--subject-pattern '")[2].partition("'")[0]
    assert len(set(subject_keys(keys, pattern).values())) == 2


def test_a_pattern_that_would_part_the_scans_of_a_person_is_not_told() -> None:
    keys = {"x": "P01a", "y": "P01a", "z": "P01b"}  # by a column: the names say something else
    assert joining_pattern(keys, last_part_groups(["P01a", "P01b"])) is None


@quick
@given(
    st.lists(st.integers(1, 400), min_size=3, max_size=6, unique=True),
    st.sampled_from(["d{:04d}", "m{:02d}", "v{}", "day{}", "w{}", "t{}", "ses{}"]),
    st.lists(st.integers(0, 3000), min_size=2, max_size=3, unique=True),
    st.sampled_from(["P{:03d}", "OAS3{:04d}_MR", "{:03d}_S_0012", "HC-{:02d}"]),
)
def test_no_visit_of_anybody_goes_unnoticed(
    people: list[int], visit: str, visits: list[int], person: str
) -> None:
    """Whatever the names look like: two scans of a person have one subject, or both are pointed out."""
    cases = {f"{person.format(p)}_{visit.format(v)}": p for p in people for v in visits}
    keys = subject_keys(cases)
    result = similar_subjects(keys)
    for p in people:
        own = {keys[case] for case, who in cases.items() if who == p}
        assert len(own) == 1 or own <= set(result)
