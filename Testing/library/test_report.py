"""Pictures and reports: where left is left, one window, a page that stands on its own in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from browser import Browser
from evaluation_cases import like, write_run, write_subject
from MRI2PETLib.cli import main
from MRI2PETLib.evaluation.baselines import cubic_of_bundle
from MRI2PETLib.evaluation.cubic import Cubic
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.reports import charts, figures, page, texts
from MRI2PETLib.reports.colors import normdiff_colors
from MRI2PETLib.reports.comparison_figure import comparison_figure
from MRI2PETLib.reports.figures import cut_plane
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject

pytestmark = pytest.mark.usefixtures("quick_registration")


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return simulate_subject(21, spacing_mm=4.0)


@pytest.fixture(scope="module")
def reports(subject: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of one case and that of a cohort."""
    folder = tmp_path_factory.mktemp("reports")
    files = write_subject(folder / '<b>case & "quotes"', subject)
    arguments = ["--synthetic", files["synthetic"], "--pet", files["real"], "--t1", files["T1"]]
    assert main(["evaluate", *map(str, arguments), "-o", str(folder / "one"), "--progress", "none"]) == 0
    run = write_run(folder / "run", range(7))
    assert main(["evaluate", "--run", str(run), "-o", str(folder / "cohort"), "--progress", "none"]) == 0
    return {name: folder / name / "report.html" for name in ("one", "cohort")}


def picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


# --- the picture -------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAL"])
def test_planes_are_cut_in_the_world_whatever_the_orientation(orientation: str) -> None:
    """A blob on the patient's left, front and top is where it should be in the planes (LPS)."""
    image = sitk.Image(40, 44, 36, sitk.sitkFloat32)
    image.SetSpacing((2.0, 2.0, 2.0))
    image.SetOrigin((-39.0, -43.0, -35.0))
    blob = (20.0, -24.0, 16.0)  # LPS: left, anterior, superior
    index = image.TransformPhysicalPointToIndex(blob)
    image[index[0] - 1 : index[0] + 2, index[1] - 1 : index[1] + 2, index[2] - 1 : index[2] + 2] = 1.0
    turned = sitk.DICOMOrient(image, orientation)
    lower, upper = np.array([-40.0, -44.0, -36.0]), np.array([40.0, 44.0, 36.0])
    axial, coronal, sagittal = (cut_plane(turned, n, np.array(blob), lower, upper) for n in (2, 1, 0))
    for plane, expected in ((axial, (20, 60)), (coronal, (52, 60)), (sagittal, (52, 20))):
        rows, columns = np.nonzero(plane > 0.5)
        assert (rows.mean(), columns.mean()) == pytest.approx(
            expected, abs=1.1
        )  # (row, column) in mm from lower


def test_the_patients_left_is_on_the_right_of_the_picture_and_labelled_so(
    subject: SimulatedSubject, tmp_path: Path
) -> None:
    """A hot spot in the left hemisphere colours the right half of the axial NormDiff panel."""
    mask = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    flat = np.where(mask, 1.0, 0.0).astype(np.float32)
    hot = flat.copy()
    point = (30.0, 0.0, 20.0)  # LPS: left
    i, j, k = subject.t1.TransformPhysicalPointToIndex(point)
    hot[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] *= 3
    comparison_figure(
        subject.t1,
        like(hot, subject.t1),
        like(flat, subject.t1),
        subject.brain_mask,
        tmp_path / "picture.png",
        title="hot spot",
        unit="SUVR",
        point_mm=point,
    )
    image = picture(tmp_path / "picture.png")
    height, width, _ = image.shape
    axial = image[: height // 3, 3 * width // 4 :]
    red = (axial[..., 0] - axial[..., 2]) > 0.2
    columns = np.nonzero(red)[1]
    assert columns.size > 50 and columns.mean() > 0.55 * axial.shape[1]
    assert figures.PLANES[0].sides[:2] == ("R", "L")


def test_both_pets_share_one_scale(subject: SimulatedSubject, tmp_path: Path) -> None:
    """The same image as synthetic and real gives two identical panels; NormDiff is white (0) throughout."""
    pet = subject.pet_true
    comparison_figure(
        subject.t1, pet, pet, subject.brain_mask, tmp_path / "same.png", title="same", unit="SUV", note="note"
    )
    image = picture(tmp_path / "same.png")
    pitch = (image.shape[1] - 8) // 4  # from a column to the next
    one, two, normdiff = (image[90:-200, 8 + n * pitch : n * pitch + pitch] for n in (1, 2, 3))
    assert np.array_equal(one, two) and one.std() > 0.1
    assert np.ptp(normdiff, axis=2).max() < 0.02  # grey and white


def test_the_picture_works_without_a_real_pet_and_on_an_oblique_grid(
    subject: SimulatedSubject, tmp_path: Path
) -> None:
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, 0.1, -0.15)
    grid = sitk.Image(54, 60, 54, sitk.sitkUInt8)
    grid.SetSpacing((4.0, 4.0, 4.0))
    grid.SetDirection(turn.GetMatrix())
    centre = np.array(figures.mask_centre_mm(subject.brain_mask))
    offset = np.array(turn.GetMatrix()).reshape(3, 3) @ (np.array([27.0, 30.0, 27.0]) * 4)
    grid.SetOrigin((centre - offset).tolist())
    identity = sitk.Transform(3, sitk.sitkIdentity)
    t1, pet = (sitk.Resample(i, grid, identity, sitk.sitkLinear) for i in (subject.t1, subject.pet_true))
    mask = sitk.Resample(subject.brain_mask, grid, identity, sitk.sitkNearestNeighbor)
    path = comparison_figure(
        t1, pet, None, mask, tmp_path / "new folder" / "p.png", title="t" * 300, unit="SUV", note="n " * 200
    )
    assert picture(path).std() > 0.1


# --- the page ----------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, {k: v or "" for k, v in attrs}))


@pytest.mark.parametrize("name", ["one", "cohort"])
def test_a_report_stands_on_its_own(reports: dict[str, Path], name: str) -> None:
    page = Page(reports[name])
    assert not {"link", "iframe", "object"} & set(page.tags)
    scripts = [attributes for tag, attributes in page.attributes if tag == "script"]
    assert [s.get("type", "runs") for s in scripts] == [
        "text/plain",
        "text/plain",
        "application/json",
        "runs",
    ]
    for tag, attributes in page.attributes:
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    style = page.text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert reports[name].stat().st_size < 6_000_000


@pytest.mark.parametrize("name", ["one", "cohort"])
def test_a_report_can_be_read_by_keyboard_and_screen_reader(reports: dict[str, Path], name: str) -> None:
    page = Page(reports[name])
    assert page.tags.count("h1") == 1 and {"main", "nav", "header"} <= set(page.tags)
    assert '<html lang="en">' in page.text
    assert all(len(a.get("alt", "")) > 20 for t, a in page.attributes if t == "img")
    identifiers = {a["id"] for _, a in page.attributes if "id" in a}
    links = [a["href"][1:] for t, a in page.attributes if t == "a"]
    assert links and set(links) <= identifiers
    assert page.tags.count("caption") == page.tags.count("table") > 0
    assert all(a.get("scope") in ("row", "col") for t, a in page.attributes if t == "th")
    assert "@media print" in page.text
    assert all(a.get("tabindex") == "0" for _, a in page.attributes if a.get("class") == "scroll")


@pytest.mark.parametrize("name", ["one", "cohort"])
def test_a_report_says_what_it_is_and_is_not(reports: dict[str, Path], name: str) -> None:
    text = reports[name].read_text(encoding="utf-8")
    for words in ("DEMONSTRATION MODEL", "SIMULATED", "not for clinical use", "warped average", "sha256"):
        assert words in text, words
    for sentence in texts.CANNOT_SAY:
        assert escaped(sentence) in text
    words = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert "nan" not in re.sub(r"data:image[^\"]*", "", words.lower()).replace("anatomy", "").split()
    if name == "cohort":
        assert escaped(texts.GROUP_CAUTION) in text and "Table 4" in text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</td></table><iframe src=//x>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}{# x #}",
    "<a href=javascript:alert(1)>",
    "<!-- --><svg/onload=alert(1)>",
)


def escaped(text: str) -> str:
    """A text as it stands in a page."""
    from markupsafe import escape

    return str(escape(text))


@pytest.mark.parametrize("name", HOSTILE)
def test_what_comes_from_outside_is_shown_and_never_obeyed(name: str, tmp_path: Path) -> None:
    """As title, remark, heading, cell, caption, alternative text, term and list item of a page."""
    table = page.ReportTable([name, name], [[name, name], [name, None], [name, -0.5]], name)
    picture = page.Picture(b"png", alt=name, caption=name)
    (tmp_path / "page.html").write_text(
        "{% extends 'sections.html' %}{% from 'pieces.html' import note, picture, table %}"
        "{% set sections = [('a', x), ('quality', x), ('limits', x), ('provenance', x)] %}"
        "{% block a %}{{ table(t) }}{{ picture(p) }}{{ note(x) }}{{ x }}{% endblock %}"
    )
    lists = {"remarks": [name], "cannot_say": [name], "provenance": {name: name}}
    content = {"x": name, "t": table, "p": picture, "quality": "warn", **lists}
    html = page.render("page.html", name, folder=tmp_path, **content)
    (tmp_path / "shown.html").write_text(html, encoding="utf-8")
    parts = Page(tmp_path / "shown.html")
    tags = "html head meta title style body a header h1 nav ul li main section h2 div table caption thead "
    tags += "tbody tr th td span figure img figcaption p dl dt dd footer"
    assert set(parts.tags) <= set(tags.split())
    keys = "src alt href id class role tabindex scope lang charset name content http-equiv aria-label "
    keys += "aria-labelledby"
    assert {key for _, a in parts.attributes for key in a} <= set(keys.split())
    assert html.count(escaped(name)) >= 15 and "49" not in re.sub("sha256-[^']*", "", html)
    assert 'aria-label="not available"' in html and "\N{MINUS SIGN}0.5" in html


def test_a_template_that_uses_what_nobody_gave_is_an_error(tmp_path: Path) -> None:
    from jinja2 import UndefinedError

    (tmp_path / "page.html").write_text("{{ nothing }}")
    with pytest.raises(UndefinedError, match="nothing"):
        page.render("page.html", "title", folder=tmp_path)


def test_numbers_are_shown_as_a_reader_expects() -> None:
    texts = [page.number_text(v) for v in (0.0, -0.123456, 12345.6, 0.00034567)]
    assert texts == ["0", "\N{MINUS SIGN}0.123", "12346", "0.000346"]
    assert page.spread(-0.00004, 0.02) == "0.000 \N{PLUS-MINUS SIGN} 0.020"
    assert page.spread(0.94512, 0.0231) == "0.945 \N{PLUS-MINUS SIGN} 0.023"
    assert [page.p_value(p) for p in (None, 0.0002, 0.0421)] == [None, "< 0.001", "0.042"]
    assert page.percent(-0.04) == "0.0"


def test_plots_take_constant_and_missing_values() -> None:
    flat = np.ones(4)
    assert charts.agreement_png(flat, flat, points="people", unit="SUV", title="t").startswith(b"\x89PNG")
    assert charts.region_bars_png(["a", "b"], {"x": [None, 1.0], "y": [None, None]}, label="l", title="t")
    assert charts.distribution_png({"a": np.zeros(9), "b": np.ones(9)}, unit="SUV", title="t")


def test_the_first_paragraph_of_a_card_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    card = "# Title\n\n> **DEMONSTRATION MODEL**: see [the notes](https://x.org), *not* real.\n\nMore.\n"
    bundle = SimpleNamespace(card=lambda: card, metadata={"description": "d"})
    assert texts.card_paragraph(bundle) == "DEMONSTRATION MODEL: see the notes, not real."  # type: ignore[arg-type]
    assert "not known or not installed" in texts.card_paragraph(None)
    assert bundle_of({"id": "no-such-model", "sha256": "0"}) is None


def test_the_cubic_of_t1_comes_from_the_metadata_of_the_bundle() -> None:
    from types import SimpleNamespace

    metadata = {"baselines": {"cubic_of_t1": {"coefficients": [0.1, 1, -2.0, 0.5], "fwhm_mm": 4}}}
    assert cubic_of_bundle(SimpleNamespace(metadata=metadata)) == Cubic((0.1, 1.0, -2.0, 0.5), 4.0)  # type: ignore[arg-type]
    for broken in ({}, {"baselines": []}, {"baselines": {"cubic_of_t1": {"coefficients": "x"}}}):
        assert cubic_of_bundle(SimpleNamespace(metadata=broken)) is None  # type: ignore[arg-type]


# --- in a browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), 1200, 1000) as browser:
        yield browser


@pytest.mark.parametrize("name", ["one", "cohort"])
def test_the_report_renders_in_a_browser_without_network(
    browser: Browser, reports: dict[str, Path], name: str, tmp_path: Path
) -> None:
    browser.open(reports[name])
    browser.wait("document.getElementById('viewer').dataset.state === 'ready'")
    image = picture(browser.screenshot(tmp_path / "page.png", whole=True))
    assert image.shape[1] == 1200 and image.shape[0] > 4000
    dark = (image.max(axis=2) < 0.05).mean(axis=1)
    assert (dark > 0.2).sum() > 200  # rows through the brain; no text is as dark
    rows_with_ink = (image.min(axis=(1, 2)) < 0.6).mean()
    assert rows_with_ink > 0.4
    assert browser.requests == [reports[name].resolve().as_uri()] and browser.problems == []


def test_the_report_prints_and_nothing_is_wider_than_the_window(
    browser: Browser, reports: dict[str, Path], tmp_path: Path
) -> None:
    browser.open(reports["cohort"])
    content = browser.pdf(tmp_path / "page.pdf").read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", content))
    assert content.startswith(b"%PDF") and 3 <= pages <= 40
    browser.resize(500, 1000)
    browser.open(reports["one"])
    # Wide tables scroll in their own box.
    assert browser.evaluate("document.documentElement.scrollWidth") == 500
    browser.resize(1200, 1000)


@pytest.mark.parametrize("name", ["one", "cohort"])
def test_no_table_is_wider_than_the_window_or_the_printed_page(
    browser: Browser, reports: dict[str, Path], name: str
) -> None:
    """Folded ones included. A4 lies on its side, with margins of 10 mm 1047 pixels wide."""
    browser.open(reports[name])
    assert browser.widest_table(1200) <= 1200
    assert browser.widest_table(1047, "print") <= 1047
    browser.resize(1200, 1000)


@pytest.mark.parametrize("name", ["one", "cohort"])
def test_the_first_screen_says_what_was_compared_and_what_came_out(
    browser: Browser, reports: dict[str, Path], name: str
) -> None:
    browser.open(reports[name])
    section = "document.querySelector('main > section')"
    assert browser.evaluate(f"{section}.getBoundingClientRect().bottom") <= 1000
    text = browser.evaluate(f"{section}.innerText")
    for words in ("network", "best baseline", "MSE", "synthetic against real PET"):
        assert words in text, words
    assert ("7 scans of 6 people" in text and "95 %" in text) or name == "one"


def test_colours_of_normdiff_are_blue_white_and_red() -> None:
    colors = normdiff_colors(5)
    assert colors.shape == (5, 3) and colors.min() >= 0 and colors.max() <= 1
    lower, middle, higher = colors[0], colors[2], colors[4]
    assert lower[2] > 0.6 > lower[0] and higher[0] > 0.6 > higher[2]
    assert middle.tolist() == [0.97, 0.97, 0.97] and np.allclose(colors[1], (lower + middle) / 2)
