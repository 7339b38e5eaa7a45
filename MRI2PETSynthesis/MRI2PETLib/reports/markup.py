"""The few HTML pieces of the reports: one self-contained page for screen, print and keyboard."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 74rem;
  margin: 0 auto; padding: 0 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin-top: 2.2rem; border-bottom: 1px solid #bbb; }
a { color: #00538a; }
a:focus, [tabindex]:focus, summary:focus { outline: 3px solid #d55e00; outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; background: #fff; padding: .5rem; }
.note { border: 2px solid #8a5a00; border-left-width: .6rem; background: #fff6e0; padding: 0 1rem;
  margin: 1rem 0; }
.refuse { border-color: #8a0000; background: #fdecea; }
.ok { border-color: #00664a; background: #e8f6f1; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .92rem; }
.scroll { overflow-x: auto; margin-bottom: .8rem; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .22rem .45rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #666; vertical-align: bottom; white-space: normal; }
tbody tr.lead td, tbody tr.lead th { font-weight: 600; background: #eef5fa; }
tbody th { font-weight: inherit; }
.none { color: #666; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem 1.2rem; overflow-wrap: anywhere; }
@media print {
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { max-width: none; font-size: 10pt; }
  a { color: inherit; text-decoration: none; }
  nav, .skip { display: none; }
  h2 { break-after: avoid; }
  figure, tr, .note { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .1rem .3rem; }
  thead { display: table-header-group; }
}
"""
Cell = str | float | int | None


def page(title: str, sections: Sequence[tuple[str, str, str]], *, intro: str = "") -> str:
    """A whole page. ``sections``: (identifier, heading, HTML); ``intro`` is HTML below the title."""
    links = "".join(f'<li><a href="#{i}">{escape(heading)}</a></li>' for i, heading, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{i}"><h2 id="{i}">{escape(heading)}</h2>{content}</section>'
        for i, heading, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        '<a class="skip" href="#content">Skip to the content</a>'
        f'<header><h1>{escape(title)}</h1>{intro}</header><nav aria-label="Sections"><ul>{links}</ul></nav>'
        f'<main id="content" tabindex="-1">{body}</main>'
        "<footer><p>Made by MRI2PET. Research use only, not for clinical use.</p></footer></body></html>\n"
    )


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def note(text: str, kind: str = "") -> str:
    """A framed remark; ``kind`` is empty (warning), ``ok`` or ``refuse``."""
    return f'<div class="note {kind}" role="note"><p>{escape(text)}</p></div>'


def bullets(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def definitions(items: dict[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items.items()) + "</dl>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str, lead: Sequence[int] = ()
) -> str:
    """A table; the first column heads its rows, rows in ``lead`` stand out, ``None`` is shown as a dash."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in header)
    lines = []
    for number, row in enumerate(rows):
        first, *rest = row
        cells = f'<th scope="row">{escape(str(first))}</th>' + "".join(_cell(value) for value in rest)
        lines.append(f'<tr class="lead">{cells}</tr>' if number in lead else f"<tr>{cells}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value: Cell) -> str:
    if value is None:
        return '<td class="none"><span aria-label="not available">\N{EN DASH}</span></td>'
    return f"<td>{escape(number(value) if isinstance(value, float) else str(value))}</td>"


def number(value: float) -> str:
    """Three significant digits, plain numbers from 0.0001 to a million, with a true minus sign."""
    size = abs(value)
    if size < 1e-12:
        return "0"
    text = f"{value:.3g}" if size < 1000 or size >= 1e6 else f"{value:.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def p_value(p: float | None) -> Cell:
    """A p value as usually printed."""
    return p if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float | None) -> Cell:
    """A percentage with one decimal."""
    return None if value is None else f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def spread(mean: float | None, sd: float | None) -> Cell:
    """Mean and SD as one cell: the SD with two digits, the mean to the same decimal."""
    if mean is None:
        return None
    if sd is None or sd < 1e-12:
        return number(mean)
    decimals = max(0, 1 - math.floor(math.log10(sd)))
    if decimals > 6:
        return number(mean)
    return f"{mean:.{decimals}f} \N{PLUS-MINUS SIGN} {sd:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def picture(png: bytes | Path, *, alt: str, caption: str) -> str:
    """A PNG inside the page, with what it shows in words."""
    content = png.read_bytes() if isinstance(png, Path) else png
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def text(content: str) -> str:
    """Plain text made safe for HTML."""
    return escape(content)
