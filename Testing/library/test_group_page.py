"""The page of all cases: worst first, thumbnails in sprites, and nothing that a name could smuggle in."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.leftovers import hidden_name
from MRI2PETLib.core.progress import QuietReporter, Reporter
from MRI2PETLib.core.requests import Request, Result, Source
from MRI2PETLib.models.bundle import DEMONSTRATION_NOTE
from MRI2PETLib.reports.bids_analysis_kinds import SCORE_TABLE
from MRI2PETLib.reports.bids_groups import write_analysis_group
from MRI2PETLib.reports.group_page import GROUP_PAGE, SPRITES, write_group
from MRI2PETLib.reports.texts import notes_of_cases
from MRI2PETLib.reports.thumbnail import SIZE, write_thumbnail
from MRI2PETLib.synthesis.batch import SYNTHESIS
from MRI2PETLib.synthesis.cases import Case

HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=alert(1)>"


def add_case(output: Path, name: str, *, color: tuple[int, int, int] | None = None, **about: Any) -> None:
    folder = output / name
    result = Result(folder, f"{name}_desc-synthetic_status.json")
    request = Request({"t1": Source(f"/data/{name}", name)})
    about = {"case": name, "t1": f"/data/{name}", "status": "done", "quality": "ok", **about}
    if color is None:
        folder.mkdir(parents=True)
        result.fail(request, {**about, "status": "failed"})
        return
    with result.make(request, {**about, "files": {"thumbnail": "t.png", "picture": "a b#.png"}}) as staging:
        Image.new("RGB", SIZE, color).save(staging / "t.png")
        (staging / "a b#.png").touch()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """103 good cases, one with a warning, one that failed, one that nobody has worked on."""
    folder = tmp_path_factory.mktemp("output")
    for number in range(103):
        color = (number, 0, 200)
        note = {"note": DEMONSTRATION_NOTE} if number else {"note": HOSTILE}
        add_case(
            folder, f"sub-{number:03d}", color=color, brain_ml=str(1000 + number), template_r="0.61", **note
        )
    warned = {"quality": "warn", "message": HOSTILE, "seconds": "2.5", "template_r": "0.6"}
    add_case(folder, "sub-w", color=(0, 250, 0), **warned)
    add_case(folder, "sub-f", message="There is no brain.", hint="Look at it.")
    cases = [Case("sub-new", Path("/data/sub-new")), Case("sub-000", Path("/data/sub-000"))]
    assert write_group(folder, cases, Reporter()).keys() == {"page", "table"}
    return folder


def content(output: Path) -> dict[str, Any]:
    text = (output / GROUP_PAGE).read_text(encoding="utf-8")
    return dict(json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0]))


def test_failed_and_warned_cases_come_first(output: Path) -> None:
    cases = content(output)["cases"]
    assert [(c["case"], c["verdict"]) for c in cases[:4]] == [
        ("sub-f", "failed"),
        ("sub-new", "missing"),
        ("sub-w", "warn"),
        ("sub-000", "ok"),
    ]
    assert cases[0]["reasons"] == "There is no brain. Look at it." and "at" not in cases[0]
    good = cases[4]
    assert (good["brain_ml"], good["template_r"], good["seconds"]) == (1001.0, 0.61, None)
    assert good["picture"] == "./sub-001/a%20b%23.png"
    assert "106 cases: 1 failed, 1 missing, 1 warn, 103 ok" in (output / GROUP_PAGE).read_text()
    assert (output / SYNTHESIS.file).read_text().count("\n") == 106  # a head, and who has a status


def test_the_page_and_the_table_say_which_cases_are_of_a_demonstration_model(output: Path) -> None:
    text = (output / GROUP_PAGE).read_text(encoding="utf-8")
    assert f'role="note"><p>102 of 104 cases: {DEMONSTRATION_NOTE}</p>' in text
    assert text.index(DEMONSTRATION_NOTE) < text.index("<table")
    with (output / SYNTHESIS.file).open(newline="", encoding="utf-8") as stream:
        notes = {row["case"]: row["note"] for row in csv.DictReader(stream)}
    assert (notes["sub-000"], notes["sub-001"], notes["sub-f"]) == (HOSTILE, DEMONSTRATION_NOTE, "")


def test_a_note_of_all_cases_stands_alone() -> None:
    assert notes_of_cases(["A.", "", "A."]) == ["2 of 3 cases: A."]
    assert notes_of_cases(["A.", "A."]) == ["A."]
    assert notes_of_cases(["B.", "A.", "A."], "PET") == ["1 of 3 PETs: B.", "2 of 3 PETs: A."]
    assert notes_of_cases(["", ""]) == notes_of_cases([]) == []


@pytest.mark.parametrize("models", [("one", "one"), ("one", "two")])
def test_cases_of_two_models_are_told_of(models: tuple[str, str], tmp_path: Path) -> None:
    """A run with another model was stopped, or two were given one folder."""
    for number, model in enumerate(models):
        result = Result(tmp_path / f"sub-{number}", "x_desc-synthetic_status.json")
        about = {"case": f"sub-{number}", "t1": str(number), "status": "done", "quality": "ok"}
        with result.make(Request({"t1": Source(str(number), "1")}, {}, {"model": model}), about):
            pass
    page = write_group(tmp_path, [], Reporter())["page"].read_text(encoding="utf-8")
    assert ("are of 2 different models" in page) == (models[0] != models[1])


def test_each_thumbnail_is_where_the_page_looks_for_it(output: Path) -> None:
    cases, sprites = content(output)["cases"], {}
    for case in cases[3:]:
        name = case["sprite"]
        sprites.setdefault(name, np.asarray(Image.open(output / SPRITES / name)).astype(int))
        x, y = case["at"]
        tile = sprites[name][y + 8 : y + SIZE[1] - 8, x + 8 : x + SIZE[0] - 8]
        expected = (int(case["case"][4:]), 0, 200)
        assert np.abs(tile - expected).max() <= 6, "JPEG"
    assert sorted(sprites) == ["0000.jpg", "0001.jpg"]


def test_the_page_runs_its_own_script_and_nothing_else(output: Path) -> None:
    text = (output / GROUP_PAGE).read_text(encoding="utf-8")
    assert HOSTILE not in text and "\\u003c/script" in text
    assert content(output)["cases"][2]["reasons"] == HOSTILE
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)[0].replace(
        "&#39;", "'"
    )
    for kind, block in (("style", "style"), ("script", "script")):
        inside = re.findall(f"<{block}>(.*?)</{block}>", text, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy


def test_a_browser_shows_the_first_rows_and_obeys_no_name(output: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    line = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    ended = subprocess.run(
        [*line, (output / GROUP_PAGE).as_uri()], capture_output=True, text=True, timeout=120
    )
    dom = ended.stdout
    assert "data-ready-ms" in dom, ended.stderr[-500:]
    assert "<title>Cases of" in dom and "106 of 106 cases" in dom
    assert 60 <= dom.count('<tr class="is-') <= 106
    assert "&lt;/script&gt;" in dom and "<img" not in dom
    assert f"{SPRITES}/0000.jpg" in dom
    numbers = set(re.findall(r'<td class="number">(.*?)</td>', dom))
    assert {"0.60", "0.61", "1000", "2.5", "\u2013"} <= numbers, "one number of decimals in a column"


def test_of_the_scores_that_are_good_the_farthest_z_comes_first(tmp_path: Path) -> None:
    peaks = {"sub-1": "2.5", "sub-2": "-7.1", "sub-3": "", "sub-4": "4.0"}
    for name, peak in peaks.items():
        result = Result(tmp_path / name / "pet", f"{name}_desc-score_status.json")
        about = {"case": name, "t1": name, "status": "done", "quality": "ok", "peak_z": peak}
        with result.make(Request({"pet": Source(name, name)}), about):
            pass
    files = write_group(tmp_path, [], Reporter(), table=SCORE_TABLE, page="scores.html")
    assert files["page"].name == "scores.html" and not (tmp_path / SPRITES).exists()
    cases = json.loads(re.findall(r'id="data">(.*?)</script>', files["page"].read_text(), re.DOTALL)[0])
    assert [(c["case"], c["peak_z"]) for c in cases["cases"]] == [
        ("sub-2", -7.1),
        ("sub-4", 4.0),
        ("sub-1", 2.5),
        ("sub-3", None),
    ]


def test_no_case_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no status file"):
        write_group(tmp_path, [], Reporter())


def test_nobody_has_begun_yet(tmp_path: Path) -> None:
    """A page without a link to a table that is not there."""
    files = write_group(tmp_path / "new", [Case("sub-1", Path("/data/sub-1"))], Reporter())
    assert list(files) == ["page"] and "1 case: 1 missing" in files["page"].read_text()
    assert SYNTHESIS.file not in files["page"].read_text()


def test_a_damaged_thumbnail_costs_only_itself(tmp_path: Path) -> None:
    """Each byte of a small picture changed in turn, cut off, of another kind, gone."""
    add_case(tmp_path, "sub-good", color=(0, 0, 200))
    rng, path = np.random.default_rng(0), tmp_path / "sub-good" / "t.png"
    whole = path.read_bytes()
    damaged = [
        whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :] for at in range(60)
    ]
    for number, content_of in enumerate([*damaged, whole[:70], b"", b"text"]):
        add_case(tmp_path, f"sub-{number:02d}", color=(0, 0, 200))
        (tmp_path / f"sub-{number:02d}" / "t.png").write_bytes(content_of)
    (tmp_path / "sub-00" / "t.png").unlink()
    write_group(tmp_path, [], Reporter())
    cases = {case["case"]: case for case in content(tmp_path)["cases"]}
    assert len(cases) == 64 and "at" in cases["sub-good"]
    assert not [name for name in ("sub-00", "sub-60", "sub-61", "sub-62") if "at" in cases[name]]


def test_a_page_that_was_killed_leaves_nothing_after_the_next(tmp_path: Path) -> None:
    add_case(tmp_path, "sub-1", color=(0, 0, 200))
    write_group(tmp_path, [], Reporter())
    replaced = tmp_path / f".{SPRITES}.replaced-{'0' * 16}"
    shutil.copytree(tmp_path / SPRITES, replaced)
    staging = tmp_path / re.sub(r"\+\d+\+(?=[0-9a-f]+$)", "+999999999+", hidden_name())
    staging.mkdir()
    before = {path.name for path in tmp_path.iterdir()} - {replaced.name, staging.name}
    write_group(tmp_path, [], Reporter())
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_folder_of_somebody_is_not_replaced_by_sprites(tmp_path: Path) -> None:
    add_case(tmp_path, "sub-1", color=(0, 0, 200))
    (tmp_path / SPRITES).mkdir()
    (tmp_path / SPRITES / "0000.jpg").touch()
    assert write_group(tmp_path, [], Reporter())
    (tmp_path / SPRITES / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt was not made by this program"):
        write_group(tmp_path, [], Reporter())
    assert (tmp_path / SPRITES / "notes.txt").read_text() == "mine"


class Warned(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def test_tables_hold_the_cases_whose_files_are_there(tmp_path: Path) -> None:
    """Without the files of a case it is left out and named; once all have failed there is no table."""
    request = Request({"pet": Source("p", "p")})
    for name in ("sub-1", "sub-2"):
        result = Result(tmp_path / name / "pet", f"{name}_desc-score_status.json")
        about = {"case": name, "t1": name, "status": "done", "files": {"regions": "regions.csv"}}
        with result.make(request, about) as staging:
            (staging / "regions.csv").write_text("region,z\nfront,1.5\n")
    (tmp_path / "sub-2/pet/regions.csv").unlink()
    reporter = Warned()
    files = write_analysis_group(tmp_path, "score", [], reporter)
    assert files["regions"].read_text().splitlines() == ["case,region,z", "sub-1,front,1.5"]
    assert len(reporter.warnings) == 1 and "sub-2" in reporter.warnings[0]
    for name in ("sub-1", "sub-2"):
        result = Result(tmp_path / name / "pet", f"{name}_desc-score_status.json")
        result.fail(Request({"pet": Source("q", "q")}), {"case": name, "t1": name, "status": "failed"})
    again = write_analysis_group(tmp_path, "score", [], Reporter())
    assert "regions" not in again and not files["regions"].exists()
    assert "2 cases: 2 failed" in again["page"].read_text()


def test_a_thumbnail_shows_the_rim_of_the_mask_and_the_pet(tmp_path: Path) -> None:
    """A ball in a grey box; the PET is bright on the patient's left, which is on the right."""
    index = np.indices((50, 50, 50)) - 24.5
    inside = (index**2).sum(axis=0) < 20**2
    pet = np.where(inside, np.where(index[2] > 0, 2.0, 0.2), 0)
    images = [
        sitk.GetImageFromArray(a.astype(t)) for a, t in ((inside + 1.0, "f4"), (pet, "f4"), (inside, "u1"))
    ]
    for image in images:
        image.SetSpacing((2.0, 2.0, 2.0))
    write_thumbnail(*images, tmp_path / "t.png", is_pet=True)
    picture = np.asarray(Image.open(tmp_path / "t.png")).astype(int)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    anatomy, uptake = picture[:, : SIZE[1]], picture[:, SIZE[1] :]
    reddish = anatomy[..., 0] - anatomy[..., 2] > 60
    assert 60 < reddish.sum() < 800 and not reddish[30:50, 30:50].any()
    middle = SIZE[1] // 2
    assert uptake[middle, 52].sum() > 2 * uptake[middle, 28].sum()


def test_a_case_whose_file_is_gone_is_missing(tmp_path: Path) -> None:
    for number in range(2):
        add_case(tmp_path, f"sub-{number}", color=(0, 0, 9))
    (tmp_path / "sub-1" / "a b#.png").unlink()
    write_group(tmp_path, [], Reporter())
    first, second = content(tmp_path)["cases"]
    assert (first["case"], first["verdict"], first["picture"]) == ("sub-1", "missing", "")
    assert "a b#.png is gone" in first["reasons"] and second["verdict"] == "ok"


def test_the_page_of_some_people_is_of_them_only(tmp_path: Path) -> None:
    for number in range(3):
        add_case(tmp_path, f"sub-{number}", color=(0, 0, 9))
    cases = [Case("sub-1", Path("/data/sub-1")), Case("sub-9", Path("/data/sub-9"))]
    write_group(tmp_path, cases, Reporter(), only_these=True)
    assert [case["case"] for case in content(tmp_path)["cases"]] == ["sub-9", "sub-1"]
    assert "2 cases by their labels; 3 have a status" in (tmp_path / GROUP_PAGE).read_text(encoding="utf-8")
    assert (tmp_path / SYNTHESIS.file).read_text().count("\n") == 4  # the table is of all


def test_cases_that_the_dataset_does_not_hold_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        add_case(tmp_path, f"sub-{number}", color=(0, 0, 9))
    cases = [Case(f"sub-{number}", Path("/data")) for number in range(3)]
    write_group(tmp_path, cases, QuietReporter())
    assert not capsys.readouterr().err
    write_group(tmp_path, cases[1:], QuietReporter())
    assert "1 case of" in (words := capsys.readouterr().err) and "sub-0 first" in words
    write_group(tmp_path, cases[1:], QuietReporter(), only_these=True)
    assert not capsys.readouterr().err
