"""Measure SUVR by atlas region, with an MRI of the person or without one.

The PET is laid on MNI space by the person's T1 (--t1), by an MRI that a model synthesises from the PET
(--model), and always by a PET template; the atlas is pulled back to the PET. With a T1 its result is the
standard that the others are compared with. A table of PETs (--cases) gives the agreement over people."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.options import REGISTER, REGISTER_HELP
from MRI2PETLib.core.progress import Reporter

HELP = "SUVR by region: by the MRI, by a synthetic MRI, or by a PET template"
_UNITS = ("SUV", "SUVR", "Bq/mL")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pet", nargs="?", type=Path, metavar="PET", help="image or DICOM folder")
    parser.add_argument(
        "--cases", type=Path, metavar="CSV", help="table: case, pet[, subject, t1, mask, group]"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument("--t1", type=Path, help="T1 of the same person: its result is the standard")
    parser.add_argument("--mask", type=Path, help="brain mask of the T1")
    parser.add_argument("--register", choices=REGISTER, default="auto", help=REGISTER_HELP)
    parser.add_argument("--model", metavar="ID|DIR", help="PET -> MR model for SUVR without an MRI")
    parser.add_argument(
        "--atlas",
        required=True,
        metavar="FILE",
        help="label map in MNI space, or cortical-spheres (built in)",
    )
    parser.add_argument("--labels", type=Path, help="label table of the atlas file")
    parser.add_argument(
        "--reference", required=True, metavar="REGION", help="names or patterns, such as '*cerebellum*'"
    )
    parser.add_argument(
        "--composite", metavar="REGIONS", help="regions of the composite (default: all but the reference)"
    )
    parser.add_argument(
        "--grey-matter", action="store_true", help="cut the regions to the template's grey matter"
    )
    parser.add_argument(
        "--pet-template",
        type=Path,
        metavar="FILE",
        help="mean PET in MNI space (default: a model of [11C]PBR28)",
    )
    parser.add_argument("--unit", choices=_UNITS, help="unit of the PET, when its files do not say")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--seed", type=int, default=0, help="seed of a stochastic model")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.suvr.case import SuvrPaths
    from MRI2PETLib.suvr.run import read_cases, run_case, run_cohort

    if (args.pet is None) == (args.cases is None):
        raise InputError("Say what to measure.", "Give one PET, or --cases with a table of PETs.")
    if args.cases is not None and (args.t1 is not None or args.mask is not None):
        raise InputError("--t1 and --mask belong to one PET.", "Put them into the columns of the table.")
    if args.mask is not None and args.t1 is None:
        raise InputError("--mask is the brain mask of the T1.", "Give the T1 too (--t1).")
    settings = _settings(args, reporter)
    if args.cases is not None:
        found = run_cohort(read_cases(args.cases, unit=args.unit), settings, args.output, reporter)
        reporter.close()
        for row in found["agreement"]:
            reporter.say(
                f"{row['method']}: composite MAE {row['mae']:.3f}, bias {row['bias']:+.3f} "
                f"against the real MR, {row['n_people']} people"
            )
    else:
        paths = SuvrPaths(args.pet, args.t1, args.mask, args.unit)
        found = run_case(paths, settings, args.output, reporter)
        reporter.close()
        for method, value in found["composite"].items():
            reporter.say(
                f"{method}: composite SUVR " + ("not available" if value is None else f"{value:.3f}")
            )
    reporter.say(f"Report: {found['report']}")
    code: int = found.pop("exit_code", 0)
    if not code:
        reporter.result(found)
    return code


def _settings(args: argparse.Namespace, reporter: Reporter):  # type: ignore[no-untyped-def]
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.images.io import read_image
    from MRI2PETLib.models.store import find_bundle
    from MRI2PETLib.preprocessing.pet_template import built_in_pet_template, read_pet_template
    from MRI2PETLib.suvr.case import SuvrSettings
    from MRI2PETLib.suvr.normalisation import check_pet_to_mr
    from MRI2PETLib.suvr.regional import plan_regions
    from MRI2PETLib.templates.atlases import read_parcellation
    from MRI2PETLib.templates.regions import CORTICAL_SPHERES, check_sides, cortical_spheres

    if args.atlas == CORTICAL_SPHERES:
        if args.labels is not None:
            raise InputError("--labels belongs to an atlas file.", "Leave it out.")
        atlas = cortical_spheres()
    else:
        atlas = read_parcellation(Path(args.atlas), args.labels, space="mni")
    for finding in (*atlas.findings, *check_sides(atlas)):
        reporter.warning(finding.message)
    plan = plan_regions(atlas, args.reference, args.composite, grey_matter=args.grey_matter)
    bundle = None
    if args.model is not None:
        bundle = find_bundle(args.model)
        check_pet_to_mr(bundle)
        if bundle.is_demonstration:
            reporter.warning(f"{bundle.id} is a DEMONSTRATION model: {bundle.metadata['description']}")
    if args.pet_template is None:
        template, name = built_in_pet_template(), "model of the mean [11C]PBR28 pattern, built in"
    else:
        image = read_image(args.pet_template, kind="pet")
        template, name = (
            read_pet_template(image.image),
            f"{args.pet_template.name} (sha256 {image.sha256[:12]})",
        )
    return SuvrSettings(
        plan=plan,
        template=template,
        template_name=name,
        bundle=bundle,
        register=args.register,
        device=args.device,
        seed=args.seed,
    )
