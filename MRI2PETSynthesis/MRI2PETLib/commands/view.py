"""Look at an image in three planes, with a PET or another map over it, in the browser.

Writes one HTML file that needs no network, and opens it. Images of a person are in it: treat it like them."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter

HELP = "look at an image, with a PET over it, in the browser"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image or DICOM folder")
    parser.add_argument("--over", type=Path, metavar="PET", help="PET or another map that lies over it")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="HTML", help="the page (default: IMAGE's name with .html, here)"
    )
    parser.add_argument("--no-open", action="store_true", help="write the page only")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    import html
    import webbrowser

    from MRI2PETLib.core.files import make_folder, write_text
    from MRI2PETLib.core.ownership import check_replaceable
    from MRI2PETLib.images.formats import image_stem
    from MRI2PETLib.reports.image_page import image_page

    output: Path = args.output or Path(f"{image_stem(args.image)}.html")
    if output.suffix.lower() != ".html":
        raise InputError(f"{output} does not end in .html.", "Name the page, for example -o brain.html.")
    check_replaceable(output)
    if output.is_file() and html.escape(str(args.image)) not in output.read_text("utf-8", "replace"):
        reporter.warning(f"{output} was the page of another image: it is replaced.")
    make_folder(output.parent)
    reporter.progress(0, 1, "reading")
    write_text(output, image_page(args.image, args.over))
    reporter.close()
    reporter.say(f"Page: {output}")
    reporter.result({"page": output})
    if not args.no_open and not webbrowser.open(output.resolve().as_uri()):
        reporter.say("No browser could be started: open the page yourself.")
    return 0
