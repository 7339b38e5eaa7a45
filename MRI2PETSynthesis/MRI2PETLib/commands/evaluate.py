"""Compare synthetic with real PET: one case, a cross-validation run, or a list of pairs.

The output folder gets the tables (JSON, CSV), the maps of a single case with the aligned real PET
(real.nii.gz) and the labels of the regions (regions/), a picture and a report (report.html) that opens from
disk in any browser. The network always stands beside its baselines."""

from __future__ import annotations

import argparse
from pathlib import Path

from MRI2PETLib.core.options import REGISTER, REGISTER_HELP
from MRI2PETLib.core.progress import Reporter

HELP = "synthetic against real PET: one case or a cohort, with baselines and a report"
_UNITS = ("SUV", "SUVR", "Bq/mL", "normalised")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    one = parser.add_argument_group("one case")
    one.add_argument("--synthetic", type=Path, metavar="PET", help="synthetic PET")
    one.add_argument("--real", type=Path, metavar="PET", help="real PET of the same person")
    one.add_argument("--t1", type=Path, help="the T1 that the synthetic PET was made from")
    one.add_argument("--mask", type=Path, help="brain mask on the grid of the synthetic PET")
    many = parser.add_argument_group("a cohort")
    many.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="DIR",
        help="folder of a cross-validation run (predictions.csv)",
    )
    many.add_argument(
        "--pairs", type=Path, metavar="CSV", help="table of pairs with the columns of predictions.csv"
    )
    both = parser.add_argument_group("both")
    both.add_argument("--register", choices=REGISTER, default="auto", help=REGISTER_HELP)
    both.add_argument(
        "--atlas",
        action="append",
        default=[],
        metavar="FILE",
        help="label map, or harvard-oxford; repeatable",
    )
    both.add_argument("--labels", type=Path, help="label table of the (single) atlas file")
    both.add_argument(
        "--atlas-space", choices=("mni", "native"), default="mni", help="space of the atlas (default: mni)"
    )
    both.add_argument("--unit-synthetic", choices=_UNITS, help="unit, when its files do not say")
    both.add_argument("--unit-real", choices=_UNITS, help="unit, when its files do not say")
    both.add_argument(
        "--scale-free",
        action="store_true",
        help="accept other units: compare patterns only, each over its mean",
    )
    both.add_argument(
        "--to-synthetic-unit",
        action="store_true",
        help="bring the real PET, whatever its unit, to that of the synthetic one by its own values in the "
        "brain: over their mean (SUVR), or from minimum to maximum (normalised)",
    )
    both.add_argument(
        "--fwhm", type=float, default=4.0, metavar="MM", help="smoothing of the real PET (default: 4)"
    )
    both.add_argument("--seed", type=int, default=0, help="seed of the CNR boxes (default: 0)")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import InputError

    single = args.synthetic is not None or args.real is not None
    if single + (args.run_folder is not None) + (args.pairs is not None) != 1:
        raise InputError(
            "Say what to evaluate.",
            "Give --synthetic S --real R (one case), or --run DIR, or --pairs CSV: one of the three.",
        )
    if not 0 < args.fwhm <= 30:
        raise InputError(f"--fwhm {args.fwhm} mm cannot be used.", "Give a value above 0, up to 30.")
    return _one(args, reporter) if single else _cohort(args, reporter)


def _atlases(args: argparse.Namespace, reporter: Reporter) -> list:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.templates.atlases import HARVARD_OXFORD, fetch_harvard_oxford, read_parcellation

    if args.labels is not None and len(args.atlas) != 1:
        raise InputError("--labels belongs to one --atlas.", "Put the tables of several atlases beside them.")
    found = []
    for name in args.atlas:
        if name.lower() == HARVARD_OXFORD:
            found.append(fetch_harvard_oxford())
            reporter.warning(found[-1].source)
        else:
            found.append(read_parcellation(Path(name), args.labels, space=args.atlas_space))
    return found


def _one(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.errors import InputError
    from MRI2PETLib.core.progress import part_of
    from MRI2PETLib.evaluation.case import evaluate_case
    from MRI2PETLib.evaluation.inputs import CasePaths, load_case
    from MRI2PETLib.reports import texts as wording
    from MRI2PETLib.reports.case_report import REPORT, write_case

    if args.synthetic is None or args.real is None:
        raise InputError("One of --synthetic and --real is missing.", "Give both.")
    atlases = _atlases(args, reporter)
    paths = CasePaths(args.synthetic, args.real, args.t1, args.mask, args.unit_synthetic, args.unit_real)
    case = load_case(
        paths,
        register=args.register,
        scale_free=args.scale_free,
        to_synthetic_unit=args.to_synthetic_unit,
        progress=part_of(reporter.progress, 0, 0.5),
    )
    result = evaluate_case(
        case,
        atlases=atlases,
        cubic=wording.cubic_coefficients(wording.bundle_of(case.model)),
        seed=args.seed,
        fwhm_mm=args.fwhm,
        progress=part_of(reporter.progress, 0.5, 0.9),
    )
    for reason in result.verdict.reasons("warn"):
        reporter.warning(reason)
    reporter.progress(0.9, 1, "writing the report")
    title = f"{args.synthetic.name.split('.')[0]}: synthetic against real PET"
    summary = write_case(args.output, title, case, result, atlases)
    reporter.progress(1, 1, "done")
    reporter.close()
    reporter.say(f"Report: {args.output / REPORT}")
    reporter.result({"report": args.output / REPORT, "scales": summary["scales"]})
    return 0


def _cohort(args: argparse.Namespace, reporter: Reporter) -> int:
    from MRI2PETLib.core.files import staged_folder
    from MRI2PETLib.evaluation.cohort import CohortSettings, evaluate_cohort
    from MRI2PETLib.evaluation.cohort_cases import read_pairs, read_run
    from MRI2PETLib.reports.case_report import REPORT
    from MRI2PETLib.reports.cohort_report import write_cohort

    cases = read_run(args.run_folder) if args.run_folder is not None else read_pairs(args.pairs)
    settings = CohortSettings(
        atlases=tuple(_atlases(args, reporter)),
        register=args.register,
        scale_free=args.scale_free,
        to_synthetic_unit=args.to_synthetic_unit,
        unit_synthetic=args.unit_synthetic,
        unit_real=args.unit_real,
        seed=args.seed,
        fwhm_mm=args.fwhm,
    )
    with staged_folder(args.output, last=REPORT) as staging:
        cohort = evaluate_cohort(cases, settings, staging, reporter)
        write_cohort(staging, f"Cohort {(args.run_folder or args.pairs.parent).resolve().name}", cohort)
    reporter.close()
    for line in cohort.summary_lines():
        reporter.say(line)
    reporter.say(f"Report: {args.output / REPORT}")
    if not cohort.exit_code:
        reporter.result(
            {"report": args.output / REPORT, "people": cohort.n_people, "scans": len(cohort.scans)}
        )
    return cohort.exit_code
