"""What is added to the files of a synthesis: its picture, and the comparison with a real PET of the same
person.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.models.bundle import Bundle

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MRI2PETLib.images.io import LoadedImage
    from MRI2PETLib.synthesis.batch import AfterCase
    from MRI2PETLib.synthesis.case_files import CaseFiles
    from MRI2PETLib.synthesis.cases import Case
    from MRI2PETLib.synthesis.pipeline import SynthesisResult


def add_picture(bundle: Bundle) -> AfterCase:
    """Write a PNG of the T1 with the synthetic PET over it."""

    def after(case: Case, files: CaseFiles, t1: LoadedImage, result: SynthesisResult) -> None:
        _draw(bundle, case, files, t1, result, real=None)

    return after


def add_comparison(
    bundle: Bundle,
    pet_path: Path,
    pet_unit: str | None,
    reporter: Reporter,
    *,
    register: str = "auto",
    point_mm: tuple[float, float, float] | None = None,
) -> AfterCase:
    """Bring a real PET to the T1, and write the picture of both and ``metrics.json``.

    The PET is read at once, so that a bad file is refused before anything runs. It is brought to the scale of
    the synthetic PET (for SUVR: divided by its own mean in the brain mask), which makes its own unit
    irrelevant as long as it is linear.

    :param register: see :mod:`MRI2PETLib.preprocessing.pet_alignment`.
    :param point_mm: where the planes of the picture cross (LPS); default: the middle of the brain.
    :raises InputError: if the PET cannot be read.
    """
    from MRI2PETLib.preprocessing.pet import read_pet, to_unit
    from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1

    pet = read_pet(pet_path, unit=pet_unit)
    for reason in pet.verdict.reasons("warn"):
        reporter.warning(reason)

    def after(case: Case, files: CaseFiles, t1: LoadedImage, result: SynthesisResult) -> None:
        from MRI2PETLib.core.files import write_json
        from MRI2PETLib.images.io import write_image
        from MRI2PETLib.synthesis.case_files import UNIT_MEANING, is_simulated, synthetic_note

        aligned = align_pet_to_t1(pet, t1.image, result.mask, register=register)
        for reason in aligned.verdict.reasons("warn"):
            reporter.warning(f"{case.name}: {reason}")
        real = to_unit(aligned.image, result.mask, result.unit)
        about = {
            "Units": result.unit,
            "UnitsMeaning": UNIT_MEANING[result.unit],
            "Source": {"path": str(pet_path), "sha256": pet.sha256, **pet.metadata, "unit": pet.unit},
            "Alignment": aligned.record(),
        }
        write_image(real, files.real, about, forms=t1.forms)
        table = compare_predictors(bundle, t1.image, result, real)
        write_json(
            files.metrics,
            {
                "Description": synthetic_note(bundle),
                "Where": "brain mask, T1 grid",
                "Simulated": is_simulated(pet_path),
                **about,
                **table,
            },
        )
        name = "Simulated PET" if is_simulated(pet_path) else "Real PET"
        _draw(bundle, case, files, t1, result, real=real, real_name=name, point_mm=point_mm)
        reporter.say(f"{case.name}, in the brain, {result.unit}: {_summary(table)}")

    return after


def compare_predictors(
    bundle: Bundle, t1: sitk.Image, result: SynthesisResult, real: sitk.Image
) -> dict[str, Any]:
    """``Metrics`` of the synthetic PET against the real one, and ``Baselines``: what others reach on the
    same case.

    See :func:`MRI2PETLib.evaluation.baselines.predictors` for what each baseline knows.
    """
    import SimpleITK as sitk

    from MRI2PETLib.evaluation.baselines import NETWORK, predictors
    from MRI2PETLib.evaluation.compare import compare, measure
    from MRI2PETLib.images.grid import crop_to

    mask = crop_to(result.mask, result.mask, 0.0)
    pet, truth, anatomy = (crop_to(image, result.mask, 0.0) for image in (result.pet, real, t1))
    brain, synthetic, measured = (sitk.GetArrayViewFromImage(i) for i in (mask, pet, truth))
    cubic = bundle.metadata.get("baselines", {}).get("cubic_of_t1", {}).get("coefficients")
    rows = predictors(synthetic, mask, anatomy, result.extraction.template_to_native, cubic=cubic)
    baselines: dict[str, Any] = {}
    for row in (row for row in rows if row.name != NETWORK):
        if row.values is None:
            baselines[row.name] = {"uses": row.uses, "not_available": row.reason}
        else:
            measures = measure(row.values, measured, brain)
            baselines[row.name] = {"uses": row.uses, **{k: m.value for k, m in measures.items()}}
    return {
        "Metrics": compare(synthetic, measured, brain, mask.GetSpacing()[::-1]),
        "Baselines": baselines,
    }


def _summary(table: dict[str, Any]) -> str:
    """One line: the network's figures and the r of the baselines."""
    metrics = table["Metrics"]
    shown = {
        "r": metrics["pearson_r"],
        "MSE": metrics["mse"],
        "NormDiff": metrics["normdiff_median"],
        "CNR": metrics["cnr_synthetic_median_abs"],
        "CNR of the real PET": metrics["cnr_real_median_abs"],
    }
    shown |= {f"r of {name}": row.get("pearson_r") for name, row in table["Baselines"].items()}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items() if value is not None)


def _draw(
    bundle: Bundle,
    case: Case,
    files: CaseFiles,
    t1: LoadedImage,
    result: SynthesisResult,
    *,
    real: sitk.Image | None,
    real_name: str = "",
    point_mm: tuple[float, float, float] | None = None,
) -> None:
    from MRI2PETLib.reports.figures import comparison_figure
    from MRI2PETLib.synthesis.case_files import synthetic_note

    comparison_figure(
        t1.image,
        result.pet,
        real,
        result.mask,
        files.picture,
        title=f"{case.name}: synthetic {bundle.tracer} PET",
        unit=result.unit,
        note=synthetic_note(bundle),
        real_name=real_name,
        point_mm=point_mm,
    )
