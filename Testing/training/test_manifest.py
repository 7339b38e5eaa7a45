"""Which cases a dataset holds, whose they are, and what is noticed before any training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.tables import EMPTY_CELLS
from MRI2PETLib.images.case_table import with_one_spelling
from MRI2PETTrainingLib.dataset.checks import check_manifest
from MRI2PETTrainingLib.dataset.manifest import Manifest, TrainingCase, read_dataset, write_manifest
from properties import quick
from small_datasets import rows_of, write_dataset, write_table


def test_folders_and_manifest_and_bids_give_the_same_cases(tmp_path: Path) -> None:
    folders = write_dataset(tmp_path / "folders", ["s1", "s2", "s3"])
    table = tmp_path / "table"
    shutil.copytree(folders, table)
    write_table(table, rows_of(table))
    bids = tmp_path / "bids"
    for name in ("s1", "s2", "s3"):
        for kind, part in (("anat", "T1w"), ("pet", "pet")):
            (bids / f"sub-{name}" / kind).mkdir(parents=True)
            source = folders / name / ("T1.nii.gz" if kind == "anat" else "PET.nii.gz")
            shutil.copy(source, bids / f"sub-{name}" / kind / f"sub-{name}_{part}.nii.gz")
    (bids / "participants.tsv").write_text(
        "participant_id\tdiagnosis\trs6971\tage\tsex\nsub-s1\tHC\tHAB\t34\tF\nsub-s2\tpain\tn/a\tn/a\tM\n"
    )
    a, b, c = (read_dataset(root) for root in (folders, table, bids))
    assert [x.case for x in a.cases] == [x.case for x in b.cases] == ["s1", "s2", "s3"]
    assert [x.case for x in c.cases] == ["sub-s1", "sub-s2", "sub-s3"]
    assert [(x.group, x.genotype) for x in c.cases] == [("HC", "HAB"), ("pain", ""), ("", "")]
    assert [(x.age, x.sex) for x in c.cases] == [("34", "F"), ("", "M"), ("", "")]
    assert a.cases[0].mask is not None and all(x.pet.is_file() and x.t1.is_file() for x in c.cases)


def test_bids_sessions_share_a_person_and_its_t1(tmp_path: Path) -> None:
    pair = write_dataset(tmp_path / "in", ["p"]) / "p"
    for path in ("ses-1/anat/sub-01_ses-1_T1w", "ses-2/pet/sub-01_ses-2_pet", "ses-3/pet/sub-01_ses-3_pet"):
        target = tmp_path / "bids" / "sub-01" / f"{path}.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(pair / ("T1.nii.gz" if "T1w" in path else "PET.nii.gz"), target)
    cases = read_dataset(tmp_path / "bids").cases
    assert [(c.case, c.subject) for c in cases] == [("sub-01_ses-2", "sub-01"), ("sub-01_ses-3", "sub-01")]
    assert {c.t1.name for c in cases} == {"sub-01_ses-1_T1w.nii.gz"}


def test_published_names_of_files_are_found(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "in", ["p"]) / "p"
    folder = tmp_path / "data" / "PBRKOA_KOA003_010818"
    folder.mkdir(parents=True)
    shutil.copy(source / "T1.nii.gz", folder / "KOA003_T1-2mm_skullstripped_reg2SUV_orientOK.nii.gz")
    shutil.copy(source / "PET.nii.gz", folder / "KOA003_suv_orientOK_skullstripped.nii.gz")
    (case,) = read_dataset(tmp_path / "data").cases
    assert (case.subject, "_T1-2mm" in case.t1.name, "_suv_" in case.pet.name) == (
        "PBRKOA_KOA003",
        True,
        True,
    )


def test_a_missing_pet_and_an_unreadable_file_are_findings_of_their_case(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "Daten mit Lücke", ["s1", "s2", "s3"])
    (root / "s1" / "PET.nii.gz").unlink()
    (root / "s2" / "T1.nii.gz").write_bytes(b"not an image")
    manifest, hashes = check_manifest(read_dataset(root))
    assert list(hashes) == ["s3"]
    assert "PET.nii.gz does not exist" in manifest.findings["s1"][0].message
    assert "T1.nii.gz" in manifest.findings["s2"][0].message
    assert all(manifest.findings[s][0].level == "refuse" for s in ("s1", "s2"))


def test_one_image_under_two_ids_is_refused_and_a_repeat_of_one_person_is_left_out(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, ["s1", "s2", "s3"])
    rows = rows_of(root)
    shutil.copy(root / "s1" / "PET.nii.gz", root / "s3" / "PET.nii.gz")
    write_table(root, rows)
    with pytest.raises(
        InputError, match="'s3' .* and 's1' .* same PET file content: one person under two ids"
    ):
        check_manifest(read_dataset(root))
    rows[2]["subject"] = "s1"
    write_table(root, rows)
    manifest, _ = check_manifest(read_dataset(root))
    assert [case.case for case in manifest.used] == ["s1", "s2"]
    assert "same file as that of s1" in manifest.cases[2].exclude


@pytest.mark.parametrize("column", ["genotype", "group", "donor"])
def test_two_people_under_one_id_are_refused(tmp_path: Path, column: str) -> None:
    root = write_dataset(tmp_path, ["s1", "s2"])
    rows = rows_of(root)
    for row, value in zip(rows, ("HAB", "MAB")):
        row |= {"subject": "same", column: value}
    write_table(root, rows)
    with pytest.raises(InputError, match="different people under one id"):
        check_manifest(read_dataset(root))


def test_sites_and_donors_are_spelt_alike(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["a", "b", "c"])
    values = [("Oslo", "d1"), ("oslo", "D01"), ("B", " d1")]
    write_table(tmp_path, [{**r, "site": s, "donor": d} for r, (s, d) in zip(rows_of(tmp_path), values)])
    cases = read_dataset(tmp_path).cases
    assert cases[0].site == cases[1].site != cases[2].site
    assert len({case.donor for case in cases}) == 1


def test_malformed_manifests(tmp_path: Path) -> None:
    root = write_dataset(tmp_path, ["s1", "s2"])
    (rows := rows_of(root))[1]["case"] = "s1"
    write_table(root, rows)
    with pytest.raises(InputError, match="lists the case 's1' twice"):
        read_dataset(root)
    (root / "manifest.csv").write_text("case;t1\na;b\n")
    with pytest.raises(InputError, match=r"lacks the column\(s\) pet"):
        read_dataset(root)
    (root / "manifest.csv").write_text("case,t1,pet,subject\na,b,c,\n")
    with pytest.raises(InputError, match="has no subject"):
        read_dataset(root)
    (root / "manifest.csv").write_text("case,t1,pet,Subject ID\na,b,c,p\n")
    with pytest.raises(InputError, match="has no column subject, but subject_id"):
        read_dataset(root)
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no case"):
        read_dataset(tmp_path / "empty")


def test_a_manifest_in_another_encoding_is_read_and_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes("Case;T1;PET;Subject\nä;b;c;Jörg\n".encode("latin-1"))
    manifest = read_dataset(tmp_path)
    assert (manifest.cases[0].case, manifest.cases[0].subject) == ("ä", "Jörg")
    assert [finding.code for finding in manifest.about] == ["table-encoding"]


def bids(root: Path, *people: str) -> Path:
    for name in people:
        for part in ("anat/{}_T1w", "pet/{}_pet"):
            path = root / name / f"{part.format(name)}.nii.gz"
            path.parent.mkdir(parents=True)
            path.touch()
    return root


def test_people_of_a_table_in_another_spelling_are_found_and_others_are_told(tmp_path: Path) -> None:
    root = bids(tmp_path, "sub-01", "sub-02", "sub-03")
    (root / "participants.tsv").write_text("participant_id,group,site\n1,AD,Rome\n02,HC,n/a\n")
    manifest = read_dataset(root)
    assert [(c.group, c.site) for c in manifest.cases] == [("AD", "Rome"), ("HC", ""), ("", "")]
    assert "no line for sub-03" in manifest.findings["sub-03"][0].message
    assert [finding.code for finding in manifest.about] == ["table-separator"]
    (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tAD\nsub-01\tHC\n")
    with pytest.raises(InputError, match="lists sub-01 twice, with the group 'AD' and 'HC'"):
        read_dataset(root)


def test_names_that_may_be_one_person_are_pointed_out(tmp_path: Path) -> None:
    names = ["P01_d0129", "P01_d2430", "P02_d0100"]
    manifest, _ = check_manifest(read_dataset(write_dataset(tmp_path, names)))
    assert sorted(manifest.findings) == names[:2]
    (finding,) = manifest.findings["P01_d2430"]
    assert finding.level == "warn" and "--subject-pattern" in finding.hint
    pattern = finding.hint.split("'")[1]
    manifest, _ = check_manifest(read_dataset(tmp_path, subject_pattern=pattern))
    assert [case.subject for case in manifest.cases] == ["P01", "P01", "P02"] and not manifest.findings


def test_what_is_written_can_be_read_as_a_manifest(tmp_path: Path) -> None:
    manifest = read_dataset(write_dataset(tmp_path / "ä b", ["s1", "s2"])).excluding({"s2": "moved, a lot"})
    again = read_dataset(write_manifest(tmp_path / "cases.csv", manifest))
    assert again.cases[1].exclude == "moved, a lot" and [c.case for c in again.used] == ["s1"]
    assert again.cases[0].t1.is_file() and again.cases[0].subject == "s1"


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(str.strip)
cells = words.filter(lambda text: text.lower() not in EMPTY_CELLS or not text)
names = st.from_regex("[a-z]{1,4}", fullmatch=True)  # a1 and a01 would be one person


@quick
@given(st.dictionaries(names, st.tuples(cells, cells, cells), min_size=1, max_size=5))
def test_any_manifest_reads_back(
    tmp_path_factory: pytest.TempPathFactory, people: dict[str, tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp().resolve()
    pet = folder / "=PET.nii"
    cases = tuple(
        TrainingCase(name, f"person {name}", folder / f"{name} T1.nii", pet, None, "SUV", *about)
        for name, about in sorted(
            (n, ("", g, "", s, "", r and f"for {r}")) for n, (g, s, r) in people.items()
        )
    )
    read = read_dataset(write_manifest(folder / "any.csv", Manifest(cases))).cases
    assert read == tuple(with_one_spelling(cases)[0])
