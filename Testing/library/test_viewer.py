"""Images inside a report: under the crosshair stands what stands in the image, left is left, nothing is
fetched.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from browser import Browser
from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.reports import viewer as viewer_module
from MRI2PETLib.reports.colors import gray_colors, normdiff_colors, pet_colors
from MRI2PETLib.reports.page import Picture, render
from MRI2PETLib.reports.viewer import PAGE_BYTES, Layer, Viewer, niivue, script_text

TURN = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, 0.1, -0.25).GetMatrix()
GRIDS = {
    "LAS": Grid((40, 48, 44), (2.0, 2.0, 2.0), (-40.0, 50.0, -44.0), (1.0, 0, 0, 0, -1, 0, 0, 0, 1)),
    "oblique": Grid(
        (40, 48, 44), (2.0, 2.0, 2.0), tuple(-np.reshape(TURN, (3, 3)) @ (39.0, 47.0, 43.0)), TURN
    ),
    "1 x 1 x 3 mm": Grid((80, 90, 28), (1.0, 1.0, 3.0), (-41.0, -46.0, -40.0)),
}
BLOB = (18.0, -22.0, 14.0)  # LPS: the patient's left, front and top
HOSTILE = '</script><script>window.obeyed = 1</script><img src=x onerror="window.obeyed=1">'


def phantom(grid: Grid) -> Viewer:
    """A ramp that says where each voxel is, a blob, a signed map with a hole, and a region on the left."""
    x, y, z = (v.reshape(grid.shape) for v in grid.points())
    ramp = grid.image((200 + x + 2 * y + 0.5 * z).astype(np.float32))
    blob = ((x - BLOB[0]) ** 2 + (y - BLOB[1]) ** 2 + (z - BLOB[2]) ** 2 < 36).astype(np.float32)
    signed = grid.image((x / 100).astype(np.float32))
    hole = grid.image((np.abs(z) > 4).astype(np.uint8))
    left = grid.image(np.where(x > 0, 70000, 7).astype(np.int32))
    layers = [
        Layer("T1", ramp, "", gray_colors(), (100.0, 900.0), "T1"),
        Layer(
            "Blob",
            grid.image(blob),
            "SUVR",
            pet_colors(),
            (0.0, 1.0),
            "PET",
            1.0,
            grid.image(blob.astype(np.uint8)),
        ),
        Layer("NormDiff", signed, "", normdiff_colors(), (-0.3, 0.3), "NormDiff", 0.9, hole),
    ]
    names = {7: f"right {HOSTILE}", 70000: "left half"}
    box = grid.image(np.ones(grid.shape, np.uint8))
    return Viewer(layers, box, BLOB, {"halves": (left, names)}, note=HOSTILE)


def page_of(viewer: Viewer, path: Path) -> Path:
    (path.parent / "one.html").write_text(
        "{% extends 'sections.html' %}{% from 'pieces.html' import images %}"
        "{% set sections = [('a', 'A')] %}{% block a %}{{ images(viewer, p) }}{% endblock %}"
    )
    picture = Picture(b"png", alt="what the picture shows", caption=HOSTILE)
    path.write_text(
        render("one.html", "title", folder=path.parent, viewer=viewer, p=picture), encoding="utf-8"
    )
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), 1200, 1300) as browser:
        yield browser


@pytest.fixture(scope="module", params=GRIDS)
def opened(
    request: pytest.FixtureRequest, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Browser, Viewer, Path]:
    """A page with its images drawn."""
    viewer = phantom(GRIDS[request.param])
    path = page_of(viewer, tmp_path_factory.mktemp("page") / "page.html")
    browser.open(path)
    browser.wait("document.getElementById('viewer').dataset.state")
    assert browser.evaluate("document.getElementById('viewer-reason').textContent") == ""
    return browser, viewer, path


def go_to(browser: Browser, lps: tuple[float, float, float]) -> list[str]:
    """Move the crosshair by the fields; what is written of each layer, then of the region."""
    ras = [-lps[0], -lps[1], lps[2]]
    browser.evaluate(
        f"[...document.querySelectorAll('[data-where] input')].forEach((f, n) => f.value = {ras}[n]);"
        "document.querySelector('[data-where]').dispatchEvent(new Event('change'))"
    )
    return list(browser.evaluate("[...document.querySelectorAll('output')].map(o => o.textContent)"))


def value_of(text: str) -> float:
    return float(text.split()[0].replace("\N{MINUS SIGN}", "-"))


def test_the_values_under_the_crosshair_are_those_of_the_image(opened: tuple[Browser, Viewer, Path]) -> None:
    browser, viewer, _ = opened
    ramp, blob, signed = (layer.image for layer in viewer.layers)
    for lps in (BLOB, (-12.0, 9.0, -20.0), (3.0, -30.0, 11.0), (-20.0, -25.0, 25.0)):
        index = ramp.TransformPhysicalPointToIndex(lps)
        texts = go_to(browser, lps)
        assert value_of(texts[0]) == pytest.approx(ramp[index], abs=0.1)  # a step is 0.08
        assert value_of(texts[2]) == pytest.approx(signed[index], abs=2e-4)
        if blob[index]:
            assert value_of(texts[1]) == 1 and texts[1].endswith("SUVR")
        else:
            assert texts[1] == "\N{EN DASH}"
        assert texts[3] == ("left half (halves)" if lps[0] > 0 else f"right {HOSTILE} (halves)")
    assert go_to(browser, (10.0, 0.0, 0.0))[2] == "\N{EN DASH}"  # the hole of the signed map
    assert go_to(browser, (900.0, 0.0, 0.0)) == ["\N{EN DASH}"] * 3 + ["no region"]


def pane_of(browser: Browser, number: int, path: Path) -> tuple[np.ndarray, float, float]:
    """The pixels of a pane, and where its corner is in the window."""
    from matplotlib.image import imread

    browser.evaluate("document.querySelector('.panes').scrollIntoView()")
    x, y, width, height = browser.evaluate(
        f"(r => [r.x, r.y, r.width, r.height])"
        f"(document.querySelectorAll('.planes')[{number}].getBoundingClientRect())"
    )
    image = np.asarray(imread(browser.screenshot(path)))[..., :3]
    return image[int(y) : int(y + height), int(x) : int(x + width)], int(x), int(y)


def where(browser: Browser) -> np.ndarray:
    """The crosshair in LPS mm."""
    ras = browser.evaluate("[...document.querySelectorAll('[data-where] input')].map(f => f.valueAsNumber)")
    return np.multiply(ras, (-1, -1, 1))


def test_left_is_on_the_right_and_front_and_top_are_where_they_belong(
    opened: tuple[Browser, Viewer, Path], tmp_path: Path
) -> None:
    """The blob is found by its colour; a click beside it moves the crosshair the right way, in each plane."""
    browser, _, _ = opened
    go_to(browser, BLOB)
    pane, x, y = pane_of(browser, 1, tmp_path / "page.png")
    bright = (
        (pane[..., 0] > 0.9) & (pane[..., 1] > 0.9) & (np.abs(pane[..., 2] - 0.64) < 0.1)
    )  # the top of inferno
    rows = np.unique(np.nonzero(bright)[0])
    planes = np.split(rows, np.flatnonzero(np.diff(rows) > 20) + 1)
    assert len(planes) == 3
    for plane, (right, up) in zip(planes, (((0, 1), (1, -1)), ((0, 1), (2, 1)), ((1, 1), (2, 1)))):
        column = np.nonzero(bright[plane[0] : plane[-1] + 1])[1].mean()
        row = plane.mean()
        go_to(browser, BLOB)
        browser.drag(x + column + 30, y + row - 30)
        moved = where(browser) - BLOB
        assert moved[right[0]] * right[1] > 4 and moved[up[0]] * up[1] > 4
        browser.drag(x + column, y + row)
        assert np.abs(where(browser) - BLOB).max() < 3.1  # a voxel


@pytest.mark.parametrize("opened", ["1 x 1 x 3 mm"], indirect=True)
def test_the_colours_of_a_signed_map_are_those_of_the_picture(
    opened: tuple[Browser, Viewer, Path], tmp_path: Path
) -> None:
    """Blue below 0 (the patient's right, on the left), red above, nothing where there is no value."""
    browser, _, _ = opened
    go_to(browser, BLOB)
    pane, _, _ = pane_of(browser, 2, tmp_path / "page.png")
    axial = pane[: pane.shape[0] // 3]
    blue, red = ((axial[..., a] - axial[..., b]) > 0.3 for a, b in ((2, 0), (0, 2)))
    assert blue.sum() > 300 and red.sum() > 300
    assert np.nonzero(blue)[1].mean() < np.nonzero(red)[1].mean() - 20


@pytest.mark.parametrize("opened", ["1 x 1 x 3 mm"], indirect=True)
def test_the_keys_move_the_crosshair_by_a_millimetre(opened: tuple[Browser, Viewer, Path]) -> None:
    browser, _, _ = opened
    go_to(browser, BLOB)
    browser.evaluate("document.querySelector('.planes canvas').focus()")
    for key, way in (("PageUp", (0, 0, 1)), ("ArrowUp", (0, -1, 0)), ("ArrowLeft", (-1, 0, 0))):
        before = where(browser)
        browser.key(key)
        assert where(browser) - before == pytest.approx(way, abs=0.01)


def choose(browser: Browser, pane: str) -> None:
    browser.evaluate(
        f"(c => {{c.value = '{pane}'; c.dispatchEvent(new Event('change'))}})"
        "(document.querySelector('.controls select'))"
    )


@pytest.mark.parametrize("opened", ["1 x 1 x 3 mm"], indirect=True)
def test_window_and_one_pane_alone(opened: tuple[Browser, Viewer, Path], tmp_path: Path) -> None:
    browser, _, _ = opened
    go_to(browser, BLOB)
    before, *_ = pane_of(browser, 0, tmp_path / "page.png")
    browser.evaluate(
        "(f => {f.value = 0; f.dispatchEvent(new Event('change'));"
        " const g = document.querySelectorAll('fieldset input')[1];"
        " g.value = 150; g.dispatchEvent(new Event('change'))})(document.querySelector('fieldset input'))"
    )
    after, *_ = pane_of(browser, 0, tmp_path / "page.png")
    assert (after > 0.9).mean() > (before > 0.9).mean() + 0.1  # a lower window is brighter
    choose(browser, "2")
    widths = browser.evaluate("[...document.querySelectorAll('.pane')].map(p => p.offsetWidth)")
    places = browser.evaluate(
        "[...document.querySelectorAll('.pane')].map(p => p.getBoundingClientRect().right)"
    )
    assert max(places[:2]) < 0 < places[2] and widths[2] > 900
    choose(browser, "")
    places = browser.evaluate(
        "[...document.querySelectorAll('.pane')].map(p => p.getBoundingClientRect().left)"
    )
    assert 0 <= places[0] < places[1] < places[2]


def test_the_page_fetches_nothing_and_the_console_stays_empty(opened: tuple[Browser, Viewer, Path]) -> None:
    browser, _, path = opened
    assert browser.requests == [path.resolve().as_uri()] and browser.problems == []
    assert browser.evaluate("window.obeyed") is None


@pytest.mark.parametrize("opened", ["1 x 1 x 3 mm"], indirect=True)
def test_what_the_policy_does_not_name_does_not_run(opened: tuple[Browser, Viewer, Path]) -> None:
    browser, _, path = opened
    policy = re.search(
        r'http-equiv="Content-Security-Policy" content="([^"]+)"', path.read_text(encoding="utf-8")
    )
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] and "unsafe" not in policy[1] and "http" not in policy[1]
    browser.evaluate(
        "document.head.append("
        "Object.assign(document.createElement('script'), {textContent: 'window.other = 1'}))"
    )
    assert browser.evaluate("window.other") is None
    with pytest.raises(AssertionError):
        browser.evaluate("fetch('file:///etc/hostname').then(r => r.text())")
    browser.problems.clear()
    browser.requests[1:] = []


@pytest.mark.parametrize("opened", ["1 x 1 x 3 mm"], indirect=True)
def test_on_paper_the_picture_stands_for_the_images(opened: tuple[Browser, Viewer, Path]) -> None:
    browser, _, _ = opened
    for medium, viewer, still in (("print", "none", "block"), ("screen", "block", "none")):
        browser.emulate(medium)
        styles = browser.evaluate(
            "['.viewer', '.still'].map(c => getComputedStyle(document.querySelector(c)).display)"
        )
        assert styles == [viewer, still]


def test_without_webgl_the_picture_stays_and_the_reason_is_said(browser: Browser, tmp_path: Path) -> None:
    path = page_of(phantom(GRIDS["LAS"]), tmp_path / "page.html")
    script = browser._call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="HTMLCanvasElement.prototype.getContext = () => null",
    )
    browser.open(path)
    browser.wait("document.getElementById('viewer').dataset.state")
    assert "no WebGL 2" in browser.evaluate("document.getElementById('viewer-reason').textContent")
    assert browser.evaluate("getComputedStyle(document.querySelector('.still')).display") == "block"
    browser._call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


# --- without a browser -------------------------------------------------------------------------


def test_the_data_of_a_page_give_back_the_image_within_a_step() -> None:
    viewer = phantom(GRIDS["oblique"])
    data = viewer.data()
    for layer, packed in zip(viewer.layers, data["layers"]):
        halves = np.frombuffer(zlib.decompress(base64.b64decode(packed["codes"])), np.uint8).astype(np.int32)
        count = halves.size // 2
        steps = (halves[:count] | halves[count:] << 8).astype(np.int16).reshape(GRIDS["oblique"].shape)
        values = np.cumsum(steps, axis=-1, dtype=np.int16) * packed["step"]
        image = sitk.GetArrayFromImage(layer.image)
        valid = np.ones(image.shape, bool) if layer.valid is None else sitk.GetArrayFromImage(layer.valid) > 0
        assert np.abs(values - np.where(valid, image, 0)).max() <= packed["step"]
        assert (values[valid] != 0).all() or layer.valid is None


def test_images_that_are_too_large_lose_digits_and_then_voxels() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 60, 60)).astype(np.float32)
    grid = Grid((60, 60, 60), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    layer = Layer("noise", grid.image(noise), "", gray_colors(), (0.0, 1.0), "noise")
    viewer = Viewer([layer], grid.image(np.ones(noise.shape, np.uint8)), (30.0, 30.0, 30.0), {})

    def packed(limit: int) -> tuple[int, float, list[int], str]:
        data = viewer.data(limit)
        return len(data["layers"][0]["codes"]), data["layers"][0]["step"], list(data["size"]), data["coarser"]

    fine = packed(PAGE_BYTES)
    assert fine[2] == [60, 60, 60] and not fine[3]
    fewer = packed(400_000)
    assert fewer[0] <= 400_000 and fewer[1] > 3 * fine[1] and fewer[2] == [60, 60, 60]
    coarser = packed(100_000)
    assert coarser[0] <= 100_000 and max(coarser[2]) < 60 and "x" in coarser[3]


def test_niivue_is_the_published_file_with_its_licence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = resources_dir() / "Viewer"
    about = json.loads((folder / "niivue.json").read_text(encoding="utf-8"))
    source = gzip.decompress((folder / "niivue.umd.js.gz").read_bytes())
    # sha256 of dist/niivue.umd.js in version 0.69.0 of the npm package @niivue/niivue
    published = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
    assert hashlib.sha256(source).hexdigest() == about["sha256"] == published
    text = (folder / "LICENSE-NiiVue.txt").read_text(encoding="utf-8")
    assert "BSD 2-Clause" in text and "Copyright (c) 2021, Niivue" in text and "</" not in text
    changed = tmp_path / "Viewer"
    changed.mkdir()
    for name in ("niivue.json", "LICENSE-NiiVue.txt"):
        (changed / name).write_bytes((folder / name).read_bytes())
    (changed / "niivue.umd.js.gz").write_bytes(gzip.compress(source + b" "))
    niivue.cache_clear()
    monkeypatch.setattr(viewer_module, "resources_dir", lambda: tmp_path)
    with pytest.raises(MRI2PETError, match="was changed"):
        niivue()
    niivue.cache_clear()


def test_plain_values_cannot_leave_their_script() -> None:
    text = script_text({"a": [HOSTILE, "\N{LINE SEPARATOR}&amp;<!--"]})
    assert not set("<>&") & set(text) and json.loads(text) == {"a": [HOSTILE, "\N{LINE SEPARATOR}&amp;<!--"]}
