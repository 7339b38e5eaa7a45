"""One page of all cases of an output folder: failed and warned first, with a thumbnail each.

The page needs no server and fetches nothing but its own sprites, files of a hundred thumbnails each. Rows are
made as they are scrolled to, so that thousands open at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import new_folder, plain, replace_folder, write_text
from MRI2PETLib.core.ownership import check_replaceable
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.reports.page import TEMPLATES, content_policy, page_environment, source_hash
from MRI2PETLib.reports.thumbnail import SIZE
from MRI2PETLib.reports.viewer import script_text
from MRI2PETLib.synthesis.batch import STATUS_FILE, Status, read_status, write_status_table
from MRI2PETLib.synthesis.cases import Case

GROUP_PAGE, SPRITES = "group.html", "group_sprites"
_HEADINGS = {
    "case": "Case",
    "verdict": "Verdict",
    "brain_ml": "Brain (ml)",
    "fit_r": "Fit to the template (r)",
    "seconds": "Seconds",
    "reasons": "Reasons and remedies",
}
_ACROSS, _DOWN = 10, 10
_VERDICTS = ("failed", "missing", "warn", "ok")
_QUALITY = 85  # of JPEG


def write_group(output: Path, cases: Sequence[Case], reporter: Reporter) -> dict[str, Path]:
    """Write the table and the page of all cases that have a status file, and of those that have none yet.

    :param cases: all of the dataset.
    :raises InputError: if there is no case at all.
    :returns: the files by role.
    """
    write_status_table(output)
    rows = read_status(output)
    there = {row.case for row in rows}
    rows += [_missing(case) for case in cases if case.name not in there]
    if not rows:
        raise InputError(f"{output} holds no status file of a case.", "Run the level participant first.")
    check_replaceable(output / GROUP_PAGE)
    rows.sort(key=lambda row: (_VERDICTS.index(_verdict(row)), row.case))
    with new_folder(output) as staging:
        entries = [_entry(row, output) for row in rows]
        _add_thumbnails(rows, entries, staging, reporter)
        replace_folder(staging, output / SPRITES)
    page = write_text(output / GROUP_PAGE, _page(f"Cases of {output.resolve().name}", entries))
    return {"page": page, "table": output / STATUS_FILE}


def _missing(case: Case) -> Status:
    reason = "Nobody has worked on it yet."
    return Status(case.name, "missing", "", reason, hint="", seconds="", t1=str(case.t1), pet="")


def _verdict(row: Status) -> str:
    if row.status in ("failed", "missing"):
        return row.status
    return "warn" if row.quality == "warn" else "ok"


def _add_thumbnails(
    rows: Sequence[Status], entries: Sequence[dict[str, Any]], sprites: Path, reporter: Reporter
) -> None:
    """Write the sprites, and say in each entry which one shows it and where."""
    block = _ACROSS * _DOWN
    for start in range(0, len(rows), block):
        reporter.progress(start, len(rows), "thumbnails")
        name = f"{start // block:04d}.jpg"
        for number, position in _write_sprite(rows[start : start + block], sprites / name).items():
            entries[start + number] |= {"sprite": name, "at": position}


def _entry(row: Status, output: Path) -> dict[str, Any]:
    picture = row.files.get("picture")
    return {
        "case": row.case,
        "verdict": _verdict(row),
        "brain_ml": _number(row.brain_ml),
        "fit_r": _number(row.template_r),
        "seconds": _number(row.seconds),
        "reasons": " ".join(filter(None, (row.message, row.hint))),
        "picture": "" if picture is None else "./" + quote(picture.relative_to(output).as_posix()),
    }


def _number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text)
    return None


def _write_sprite(rows: Sequence[Status], path: Path) -> dict[int, tuple[int, int]]:
    """Put the thumbnails of some cases into one picture; returns the position (pixels) of each."""
    from PIL import Image

    sprite, places = Image.new("RGB", (SIZE[0] * _ACROSS, SIZE[1] * _DOWN)), {}
    for number, row in enumerate(rows):
        thumbnail = row.files.get("thumbnail")
        position = (number % _ACROSS * SIZE[0], number // _ACROSS * SIZE[1])
        with suppress(OSError):
            if thumbnail is not None:
                with Image.open(thumbnail) as picture:
                    sprite.paste(picture.resize(SIZE), position)
                places[number] = position
    if places:
        sprite.save(path, quality=_QUALITY)
    return places


def _page(title: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """All that comes from cases is data, never part of a script or of the page's own text."""
    from markupsafe import Markup

    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "group.css"))
    script = (TEMPLATES / "group.js").read_text(encoding="utf-8")
    content = {"cases": entries, "sprites": SPRITES, "width": SIZE[0], "height": SIZE[1]}
    data = script_text(plain(content))
    verdicts = [entry["verdict"] for entry in entries]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in _VERDICTS if name in verdicts)
    return (
        page_environment()
        .get_template("group.html")
        .render(
            title=title,
            policy=content_policy(
                style, [source_hash(script)], "'self' file:"
            ),  # pictures lie beside the page
            style=Markup(style),
            script=Markup(script),
            data=Markup(data),
            counts=f"{len(entries)} cases: {counts}",
            table=STATUS_FILE,
            verdicts=_VERDICTS,
            columns=_HEADINGS.items(),
        )
    )
