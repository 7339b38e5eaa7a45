"""What is added to the files of a synthesis: its picture, and the comparison with the real PET."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.synthesis.case_files import bundle_note, is_simulated, reference_of, scale_of

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MRI2PETLib.images.io import LoadedImage
    from MRI2PETLib.preprocessing.pet import PetImage
    from MRI2PETLib.synthesis.case_files import CaseFiles
    from MRI2PETLib.synthesis.cases import Case
    from MRI2PETLib.synthesis.pipeline import SynthesisResult


class CaseReport:
    """The picture of a case; for a case with a real PET also that PET on the T1, and its metrics.

    The real PET is brought to the scale of the synthetic one (for SUVR: divided by its own mean in the brain
    mask), which makes its own unit irrelevant as long as it is linear.
    """

    def __init__(
        self, bundle: Bundle, reporter: Reporter, *, point_mm: tuple[float, float, float] | None = None
    ) -> None:
        """
        :param point_mm: where the planes of the picture cross (LPS); default: the middle of the brain.
        """
        self._bundle, self._reporter, self._point_mm = bundle, reporter, point_mm
        self._pets: dict[Case, PetImage] = {}

    def read(self, case: Case) -> None:
        """Read the real PET.

        :raises InputError: if it cannot be used, or if the model makes no PET.
        """
        if case.inputs.pet is not None:
            from MRI2PETLib.core.errors import InputError
            from MRI2PETLib.preprocessing.pet import check_uptake, read_pet

            if self._bundle.space.target_modality != "PET":
                raise InputError(
                    f"{self._bundle.id} makes an MRI, which no PET can be compared with.", "Leave out --pet."
                )
            inputs = case.inputs
            pet = read_pet(
                case.inputs.pet,
                unit=inputs.pet_unit,
                window_min=inputs.window,
                realign_frames=inputs.realign_frames,
            )
            check_uptake(pet)
            self._pets[case] = pet

    def write(self, case: Case, files: CaseFiles, t1: LoadedImage, result: SynthesisResult) -> dict[str, Any]:
        """Write the picture and, with a real PET, that PET and ``metrics.json``.

        :return: ``pet_coverage``, the share of the brain that the real PET measured, if there is one.
        """
        pet, path = self._pets.pop(case, None), case.inputs.pet
        if pet is None or path is None:
            _draw(self._bundle, case, files, t1, result, real=None)
            return {}
        real, table, coverage = self._compare(pet, path, case, files, t1, result)
        name = "Simulated PET" if is_simulated(path) else "Real PET"
        _draw(self._bundle, case, files, t1, result, real=real, real_name=name, point_mm=self._point_mm)
        where = f"in the {100 * coverage:.3g} % of the brain that the PET measured"
        self._reporter.say(f"{case.name}, {where}, {result.unit}: {_summary(table)}")
        return {"pet_coverage": round(coverage, 4)}

    def _compare(
        self,
        pet: PetImage,
        path: Path,
        case: Case,
        files: CaseFiles,
        t1: LoadedImage,
        result: SynthesisResult,
    ) -> tuple[sitk.Image, dict[str, Any], float]:
        """The real PET in the unit of the synthetic one, the figures, and the share of the brain that the PET
        measured; images and figures are written, too.
        """
        import SimpleITK as sitk

        from MRI2PETLib.core.files import write_json
        from MRI2PETLib.core.findings import Verdict
        from MRI2PETLib.evaluation.reference_region import in_unit_of
        from MRI2PETLib.images.formats import GENERATED_BY
        from MRI2PETLib.images.io import write_image
        from MRI2PETLib.models.scale_end import real_at_scale_end
        from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1, mark_unmeasured
        from MRI2PETLib.preprocessing.tracers import check_tracer

        aligned = align_pet_to_t1(pet, t1.image, result.mask, register=case.inputs.register)
        tracers = check_tracer(pet.metadata["tracer"], self._bundle.tracer, "the model")
        self._reporter.tell(pet.verdict + aligned.verdict + tracers, case.name)
        region = sitk.And(sitk.Cast(result.mask != 0, sitk.sitkUInt8), aligned.measured)
        to_template = None
        if self._bundle.space.named_reference:
            to_template = warp_of(result, t1.image, files.warp)
        real = in_unit_of(self._bundle.space, aligned.image, result.mask, region, to_template)
        self._reporter.tell(Verdict(real_at_scale_end(scale_of(self._bundle.space), real, region)), case.name)
        about: dict[str, Any] = {
            **GENERATED_BY,
            "Sources": [case.address(path)],
            "SpatialReference": case.address(case.t1),
            "SkullStripped": False,
            "Units": result.unit,
            "UnitsMeaning": self._bundle.space.unit_meaning,
            **reference_of(self._bundle.space),
            "Source": {"path": str(path), "sha256": pet.sha256, **pet.metadata, "unit": pet.unit},
            "Alignment": aligned.record(),
        }
        sidecar = {**about, "Description": "The real PET on the T1 grid, in the unit of the synthetic one."}
        write_image(mark_unmeasured(real, aligned.measured), files.real, sidecar, forms=t1.forms)
        table = compare_predictors(self._bundle, t1.image, result, real, region, files.warp)
        note = {
            "Description": bundle_note(self._bundle),
            "Where": "brain mask where the PET was measured, T1 grid",
            "Simulated": is_simulated(path),
        }
        write_json(files.metrics, {**note, **about, **table})
        return real, table, aligned.coverage


def warp_of(result: SynthesisResult, t1: sitk.Image, path: Path | None) -> sitk.Transform | None:
    """From points of the person to MNI points, kept in ``path``; ``None`` without a fit."""
    from MRI2PETLib.preprocessing.warp_file import person_warp

    fit = result.extraction.template_to_native
    return None if fit is None else person_warp(t1, result.mask, fit, path)


def compare_predictors(
    bundle: Bundle,
    t1: sitk.Image,
    result: SynthesisResult,
    real: sitk.Image,
    region: sitk.Image,
    warp_path: Path | None = None,
) -> dict[str, Any]:
    """``Metrics`` of the synthetic PET against the real one, and ``Baselines``: what others reach.

    :param warp_path: where the warp of the T1 is kept, see :func:`.warp_file.person_warp`.

    See :func:`MRI2PETLib.evaluation.baselines.predictors` for what each baseline knows.
    """
    import SimpleITK as sitk

    from MRI2PETLib.evaluation.baselines import NETWORK, Person, cubic_of_bundle, predictors
    from MRI2PETLib.evaluation.compare import compare, measure
    from MRI2PETLib.evaluation.direction import Direction
    from MRI2PETLib.images.grid import crop_to

    fit, warp = result.extraction.template_to_native, warp_of(result, t1, warp_path)
    mask = crop_to(region, region, 0.0)
    pet, truth, anatomy = (crop_to(image, region, 0.0) for image in (result.pet, real, t1))
    brain, synthetic, measured = (sitk.GetArrayViewFromImage(i) for i in (mask, pet, truth))
    person = Person(mask, anatomy, Direction.of_bundle(bundle), fit, warp)
    rows = predictors(synthetic, person, cubic=cubic_of_bundle(bundle))
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
    from MRI2PETLib.evaluation.metrics import METRICS

    metrics = table["Metrics"]
    names = ("pearson_r", "mse", "normdiff_median", "cnr_synthetic_median_abs", "cnr_real_median_abs")
    values = {METRICS[name].label: metrics[name] for name in names}
    values |= {f"r of {name}": row.get("pearson_r") for name, row in table["Baselines"].items()}
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None)


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
    from MRI2PETLib.reports.comparison_figure import comparison_figure
    from MRI2PETLib.reports.thumbnail import write_thumbnail

    comparison_figure(
        t1.image,
        result.pet,
        real,
        result.mask,
        files.picture,
        title=f"{case.name}: synthetic {bundle.tracer} PET",
        unit=result.unit,
        note=bundle_note(bundle),
        real_name=real_name,
        error_sd=result.error_sd,
        point_mm=point_mm,
    )
    is_pet = bundle.space.target_modality == "PET"
    write_thumbnail(t1.image, result.pet, result.mask, files.thumbnail, is_pet=is_pet)
