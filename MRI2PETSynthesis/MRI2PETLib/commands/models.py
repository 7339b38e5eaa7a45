"""List, inspect, import, export and remove models."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.progress import Reporter

HELP = "list | info ID | import DIR | export ID | remove ID"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="all models that can be used by their id")
    info = actions.add_parser("info", help="metadata and card of a model")
    info.add_argument("model", metavar="ID|DIR")
    add = actions.add_parser("import", help="copy a bundle (folder or .zip) to your models")
    add.add_argument("source", type=Path)
    add.add_argument("--replace", action="store_true", help="replace a model of the same id")
    export = actions.add_parser("export", help="write a model to a .zip archive or an .onnx file")
    export.add_argument("model", metavar="ID|DIR")
    formats = ("bundle", "monai", "onnx")
    export.add_argument(
        "--format",
        choices=formats,
        default="bundle",
        help="monai: with the files that MONAI needs; onnx: the networks alone",
    )
    export.add_argument("-o", "--output", type=Path, default=Path("."), help="folder, or .zip or .onnx file")
    remove = actions.add_parser("remove", help="delete an imported model")
    remove.add_argument("model", metavar="ID")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.models import store

    if args.action == "list":
        bundles, problems = store.list_bundles()
        width = max([20, *(len(bundle.id) for bundle in bundles)])
        reporter.say(f"{'id':<{width}} {'family':<10} {'use':<14} {'grid':<32} name")
        for bundle in bundles:
            use = bundle.metadata["intended_use"]
            name, grid = bundle.metadata["name"], bundle.space.grid_text
            reporter.say(f"{bundle.id:<{width}} {bundle.family:<10} {use:<14} {grid:<32} {name}")
        for problem in problems:
            reporter.warning(problem)
        reporter.result({"models": [bundle.metadata for bundle in bundles]})
    elif args.action == "info":
        bundle = store.find_bundle(args.model)
        bundle.networks()  # raises if the weights are not sound
        reporter.say(f"{bundle.folder}\nweights sha256 {bundle.sha256} (checked)\n")
        reporter.say(bundle.card() or "This model has no card.")
        reporter.result({"folder": bundle.folder, "metadata": bundle.metadata})
    elif args.action == "import":
        bundle = store.import_bundle(args.source, replace=args.replace)
        reporter.say(f"{bundle.id} -> {bundle.folder}")
        reporter.result({"model": bundle.id, "folder": bundle.folder})
    elif args.action == "export":
        archive = store.export_bundle(args.model, args.output, args.format)
        reporter.say(str(archive))
        reporter.result({"archive": archive})
    else:
        folder = store.remove_bundle(args.model)
        reporter.say(f"removed {folder}")
        reporter.result({"model": args.model, "folder": folder})
    return 0
