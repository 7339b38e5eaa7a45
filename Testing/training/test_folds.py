"""No person, donor or site is on two sides of a split; the published kind of split is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.subjects import subject_keys
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from MRI2PETTrainingLib.folds import Fold, check_leakage, make_folds, read_folds, write_folds
from properties import quick


def published_names() -> dict[str, str]:
    """203 case names with their group, built like the published list (reference.md, 1.2): 133 people.

    28 HC once each; 58 CLBP: 29 once, 28 twice, 1 three times; 47 KOA: 19 once, 16 twice, 12 three times.
    """
    names = {f"PBRHC_HC{n:03d}_0{1 + n % 9}1216": "HC" for n in range(1, 29)}
    for n in range(1, 59):
        scans = 1 if n <= 29 else 2 if n <= 57 else 3
        for scan in range(1, scans + 1):
            redo = "_REDO" if n == 35 and scan == 2 else ""
            names[f"IGN_CLBP{n:03d}_0{1 if redo else scan}{redo}"] = "CLBP"
    for n in range(1, 48):
        for scan in range(1 if n <= 19 else 2 if n <= 35 else 3):
            # One person appears under a second spelling.
            stem = "PBRKOA033" if (n, scan) == (33, 1) else f"PBRKOA_KOA{n:03d}"
            names[f"{stem}_0{1 + scan}0{1 + n % 9}18"] = "KOA"
    return names


def people(n: int, scans: int = 1, **columns: list[str]) -> list[TrainingCase]:
    """Cases p0_0, p0_1, p1_0 ...; a column's values are taken in turn by person."""
    return [
        TrainingCase(
            f"p{i}_{s}",
            f"p{i}",
            Path("t1"),
            Path("pet"),
            **{k: v[i % len(v)] for k, v in columns.items()},
        )
        for i in range(n)
        for s in range(scans)
    ]


def test_grouped_folds_share_nobody_where_the_published_split_shares_half() -> None:
    """The published code splits cases (KFold); 53 % [39, 68] of its test scans have a sibling in training."""
    from sklearn.model_selection import KFold

    names = published_names()
    assert len(names) == 203
    second = next(name for name in names if name.startswith("PBRKOA033"))
    keys = subject_keys(names, overrides={second: "PBRKOA_KOA033"})
    assert len(set(keys.values())) == 133
    cases = [TrainingCase(n, keys[n], Path("t1"), Path("pet"), group=g) for n, g in names.items()]
    subjects = np.array([keys[name] for name in names])
    leaking = [
        np.isin(subjects[test], subjects[train]).mean()
        for train, test in KFold(5, shuffle=True, random_state=42).split(subjects)
    ]
    assert 0.39 < np.mean(leaking) < 0.68
    folds = make_folds(cases, 5)
    for fold in folds.folds:
        sides = [{keys[n] for n in names} for names in (fold.train, fold.validation, fold.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        share = np.mean([names[n] == "HC" for n in fold.test])
        assert share == pytest.approx(28 / 203, abs=0.06)  # balanced
    assert sorted(n for fold in folds.folds for n in fold.test) == sorted(names)


def test_without_the_override_the_second_spelling_is_another_person() -> None:
    assert len(set(subject_keys(published_names()).values())) == 134


def test_folds_depend_on_the_seed_only_and_not_on_the_order() -> None:
    cases = people(12, scans=2, group=["a", "b"])
    assert make_folds(cases, 3, seed=1) == make_folds(cases[::-1], 3, seed=1)
    assert make_folds(cases, 3, seed=1) != make_folds(cases, 3, seed=2)


def test_a_donor_is_kept_together_also_through_a_chain() -> None:
    cases = people(12, donor=["d0", "d1", "d2", "d3"])
    cases[0] = replace(cases[0], subject=cases[1].subject)  # links donors 0 and 1
    folds = make_folds(cases, 3)
    assert folds.keep_together == ("subject", "donor")
    donor = {c.case: {"d0": "d1"}.get(c.donor, c.donor) for c in cases}
    for fold in folds.folds:
        for a, b in ((fold.train, fold.test), (fold.train, fold.validation), (fold.validation, fold.test)):
            assert not {donor[n] for n in a} & {donor[n] for n in b}


@pytest.mark.parametrize("spelling", ["p{}", "P{}", " p{}", "sub-p0{}", "p_{}"])
def test_what_was_made_from_a_person_stays_with_the_person(spelling: str) -> None:
    """A simulated case whose donor is the subject of another case, in whatever spelling."""
    cases = people(9)
    made = [
        replace(c, case=f"s{c.case}", subject=f"x{n}", donor=spelling.format(n)) for n, c in enumerate(cases)
    ]
    folds = make_folds([*cases, *made], 3)
    for fold in folds.folds:
        for side in (fold.train, fold.validation, fold.test):
            assert {n[1:] for n in side if n[0] == "s"} == {n for n in side if n[0] == "p"}
    first = folds.folds[0]
    name = next(n for n in first.test if n[0] == "s")
    moved = replace(first, train=(*first.train, name), test=tuple(n for n in first.test if n != name))
    other = folds.folds[1]
    later = replace(other, train=tuple(n for n in other.train if n != name), test=(*other.test, name))
    with pytest.raises(InputError, match=r"donor '.*' is in training and as subject 'p\d' in test"):
        check_leakage(replace(folds, folds=(moved, later, *folds.folds[2:])), [*cases, *made])


@pytest.mark.parametrize("column", ["donor", "site", "subject"])
def test_spellings_of_one_name_are_kept_together(column: str) -> None:
    cases = people(24)
    spellings = ("{0}{1}", "{2}{1}", " {0}{1}", "{0}-0{1}")
    names = [form.format("d", n, "D") for n in range(6) for form in spellings]
    cases = [replace(c, **{column: name}) for c, name in zip(cases, names)]
    of = {case.case: n // 4 for n, case in enumerate(cases)}
    folds = make_folds(cases, 3, keep_together=(column,))
    for fold in folds.folds:
        sides = [{of[n] for n in side} for side in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, sides)) == 6
    first = folds.folds[0]
    moved = replace(first, train=first.train[1:], validation=(*first.validation, first.train[0]))
    with pytest.raises(InputError, match=f"{column} .* is in training and as {column} .* in validation"):
        check_leakage(replace(folds, folds=(moved, *folds.folds[1:])), cases, (column,))


def test_spellings_of_a_site_are_one_site() -> None:
    cases = people(9, site=["Oslo", "oslo", "B", "C", " b"])
    folds = make_folds(cases, leave_one_site_out=True).folds
    assert len(folds) == 3
    of = {case.case: case.site.strip().lower() for case in cases}
    assert sorted("".join({of[n] for n in fold.test}) for fold in folds) == ["b", "c", "oslo"]
    split = make_folds(cases, test_sites=["OSLO"])
    assert {of[n] for n in split.folds[0].test} == {"oslo"}
    check_leakage(split, cases)


def test_leaving_one_site_out() -> None:
    cases = people(9, site=["A", "B", "C"])
    folds = make_folds(cases, leave_one_site_out=True)
    assert sorted({next(c.site for c in cases if c.case == f.test[0]) for f in folds.folds}) == [
        "A",
        "B",
        "C",
    ]
    assert all(len(f.test) == 3 and f.train and f.validation for f in folds.folds)
    assert len(make_folds(people(6, site=["A", "B"]), leave_one_site_out=True).folds) == 2
    moved = [*cases, replace(cases[0], case="p0_1", site="B")]
    with pytest.raises(InputError, match="belong together but are at two sites"):
        make_folds(moved, leave_one_site_out=True)
    with pytest.raises(InputError, match="All cases are of the site 'A'"):
        make_folds(people(5, site=["A"]), leave_one_site_out=True)
    with pytest.raises(InputError, match="has no site"):
        make_folds(people(5), leave_one_site_out=True)


def test_people_of_the_test_sites_are_tested_and_nobody_else() -> None:
    cases = people(12, scans=2, site=["A", "B", "C", "D"], group=["a", "b"])
    folds = make_folds(cases, test_sites=["B", "D"], seed=3)
    (fold,) = folds.folds
    site = {case.case: case.site for case in cases}
    assert {site[n] for n in fold.test} == {"B", "D"} and len(fold.test) == 12
    assert {site[n] for n in fold.train + fold.validation} == {"A", "C"}
    subject = {case.case: case.subject for case in cases}
    assert not {subject[n] for n in fold.train} & {subject[n] for n in fold.validation}
    assert folds.words == "one split: tested at B, D"
    assert folds.trained == tuple(sorted(set(site) - set(fold.test)))


def test_a_split_by_site_that_cannot_be_made_is_refused() -> None:
    cases = people(8, site=["A", "B"])
    with pytest.raises(InputError, match="No case is of the site 'X'"):
        make_folds(cases, test_sites=["X"])
    with pytest.raises(InputError, match="nobody is left to train"):
        make_folds(cases, test_sites=["A", "B"])
    with pytest.raises(InputError, match="'p0_0' has no site"):
        make_folds(people(8), test_sites=["A"])
    moved = [*cases, replace(cases[0], case="p0_1", site="B")]
    with pytest.raises(InputError, match=r"'p0_0' \(A\) and 'p0_1' \(B\) belong together"):
        make_folds(moved, test_sites=["A"])
    # Two sites on one side are no leak.
    three = people(9, site=["A", "B", "C"])
    both = make_folds([*three, replace(three[0], case="p0_1", site="B")], test_sites=["C"])
    assert {"p0_0", "p0_1"} <= set(both.trained)


def test_a_fixed_split_that_was_edited_is_refused(tmp_path: Path) -> None:
    cases = people(9, site=["A", "B", "C"])
    path = write_folds(tmp_path / "folds.json", make_folds(cases, test_sites=["B"]))
    assert read_folds(path) == make_folds(cases, test_sites=["B"])
    check_leakage(read_folds(path), cases)
    content = json.loads(path.read_text())
    fold = content["folds"][0]
    fold["train"].append(fold["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is of the site 'B' and not in test; the test sites are B"):
        check_leakage(read_folds(path), cases)


@pytest.mark.parametrize("column", ["site", "donor"])
def test_what_is_kept_together_is_kept_besides_the_person(column: str) -> None:
    """People who were scanned at two sites (or have two donors) stay on one side."""
    cases = people(12, scans=2)
    cases = [replace(c, **{column: f"{column}{(i % 2) * 6 + i // 4}"}) for i, c in enumerate(cases)]
    folds = make_folds(cases, 2, keep_together=(column,))
    assert folds.keep_together == ("subject", column)
    of = {case.case: case for case in cases}
    for fold in folds.folds:
        sides = (fold.train, fold.validation, fold.test)
        for name in ("subject", column):
            values = [{getattr(of[n], name) for n in side} for side in sides]
            assert sum(map(len, values)) == len(set().union(*values))


def test_the_check_looks_at_the_subject_whatever_the_folds_say_they_kept() -> None:
    cases = people(8, scans=2, site=["A", "B", "C", "D"])
    folds = make_folds(cases, 4)
    first = folds.folds[0]
    moved = Fold(0, first.train[1:], (*first.validation, first.train[0]), first.test)
    leaking = replace(folds, keep_together=("site",), folds=(moved, *folds.folds[1:]))
    with pytest.raises(InputError, match="subject 'p.' is in training and in validation"):
        check_leakage(leaking, cases)
    with pytest.raises(InputError, match="site '.' is in"):
        check_leakage(folds, cases, ["site"])


def test_keeping_sites_together_on_request() -> None:
    cases = people(8, site=["A", "B", "C", "D"])
    site = {c.case: c.site for c in cases}
    for fold in make_folds(cases, 2, keep_together=("subject", "site")).folds:
        assert not {site[n] for n in fold.train + fold.validation} & {site[n] for n in fold.test}


@pytest.mark.parametrize(
    ("cases", "n_folds", "message"),
    [
        (people(1), 5, "1 case.* of 1 person cannot be split"),
        (people(1, scans=6), 3, "6 case.* of 1 person cannot be split"),
        (people(4), 5, "4 people cannot be split into 5 folds"),
        (people(5), 1, "make no cross-validation"),
    ],
)
def test_too_few_people_for_the_folds(cases: list[TrainingCase], n_folds: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_folds(cases, n_folds)


def test_people_who_share_all_sites_are_told_of() -> None:
    cases = people(6, site=["A", "B"])
    with pytest.raises(InputError, match=r"6 people \(2 group\(s\) that share a site\) cannot be split"):
        make_folds(cases, 2, keep_together=["site"])


def test_one_group_needs_no_balance() -> None:
    assert make_folds(people(6, group=["HC"]), 3).folds == make_folds(people(6), 3).folds


def test_a_leak_written_into_the_file_is_refused(tmp_path: Path) -> None:
    cases = people(8, scans=2)
    folds = make_folds(cases, 4)
    path = write_folds(tmp_path / "folds.json", folds)
    assert read_folds(path) == folds
    first = folds.folds[0]
    moved = Fold(0, first.train[1:], (*first.validation, first.train[0]), first.test)
    with pytest.raises(InputError, match="Fold 0: subject 'p.' is in training and in validation"):
        check_leakage(replace(folds, folds=(moved, *folds.folds[1:])), cases)
    with pytest.raises(InputError, match="do not hold the same cases"):
        check_leakage(folds, cases[1:])
    content = json.loads(path.read_text())
    del content["folds"][0]["test"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="cannot be used|not valid JSON|not a JSON object"):
        read_folds(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[1].update(train=f[1]["train"] + f[1]["validation"], validation=[]), "nobody in valid"),
        (lambda f: f[1].update(validation=f[1]["validation"] + f[1]["train"], train=[]), "nobody in train"),
        (lambda f: f[1]["train"].append(f[1]["train"][0]), "Fold 1 lists the case 'p._0' twice"),
        (lambda f: f[1]["train"].append(f[1]["test"][0]), "Fold 1 lists the case 'p._0' twice"),
        (lambda f: f[1]["train"].append("nobody"), "Fold 1 and the dataset differ in the case 'nobody'"),
        (lambda f: f[1].pop("validation"), "cannot be used: validation is missing"),
        (lambda f: f[1].update(validation="p1_0"), "validation is not a list of names"),
        (lambda f: f[1].update(number=7), "Fold 7 is in the place of fold 1"),
        (lambda f: f.pop(), "do not hold the same cases"),
        (lambda f: f.clear(), "no fold"),
        # Tested in two folds, each of which is sound.
        (lambda folds: folds.append({**folds[0], "number": len(folds)}), "the first that differs is"),
    ],
)
def test_folds_edited_by_hand_are_refused(
    tmp_path: Path, change: Callable[[list[Any]], object], message: str
) -> None:
    cases = people(8)
    path = write_folds(tmp_path / "folds.json", make_folds(cases, 4))
    content = json.loads(path.read_text())
    change(content["folds"])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        check_leakage(read_folds(path), cases)


def test_a_file_of_folds_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    good = json.loads(write_folds(path, make_folds(people(8), 4)).read_text())
    changes: list[dict[str, Any]] = [{"keep_together": ["__class__"]}, {"format": 0}, {"folds": []}]
    for content in ("[" * 10**5, "null", "[]", "{}", *(json.dumps({**good, **change}) for change in changes)):
        path.write_text(content)
        with pytest.raises(InputError, match="cannot be used|not valid JSON|not a JSON object"):
            read_folds(path)


@quick
@given(st.data())
def test_nobody_is_ever_in_two_sets(data: st.DataObject) -> None:
    """No person, donor or chosen site is on two sides and every case is tested once, or folds are refused."""
    one = st.fixed_dictionaries(
        {
            "subject": st.integers(0, 9).map("p{}".format),
            "group": st.sampled_from(["", "a", "b", "c"]),
            "site": st.sampled_from(["", "A", "B", "C", "D"]),
            "donor": st.sampled_from(["", "", "d1", "d2"]),
        }
    )
    rows = data.draw(st.lists(one, min_size=1, max_size=30))
    cases = [TrainingCase(f"c{i}", t1=Path("t"), pet=Path("p"), **row) for i, row in enumerate(rows)]
    more = data.draw(st.sampled_from([(), ("site",), ("donor",), ("subject",), ("site", "donor")]))
    try:
        folds = make_folds(
            cases, data.draw(st.integers(2, 5)), seed=data.draw(st.integers(0, 3)), keep_together=more
        )
    except InputError:
        return
    of = {case.case: case for case in cases}
    assert sorted(name for fold in folds.folds for name in fold.test) == sorted(of)
    for fold in folds.folds:
        sides = (fold.train, fold.validation, fold.test)
        assert all(sides) and sorted(name for side in sides for name in side) == sorted(of)
        for column in ("subject", "donor", *more):
            values = [{getattr(of[name], column) for name in side} - {""} for side in sides]
            assert sum(map(len, values)) == len(set().union(*values))


@quick
@given(st.lists(st.sampled_from("ab"), min_size=20, max_size=40), st.integers(2, 4))
def test_every_fold_tests_its_share_of_each_group(groups: list[str], n_folds: int) -> None:
    """One scan a person: the shares differ by less than two people from what is even."""
    cases = [TrainingCase(f"c{i}", f"p{i}", Path("t"), Path("p"), group=g) for i, g in enumerate(groups)]
    of = {case.case: case.group for case in cases}
    if min(groups.count("a"), groups.count("b")) < n_folds:
        return
    for fold in make_folds(cases, n_folds).folds:
        for group in "ab":
            tested = sum(of[name] == group for name in fold.test)
            assert abs(tested - groups.count(group) / n_folds) < 2


def test_groups_smaller_than_the_folds_do_not_stop_it() -> None:
    folds = make_folds(people(6, group=["a", "b", "c"]), 3)
    assert all(fold.train and fold.validation and fold.test for fold in folds.folds)
