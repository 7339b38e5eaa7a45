"""One page of all cases of an output folder: failed and warned first, with a thumbnail each.

The page needs no server and fetches nothing but its own sprites, files of a hundred thumbnails each. Rows are
made as they are scrolled to, so that thousands open at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from MRI2PETLib.core.case_status import Status, StatusTable
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import (
    new_folder,
    output_folder,
    plain,
    replace_folder,
    restore_replaced,
    write_text,
)
from MRI2PETLib.core.ownership import check_replaceable, not_ours
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.reports.page import TEMPLATES, content_policy, how_many, page_environment, source_hash
from MRI2PETLib.reports.texts import notes_of_cases
from MRI2PETLib.reports.thumbnail import SIZE
from MRI2PETLib.reports.viewer import script_text
from MRI2PETLib.synthesis.batch import SYNTHESIS
from MRI2PETLib.synthesis.cases import Case

GROUP_PAGE, SPRITES = "group.html", "group_sprites"
_LAST = {"seconds": "Seconds", "reasons": "Reasons and remedies"}
_ACROSS, _DOWN = 10, 10
_VERDICTS = ("failed", "missing", "warn", "ok")
_QUALITY = 85  # of JPEG
_AGAIN = "run participant again with one of them, or an output folder for each."


def write_group(
    output: Path,
    cases: Sequence[Case],
    reporter: Reporter,
    *,
    table: StatusTable = SYNTHESIS,
    page: str = GROUP_PAGE,
    only_these: bool = False,
) -> dict[str, Path]:
    """Write the table and the page of all cases that have a status file, and of those that have none yet.

    :param cases: all of the dataset that could be worked on.
    :param table: of the work; ``page``: name of the page; ``only_these``: leave other cases out of the page.
    :raises InputError: if there is no case at all, or somebody's file or folder lies in the way.
    :returns: the files by role.
    """
    restore_replaced(output_folder(output))
    table.write(output)
    rows = table.read(output)
    there, everybody = {row.case for row in rows}, len(rows)
    names = {case.name for case in cases}
    if only_these:
        rows = [row for row in rows if row.case in names]
    elif cases and (strangers := sorted(there - names)):
        reporter.warning(
            f"{how_many(len(strangers), 'case')} of {output} not among those of the dataset, {strangers[0]} "
            "first (withdrawn, renamed, of another dataset?), gathered with the others. Remove the files of "
            "whoever has withdrawn, or name people by --participant-label."
        )
    rows = [_with_files(row) for row in rows]
    rows += [_missing(case, table) for case in cases if case.name not in there]
    if not rows:
        raise InputError(f"{output} holds no status file of a case.", "Run the level participant first.")
    check_replaceable(output / page)
    _check_sprites(output / SPRITES)
    rows.sort(key=lambda row: (_VERDICTS.index(_verdict(row)), *_badness(row, table.worst), row.case))
    entries = [_entry(row, output, table) for row in rows]
    if any("thumbnail" in row.files for row in rows):
        with new_folder(output) as staging:
            _add_thumbnails(rows, entries, staging, reporter)
            replace_folder(staging, output / SPRITES)
    title = f"{table.title} of {output.resolve().name}"
    done = [row for row in rows if row.status not in ("failed", "missing")]
    notes = notes_of_cases([row.note for row in done])
    if only_these:
        notes.append(
            f"These are {how_many(len(rows), 'case')} by their labels; {everybody} have a status here."
        )
    if len(models := {row.by for row in done}) > 1:
        notes.append(f"The cases are of {len(models)} different models or norms and do not compare: {_AGAIN}")
    files = {"page": write_text(output / page, _page(title, notes, entries, table, has_table=bool(there)))}
    return {**files, "table": output / table.file} if there else files


def _check_sprites(folder: Path) -> None:
    """Only a folder of sprites is replaced."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise not_ours(folder)
    for path in folder.glob("*"):
        if not re.fullmatch(r"\d{4,}\.jpg", path.name):
            raise not_ours(path)


def _badness(row: Status, worst: str) -> tuple[bool, float]:
    """A key by which the worst come first, and last those without the figure."""
    value = _number(row.figures.get(worst.removeprefix("-"), ""))
    if value is None:
        return True, 0.0
    return False, -abs(value) if worst.startswith("-") else value


def _missing(case: Case, table: StatusTable) -> Status:
    reason = "Nobody has worked on it yet."
    about = {"case": case.name, "status": "missing", "message": reason, "t1": str(case.t1)}
    return table.status(case.folder, about)


def _with_files(row: Status) -> Status:
    """A case that is done, but one of whose files is gone, is missing."""
    if row.status == "failed":
        return row
    there = {role: path for role, path in row.files.items() if not isinstance(path, Path) or path.exists()}
    if len(there) == len(row.files):
        return row
    gone = next(path for role, path in row.files.items() if role not in there)
    reason = f"{gone} is gone: the level participant makes it again."
    return replace(row, status="missing", message=reason, hint="", files=there)


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


def _entry(row: Status, output: Path, table: StatusTable) -> dict[str, Any]:
    link = next((role for role in ("report", "picture") if role in row.files), "")
    return {
        "case": row.case,
        "verdict": _verdict(row),
        **{f.column: _number(row.figures[f.column]) for f in table.figures if f.heading},
        "seconds": _number(row.seconds),
        "reasons": " ".join(filter(None, (row.message, row.hint))),
        "picture": link and "./" + quote(row.files[link].relative_to(output).as_posix()),
        "link": link.capitalize(),
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
        # Of a damaged picture Pillow raises any of these.
        with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            if thumbnail is not None:
                with Image.open(thumbnail) as picture:
                    sprite.paste(picture.resize(SIZE), position)
                places[number] = position
    if places:
        sprite.save(path, quality=_QUALITY)
    return places


def _page(
    title: str,
    notes: Sequence[str],
    entries: Sequence[Mapping[str, Any]],
    table: StatusTable,
    *,
    has_table: bool,
) -> str:
    """All that comes from cases is data, never part of a script or of the page's own text."""
    from markupsafe import Markup

    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "group.css"))
    script = (TEMPLATES / "group.js").read_text(encoding="utf-8")
    figures = {figure.column: figure.heading for figure in table.figures if figure.heading}
    content = {
        "cases": entries,
        "numeric": [*figures, "seconds"],
        "sprites": SPRITES,
        "width": SIZE[0],
        "height": SIZE[1],
    }
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
            notes=notes,
            counts=f"{how_many(len(entries), 'case')}: {counts}",
            table=table.file if has_table else "",
            thumbnails=any("sprite" in entry for entry in entries),
            verdicts=_VERDICTS,
            columns={"case": "Case", "verdict": "Verdict", **figures, **_LAST}.items(),
        )
    )
