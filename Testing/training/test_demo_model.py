"""The recipe of the demonstration model: anatomies, activity, pairs, exact resume, gates, commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder, write_json
from MRI2PETLib.models import unet
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETLib.models.model_space import ModelSpace, encode, with_grid
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.templates.icbm152 import load_template
from TSPODemoModel import (
    activity_model,
    anatomies,
    average_anatomies,
    calibration,
    gates,
    held_out_people,
    model_card,
    real_donors,
    simulated_pairs,
    training,
    work_folder,
)
from TSPODemoModel.activity_model import ActivityModel, Donor
from TSPODemoModel.anatomies import PersonAnatomy
from TSPODemoModel.commands import bundle as bundle_command
from TSPODemoModel.commands import gates as gates_command
from TSPODemoModel.commands import prepare as prepare_command
from TSPODemoModel.commands import train as train_command
from TSPODemoModel.held_out_people import CUBIC, Row, mean_of
from TSPODemoModel.simulated_pairs import EXPECTED, NO_VARIATION, People
from TSPODemoModel.training import Stage, train_model
from TSPODemoModel.work_folder import WorkFolder

COMMANDS = {
    "prepare": prepare_command,
    "train": train_command,
    "bundle": bundle_command,
    "gates": gates_command,
}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


@pytest.fixture(scope="module")
def simulated() -> list[SimulatedSubject]:
    return [simulate_subject(seed, spacing_mm=2.0) for seed in (1, 2)]


@pytest.fixture(scope="module")
def people(
    simulated: list[SimulatedSubject], tmp_path_factory: pytest.TempPathFactory
) -> list[PersonAnatomy]:
    """Two simulated people as stage 1 makes and stores them."""
    folder = tmp_path_factory.mktemp("t1")
    t1s = {}
    for number, person in enumerate(simulated):
        t1s[f"sub-{number}"] = folder / f"sub-{number}_T1w.nii.gz"
        sitk.WriteImage(person.t1, str(t1s[f"sub-{number}"]))
    made = anatomies.prepare_anatomies(anatomies.find_t1s(folder), folder / "cache", workers=1)
    assert list(made) == list(t1s)
    return [anatomies.load_anatomy(path) for path in made.values()]


@pytest.fixture(scope="module")
def donors() -> list[Donor]:
    """Eight maps of known origin: the tissue model with random smooth variation, at the maps' resolution."""
    rng = np.random.default_rng(0)
    grid = load_template().mask
    made = []
    for n in range(8):
        noise = sitk.GetImageFromArray(rng.standard_normal((8, 8, 8)).astype(np.float32))
        noise.SetOrigin(grid.GetOrigin())
        noise.SetDirection(grid.GetDirection())
        noise.SetSpacing([s * (n - 1) / 7 for s, n in zip(grid.GetSpacing(), grid.GetSize())])
        field = sitk.GetArrayFromImage(sitk.Resample(noise, grid, sitk.Transform(), sitk.sitkLinear))
        values = activity_model._blur(
            activity_model.template_tissue() * np.exp(0.1 * field), activity_model.MAP_FWHM_MM
        )
        values = values / values[activity_model.template_brain()].mean()
        made.append(Donor(f"sub-{'control' if n < 4 else 'patient'}{n}", n < 4, values.astype(np.float32)))
    return made


@pytest.fixture(scope="module")
def model(donors: list[Donor]) -> ActivityModel:
    return activity_model.build_activity(donors, activity_model.template_tissue())


@pytest.fixture(scope="module")
def loaded(people: list[PersonAnatomy], model: ActivityModel) -> People:
    return simulated_pairs.load_people(people, model, 48, CPU)


def test_the_way_to_the_template_is_found(
    people: list[PersonAnatomy], simulated: list[SimulatedSubject]
) -> None:
    """Median error of where a native point lies in MNI space: affine + demons, against the known truth.

    Measured 1.4 to 1.9 mm; the affine alone has about 3 mm.
    """
    for person, truth in zip(people, simulated):
        brain = np.argwhere(sitk.GetArrayViewFromImage(truth.brain_mask))[::997, ::-1]
        native = [truth.brain_mask.TransformIndexToPhysicalPoint(p) for p in brain.tolist()]
        truth_to_template = truth.template_to_native.GetInverse()
        errors = {
            name: np.median(
                [
                    np.linalg.norm(np.subtract(way.TransformPoint(p), truth_to_template.TransformPoint(p)))
                    for p in native
                ]
            )
            for name, way in (("demons", person.to_template()), ("affine", person.affine_to_template()))
        }
        assert errors["demons"] < 2.5
        assert errors["demons"] < errors["affine"]


def test_tissue_follows_the_person(people: list[PersonAnatomy], simulated: list[SimulatedSubject]) -> None:
    """Dice of the most probable tissue with the simulated one: grey and white matter."""
    for person, truth in zip(people, simulated):
        total = person.gm + person.wm + person.csf
        assert total.max() <= 1 + 3 / 255 and total[~person.mask].max() == 0
        labels = sitk.GetArrayFromImage(
            sitk.Resample(truth.tissue, person.grid.image(), sitk.Transform(), sitk.sitkNearestNeighbor)
        )
        best = np.where(total > 0.5, 1 + np.argmax([person.gm, person.wm, person.csf], axis=0), 0)
        for tissue in (1, 2):
            dice = 2 * np.sum((best == tissue) & (labels == tissue))
            assert dice / np.sum((best == tissue).astype(int) + (labels == tissue)) > 0.75


def test_a_stored_anatomy_keeps_its_precision(people: list[PersonAnatomy], tmp_path: Path) -> None:
    anatomies.save_anatomy(people[0], tmp_path / "a.npz")
    again = anatomies.load_anatomy(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_size < 1.5e6
    assert again.grid == people[0].grid
    np.testing.assert_allclose(again.t1 / again.t1.max(), people[0].t1 / people[0].t1.max(), atol=1e-5)
    np.testing.assert_allclose(again.gm, people[0].gm, atol=1e-6)
    np.testing.assert_allclose(again.displacement, people[0].displacement, atol=0.006)
    np.testing.assert_array_equal(again.mask, people[0].mask)


def test_an_unusable_t1_is_left_out_with_its_reason(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image(90, 90, 90, sitk.sitkFloat32), str(tmp_path / "sub-x_T1w.nii.gz"))
    assert anatomies.prepare_anatomies(anatomies.find_t1s(tmp_path), tmp_path / "cache", 1) == {}
    assert "sub-x_T1w" in (tmp_path / "cache" / "sub-x.txt").read_text()


def test_split_is_by_person_complete_and_stable() -> None:
    everyone = [f"sub-{n:02d}" for n in range(62)]
    split = anatomies.split_people(everyone, 1)
    assert sorted(split.train + split.validation + split.test) == everyone
    assert len(split.test) >= 12
    assert split == anatomies.split_people(reversed(everyone), 1)
    assert split != anatomies.split_people(everyone, 2)
    # Who is left out does not move the others between training and test by more than the quota.
    fewer = anatomies.split_people(everyone[1:], 1)
    assert len(set(split.test) ^ set(fewer.test)) <= 2
    with pytest.raises(InputError, match="too few"):
        anatomies.split_people(everyone[:20], 1)


def test_correction_makes_tissue_look_like_the_real_mean(donors: list[Donor]) -> None:
    """Known truth: the maps are blurred tissue times a smooth field; r over .99 with it."""
    mean = activity_model.mean_map(donors[:4])
    tissue = activity_model.template_tissue()
    image = activity_model._blur(
        tissue * activity_model.tissue_correction(mean, tissue), activity_model.MAP_FWHM_MM
    )
    where = activity_model.template_brain() & (mean > 0.2)
    assert activity_model.correlation_in(image, mean, where) > 0.99


def test_components_are_one_sd_of_the_donors(donors: list[Donor], model: ActivityModel) -> None:
    """Seven components of eight maps; together they have the variance of the maps' logarithms."""
    assert model.components.shape[0] == 7
    where = activity_model.template_brain()
    logs = np.stack([activity_model._log_ratio(d.values, activity_model.mean_map(donors)) for d in donors])[
        :, where
    ]
    np.testing.assert_allclose(
        (model.components[:, where] ** 2).sum(0).mean(), logs.var(axis=0, ddof=1).mean(), rtol=0.02
    )


def test_held_out_donors_leave_no_trace(donors: list[Donor]) -> None:
    training = activity_model.training_donors(donors, 5)
    assert sum(d.is_control for d in training) == 2 and len(training) == 4
    changed = [d if d in training else replace(d, values=d.values * 2 + 1) for d in donors]
    a, b = (
        activity_model.build_activity(
            activity_model.training_donors(maps, 5), activity_model.template_tissue()
        )
        for maps in (donors, changed)
    )
    np.testing.assert_array_equal(a.correction, b.correction)
    np.testing.assert_array_equal(a.components, b.components)
    np.testing.assert_array_equal(a.focal, b.focal)


def test_positions_equal_the_transform_of_simpleitk(people: list[PersonAnatomy]) -> None:
    """A linear ramp of MNI coordinates sampled both ways, in mm."""
    template = load_template().mask
    k, j, i = np.indices(template.GetSize()[::-1])
    direction = np.reshape(template.GetDirection(), (3, 3)) * template.GetSpacing()
    ramp = sitk.GetImageFromArray((direction[1, 1] * j + template.GetOrigin()[1]).astype(np.float32))
    ramp.CopyInformation(template)
    where = simulated_pairs.template_positions(people[0], 96)
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(sitk.GetArrayFromImage(ramp))[None, None], where, align_corners=False
    )[0, 0].numpy()
    inside = people[0].mask
    np.testing.assert_allclose(sampled[inside], people[0].from_template(ramp)[inside], atol=0.02)


def test_there_and_back(people: list[PersonAnatomy]) -> None:
    """Native to MNI to native: the numerical inverse on 6 mm nodes, median .1 mm at most."""
    person = people[0]
    there, back = person.to_template(), person.from_mni_points()
    image = person.grid.image(person.mask.astype(np.uint8))
    points = [image.TransformIndexToPhysicalPoint(p) for p in np.argwhere(person.mask)[::2503, ::-1].tolist()]
    away = [np.linalg.norm(np.subtract(back.TransformPoint(there.TransformPoint(p)), p)) for p in points]
    assert np.median(away) < 0.1 and np.percentile(away, 95) < 1.0


def test_averages_lie_in_mni_space_and_lose_what_differs(people: list[PersonAnatomy]) -> None:
    """Of one person: that person in MNI space. Of two: a smaller SD, tissue that still sums to 1."""
    (alone,) = average_anatomies.average_anatomies([people[0]] * 3, 1, seed=0)
    there = alone.onto(alone.grid, alone.gm)[0]
    np.testing.assert_allclose(there, alone.gm, atol=1e-3)  # MNI is its native space
    moved = people[0].onto(alone.grid, people[0].gm, people[0].mask.astype(np.float32))
    inside = alone.mask & (moved[1] > 0.99)
    np.testing.assert_allclose(alone.gm[inside], moved[0][inside], atol=0.01)
    (both,) = average_anatomies.average_anatomies(people * 2, 1, seed=0)
    inside &= both.mask
    assert both.t1[inside].std() < alone.t1[inside].std()
    total = both.gm + both.wm + both.csf
    assert total.max() < 1.02 and np.median(total[inside]) > 0.98
    np.testing.assert_array_equal(
        both.gm, average_anatomies.average_anatomies(people * 2, 1, seed=0)[0].gm
    )  # a function of the seed


def test_the_people_for_whom_it_was_made_look_like_the_donors_on_average(
    people: list[PersonAnatomy], donors: list[Donor]
) -> None:
    """Their mean tissue, corrected, is closer to the control mean than when the template's was corrected."""
    mean = activity_model.mean_map(donors[:4])
    tissue, where = average_anatomies.mean_tissue(people), activity_model.template_brain() & (mean > 0.2)
    own, template = (
        activity_model._blur(tissue * activity_model.tissue_correction(mean, of), activity_model.MAP_FWHM_MM)
        for of in (tissue, activity_model.template_tissue())
    )
    assert activity_model.correlation_in(own, mean, where) > activity_model.correlation_in(
        template, mean, where
    )
    assert activity_model.correlation_in(own, mean, where) > 0.98


def test_a_known_map_is_recognised(donors: list[Donor]) -> None:
    """The unseen controls' own mean has r 1, above the seen donors' mean, and their regional ratios."""
    training = activity_model.training_donors(donors, 5)
    unseen = [donor for donor in donors if donor not in training]
    truth = activity_model.mean_map([donor for donor in unseen if donor.is_control])
    check = real_donors.check_real(truth, truth, unseen, training)
    assert check.r == pytest.approx(1) and check.inner_r == pytest.approx(1) and check.share >= 1
    assert check.largest_ratio_error == 0
    lone = real_donors.check_real(truth, truth, donors, None)
    assert lone.r < 1


def test_source_is_what_the_program_feeds_the_network(
    loaded: People, people: list[PersonAnatomy], simulated: list[SimulatedSubject]
) -> None:
    """Against ``encode`` of the T1 itself, on the overlap of the masks; the pair is sampled once more."""
    pair = simulated_pairs.make_pairs(loaded, [0], 0, EXPECTED)
    axes = people[0].grid.direction
    encoded = encode(simulated[0].t1, simulated[0].brain_mask, axes, with_grid(ModelSpace(), 48, 4.0))
    mask = pair.mask[0, 0].numpy() > 0
    both = mask & (encoded.mask > 0)
    assert 2 * both.sum() / (mask.sum() + encoded.mask.sum()) > 0.97
    assert np.corrcoef(pair.source[0, 0].numpy()[both], encoded.source[both])[0, 1] > 0.99


def test_pairs_are_a_function_of_the_seed(loaded: People) -> None:
    first, again, other = (simulated_pairs.make_pairs(loaded, [0, 1], seed) for seed in (3, 3, 4))
    assert torch.equal(first.source, again.source) and torch.equal(first.target, again.target)
    assert not torch.equal(first.source, other.source)
    for pair in (first, other):
        assert pair.source.shape == (2, 1, 48, 48, 48)
        assert pair.source.min() >= 0 and pair.source.max() <= 1 and pair.target.max() <= 1
        mean = (pair.target * pair.mask).sum((1, 2, 3, 4)) / pair.mask.sum((1, 2, 3, 4))
        torch.testing.assert_close(mean, torch.full_like(mean, 0.5), atol=0.01, rtol=0)  # clamped at 2 SUVR
        assert pair.target[pair.mask == 0].abs().max() == 0


def test_variation_can_be_switched_off(loaded: People) -> None:
    """The same anatomy under all seeds; noise of 2 to 20 % where only the PET varies."""
    still = [simulated_pairs.make_pairs(loaded, [0], seed, EXPECTED) for seed in (1, 2)]
    assert torch.equal(still[0].source, still[1].source) and torch.equal(still[0].target, still[0].clean)
    pet = simulated_pairs.make_pairs(loaded, [0], 1, replace(EXPECTED, scanner=True))
    assert torch.equal(pet.source, still[0].source)
    noise = (pet.target - pet.clean)[pet.mask > 0].std() / 0.5
    assert 0.02 < noise < 0.2


def test_minmax_target_has_the_published_level(loaded: People) -> None:
    """Mean in the brain .14 +- .04 over people (Ferrante et al. 2025, Table 2): 40 draws, 5 SE."""
    levels = [
        simulated_pairs.make_pairs(loaded, [0], seed, EXPECTED, target="minmax").target[0, 0].numpy()
        for seed in range(40)
    ]
    inside = levels[0] > 0
    means = [float(level[inside].mean()) for level in levels]
    assert abs(np.mean(means) - 0.14) < 5 * 0.04 / np.sqrt(40)
    assert 0.02 < np.std(means) < 0.06


def test_blur_has_the_width_it_says() -> None:
    """Second moment of a blurred point, in voxels; the kernel is cut and sampled: 3 %."""
    point = torch.zeros(2, 1, 21, 21, 21)
    point[:, :, 10, 10, 10] = 1
    fwhm = torch.tensor([2.0, 3.5])
    blurred = simulated_pairs._blur(point, fwhm)
    offset = torch.arange(21.0) - 10
    for image, width in zip(blurred[:, 0], fwhm):
        torch.testing.assert_close(image.sum(), torch.tensor(1.0))
        variance = (image.sum((1, 2)) * offset**2).sum()
        torch.testing.assert_close(variance.sqrt() * 2.3548, width, rtol=0.03, atol=0)
    white = torch.randn(2, 1, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    contrast = simulated_pairs._blur(white, fwhm)[:, 0, 6:-6, 6:-6, 6:-6].flatten(1).std(1)
    torch.testing.assert_close(contrast, simulated_pairs._blur_norm(fwhm), rtol=0.05, atol=0)


def small_stage(name: str, size: int, **changes: Any) -> Stage:
    """A stage on so few voxels of so many millimetres that a step takes no time."""
    space = ModelSpace(size=(size,) * 3, spacing_mm=8.0)
    own = {"name": name, "space": space, "epochs": 2, "ema_decay": 0.9, **changes}
    return Stage(replace(training.STAGES["6mm"].preset, **own))


SMALL = [small_stage("first", 16), small_stage("second", 24)]
ABOUT = {"people": ["a", "b"]}


def weights(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("*/network.safetensors"))}


def test_a_stopped_training_goes_on_exactly(
    people: list[PersonAnatomy], model: ActivityModel, tmp_path: Path
) -> None:
    """The same bytes from the same seed: unbroken, and stopped after every epoch, over all stages."""

    ready = {size: simulated_pairs.load_people(people, model, size, CPU) for size in (16, 24)}

    def load(stage: Stage) -> tuple[People, People]:
        return ready[stage.size], ready[stage.size]

    whole = train_model(SMALL, load, tmp_path / "whole", seed=3, about=ABOUT)
    assert [t.stage.preset.name for t in whole][:2] == ["first", "second"]
    stops = 0
    while True:
        try:
            parts = train_model(SMALL, load, tmp_path / "parts", seed=3, about=ABOUT, minutes=0)
            break
        except training.TimeIsUp:
            stops += 1
            assert stops < 10
    assert stops >= 2
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert [t.error for t in whole] == [t.error for t in parts]
    earlier = training.finished(SMALL, tmp_path / "parts", seed=3, about=ABOUT)
    assert earlier is not None and [t.epoch for t in earlier] == [t.epoch for t in whole]
    assert training.trained_stages("3mm", tmp_path / "nothing") == training.stages_to("3mm")
    assert training.finished(SMALL, tmp_path / "nothing", seed=3, about=ABOUT) is None
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(InputError, match="other settings"):
        train_model(SMALL, load, tmp_path / "parts", seed=4, about=ABOUT)
    with pytest.raises(InputError, match="other settings"):
        train_model(SMALL, load, tmp_path / "parts", seed=3, about={"people": ["c"]})


def test_a_model_is_trained_from_coarse_to_fine(tmp_path: Path) -> None:
    """192 mm at every stage, 64^3 at 3 mm the third of them with 2000 steps or more on 43 people."""
    stages = training.stages_to("3mm")
    assert [stage.size for stage in stages] == [32, 48, 64]
    assert all(stage.size * stage.preset.space.spacings_mm[0] == 192 for stage in stages)
    assert stages[-1].preset.epochs * (43 + stages[-1].averages) >= 2000
    shorter = training.stages_to("3mm", 12)
    assert shorter[:2] == stages[:2] and shorter[2].preset.epochs == 12
    about = {"settings": shorter[2].to_dict()}
    write_json(make_folder(tmp_path / "3mm") / training.STAGE, about)
    assert training.trained_stages("3mm", tmp_path) == shorter
    assert training.stages_to("2mm")[:3] == stages


def test_every_epoch_shows_everyone_in_another_way_and_validation_the_same(loaded: People) -> None:
    training_pairs = training.SimulatedPairs(loaded, seed=1, target="suvr-half")
    assert len(training_pairs) == 2
    first, again, other = (training_pairs[key] for key in ((0, 1), (0, 1), (1, 1)))
    assert torch.equal(first["source"], again["source"]) and torch.equal(first["target"], again["target"])
    assert not torch.equal(first["source"], other["source"])
    validation = training.ValidationPairs(loaded, "suvr-half")
    assert len(validation) == 6
    assert torch.equal(validation[(0, 4)]["target"], validation[(7, 4)]["target"])
    assert not torch.equal(validation[(0, 4)]["target"], validation[(0, 5)]["target"])
    assert torch.equal(validation[(0, 3)]["source"], validation[(0, 5)]["source"])  # of one person


def test_table_ranks_what_is_known(people: list[PersonAnatomy], model: ActivityModel, loaded: People) -> None:
    """The oracle beats the warped maps, these the constant."""
    predict = random_model()
    baselines = held_out_people.fit_baselines(loaded)
    table = held_out_people.table_of(predict, 48, model, baselines, people)
    error = {name: row.scale_free_mse for name, row in table.items()}
    assert error[held_out_people.ORACLE] < error[held_out_people.WARPED] < error["constant"]
    assert table[held_out_people.ORACLE].r > 0.8 and table[held_out_people.ORACLE].own_best == 1
    assert table["constant"].r == 0 and table["constant"].own_first == 0
    assert error[CUBIC] < error["constant"]


def test_the_cubic_sees_the_t1_at_the_resolution_of_the_pet(loaded: People) -> None:
    """Coefficients by hand: of T1s smoothed by 5.4 mm inside the mask, all voxels of both people alike."""
    x, y = [], []
    for n in range(2):
        seed = held_out_people.TEST_SEED - 1 - n
        pair = simulated_pairs.make_pairs(loaded, [n], seed, NO_VARIATION)
        t1, target, mask = (t[0, 0].numpy() for t in (pair.source, pair.target, pair.mask))
        sigma = 5.4 / 2.3548 / 4.0
        weight = ndimage.gaussian_filter(mask, sigma, mode="constant")
        smooth = ndimage.gaussian_filter(t1 * mask, sigma, mode="constant") / np.maximum(weight, 1e-6)
        x.append(smooth[mask > 0])
        y.append(target[mask > 0])
    fit = np.polynomial.polynomial.polyfit(np.concatenate(x).astype(float), np.concatenate(y), 3)
    probe = np.linspace(0.2, 0.9, 8)
    result = held_out_people.fit_baselines(loaded).cubic
    polyval = np.polynomial.polynomial.polyval
    np.testing.assert_allclose(polyval(probe, result), polyval(probe, fit), atol=0.01)


def random_model(seed: int = 0) -> held_out_people.PredictFunction:
    torch.manual_seed(seed)
    return mean_of([unet.build({"n_channels": 8, "n_levels": 2}).eval()])


def test_a_cavity_that_the_t1_shows_is_followed_or_not(
    people: list[PersonAnatomy], model: ActivityModel
) -> None:
    """The truth follows by 1, a model that ignores the T1 by 0; the mask and the rest of the person stay."""
    changed, where = held_out_people.with_cavity(people[0])
    assert 500 < where.sum() < 1000  # 4/3 pi 12^3 mm^3 / 8 = 905 voxels of 2 mm
    for name in ("t1", "gm", "wm", "csf"):
        before, after = getattr(people[0], name), getattr(changed, name)
        np.testing.assert_array_equal(before[~where], after[~where])
    assert (changed.csf[where] == 1).all() and changed.t1[where].std() == 0
    left = people[0].grid.image(where.astype(np.uint8))
    filter_ = sitk.LabelShapeStatisticsImageFilter()
    filter_.Execute(left)
    brain = sitk.LabelShapeStatisticsImageFilter()
    brain.Execute(people[0].grid.image(people[0].mask.astype(np.uint8)))
    assert filter_.GetCentroid(1)[0] > brain.GetCentroid(1)[0] + 25  # LPS: x grows to the left

    truths = {
        float(pair.source.sum()): pair.clean
        for person in people
        for one in (person, held_out_people.with_cavity(person)[0])
        for pair in [
            simulated_pairs.make_pairs(simulated_pairs.load_people([one], model, 48, CPU), [0], 0, EXPECTED)
        ]
    }
    ideal = held_out_people.cavity_response(lambda x: truths[float(x.sum())], 48, model, people)
    assert ideal == pytest.approx(1)
    blind = held_out_people.cavity_response(lambda x: torch.full_like(x, 0.5), 48, model, people)
    assert blind == 0


def test_calibrated_sd_is_that_of_the_residuals(people: list[PersonAnatomy], model: ActivityModel) -> None:
    """A prediction that is 1 SUVR too high everywhere has this bias beside what varies."""
    expected = {
        float(pair.source.sum()): pair.clean
        for n in range(2)
        for pair in [
            simulated_pairs.make_pairs(simulated_pairs.load_people(people, model, 48, CPU), [n], 0, EXPECTED)
        ]
    }
    sd = [
        calibration.calibrate(lambda x, shift=shift: expected[float(x.sum())] + shift, 48, model, people)[
            "sd"
        ]
        for shift in (0.0, 0.5)
    ]
    assert set(sd[0]) >= {"left thalamus", "brainstem", calibration.ELSEWHERE}
    for name in sd[0]:
        assert 0.01 < sd[0][name] < 0.4
        # Root of variance + bias^2, where the mean residual is nearly zero: 1 SUVR of shift.
        assert sd[1][name] == pytest.approx((sd[0][name] ** 2 + 1) ** 0.5, rel=0.1)


ROWS = {
    held_out_people.NETWORK_ROW: Row(0.020, 0.90, 0.85, 1.0, 1.0, 0.0),
    "constant": Row(0.10, 0.0, 0.1, 0.0, 0.0, 0.0),
    held_out_people.UNWARPED[1]: Row(0.05, 0.6, 0.7, 0.0, 0.0, 0.0),
    CUBIC: Row(0.06, 0.6, 0.5, 1.0, 1.0, 0.0),
    held_out_people.FIVE: Row(0.030, 0.80, 0.80, 1.0, 1.0, 0.0),
    held_out_people.AFFINE: Row(0.026, 0.82, 0.82, 1.0, 1.0, 0.0),
    held_out_people.WARPED: Row(0.021, 0.84, 0.83, 1.0, 1.0, 0.0),
    held_out_people.ORACLE: Row(0.010, 0.95, 0.95, 1.0, 1.0, 0.0),
}


def _real(share: float, error: float, of_people: float | None = None) -> gates.Unseen:
    template, people = (
        real_donors.RealCheck(0.85, 0.8, 0.9, share, 0.8, 0.7, 0.9, 0.8, {"a": 1 + e}, {"a": 1.0})
        for e in (error, error if of_people is None else of_people)
    )
    return gates.Unseen(template, people, {"a": 1.2}, "4mm", 16, ["c"])


def test_gates_by_hand() -> None:
    """.020 / .030 = .67; .020 / .021 = .95; half the gap; r + .10; SSIM + .02; 60 % of a cavity."""
    space = with_grid(ModelSpace(), 48, 4.0)
    result = gates.judge(space, ROWS, _real(0.5, 0.1), 0.6, {"a": 0.97})
    assert {g.name: g.value for g in result}["G2"] == "0.50"
    assert all(gate.passed for gate in result)
    worse = ROWS | {held_out_people.NETWORK_ROW: Row(0.029, 0.83, 0.825, 0.9, 0.9, 0.0)}
    result = gates.judge(space, worse, _real(0.2, -0.2), 0.3, {"a": 0.97, "b": 0.94})
    assert not any(gate.passed for gate in result)
    assert "FAIL" in gates.render_gates(worse, result)
    unmeasured = gates.judge(space, ROWS, None, 0.6, {"a": 1.0})
    assert [g.name for g in unmeasured if g.passed is None] == ["G6"]


def test_regional_ratios_are_judged_on_the_template_and_on_people() -> None:
    """.09 on the ICBM T1 hides .21 on people's T1s no more."""
    space = with_grid(ModelSpace(), 48, 4.0)
    result = gates.judge(space, ROWS, _real(0.5, 0.09, of_people=0.21), 0.6, {"a": 0.97})
    assert {g.name: g.passed for g in result if g.name in ("G6b", "G6c")} == {"G6b": True, "G6c": False}


def test_a_failed_region_stands_beside_what_the_simulation_itself_reaches() -> None:
    unseen = _real(0.5, 0.09, of_people=0.21)
    judged = gates.judge(with_grid(ModelSpace(), 48, 4.0), ROWS, unseen, 0.6, {"a": 0.97})
    sentence = model_card.failed_gates(judged, unseen)
    assert "Not passed: G6c." in sentence
    assert "the a has 1.21 of the cortex, 1.00 in the real maps, 1.20 in the simulated uptake" in sentence
    table = gates.render_real("title", unseen.people, unseen.simulated)
    assert (
        "| region / cortex | predicted | real | simulated |\n|---|---|---|---|\n| a | 1.21 | 1.00 | 1.20 |"
        in table
    )


def test_the_card_marks_its_own_model_among_those_that_were_measured() -> None:
    looks = ["ab12ab12ab12 (then)", "cd34cd34cd34 (later)"]
    words = model_card.looks_before(looks, "cd34cd34cd34ffff")
    assert words.endswith("in order: ab12ab12ab12 (then); cd34cd34cd34 (later), this one.")
    assert model_card.looks_before(looks[:1], "ab12ab12ab12ffff") == ""


def test_fine_models_meet_stricter_limits() -> None:
    assert gates.limits_of(ModelSpace()) == gates.FINE
    assert gates.limits_of(with_grid(ModelSpace(), 48, 4.0)) == gates.COARSE
    assert gates.FINE.error_unwarped < gates.COARSE.error_unwarped and gates.FINE.gap > gates.COARSE.gap


def run_command(*arguments: object) -> int:
    return main([*map(str, arguments), "--progress", "none"], COMMANDS, "python -m TSPODemoModel")


def test_the_command_names_the_data_and_refuses_an_empty_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "--help"], COMMANDS, "python -m TSPODemoModel")
    assert "10.18112/openneuro.ds002748" in (text := capsys.readouterr().out)
    assert "10.5281/zenodo.1174364" in text and "python -m TSPODemoModel prepare" in text
    assert run_command("prepare", tmp_path / "w", "--t1", tmp_path, "--pbr28", tmp_path) == 3
    assert "sub-*_T1w" in capsys.readouterr().err and not (tmp_path / "w").exists()
    assert run_command("train", tmp_path / "w") == 3
    assert "not a prepared work folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def work(
    tmp_path_factory: pytest.TempPathFactory, people: list[PersonAnatomy], donors: list[Donor]
) -> WorkFolder:
    """A prepared work folder of 25 people, who are two in turn."""
    tmp_path = tmp_path_factory.mktemp("recipe")
    t1s, maps = tmp_path / "t1", tmp_path / "maps"
    for folder in (t1s, maps, tmp_path / "work" / work_folder.ANATOMIES):
        folder.mkdir(parents=True)
    for n in range(25):
        person = replace(people[n % 2], subject=f"sub-{n:02d}")
        sitk.WriteImage(person.grid.image(person.t1 * person.mask), str(t1s / f"{person.subject}_T1w.nii.gz"))
        file = anatomies.anatomy_file(tmp_path / "work" / work_folder.ANATOMIES, person.subject)
        anatomies.save_anatomy(person, file)
    for donor in donors:
        sitk.WriteImage(activity_model.template_image(donor.values), str(maps / f"{donor.name}_x.nii.gz"))
    assert run_command("prepare", tmp_path / "work", "--t1", t1s, "--pbr28", maps) == 0
    return work_folder.open_work_folder(tmp_path / "work")


def test_a_work_folder_belongs_to_its_people(work: WorkFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A training must not go on with other people, whose numbers it would take for those it knows."""
    data = work.folder.parent
    again = ["prepare", work.folder, "--t1", data / "t1", "--pbr28", data / "maps"]
    assert run_command(*again) == 0
    t1 = work.t1s["sub-07"]
    t1.rename(data / "away")
    assert run_command(*again) == InputError.exit_code
    (data / "away").rename(t1)
    assert "other people" in capsys.readouterr().err


def test_a_model_is_not_measured_on_people_it_has_seen(
    work: WorkFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaky = tiny_bundle(tmp_path / "b", split={"people": {"train": work.split.test[:1]}})
    assert run_command("gates", work.folder, leaky.folder, "--people", "test") == InputError.exit_code
    assert f"was trained with {work.split.test[0]}" in capsys.readouterr().err
    assert not (work.folder / work_folder.LOOKS).exists()
    assert run_command("gates", work.folder, leaky.folder, "--write") == InputError.exit_code
    first = work_folder.note_look(work.folder, leaky)
    assert len(first) == 1 and work_folder.note_look(work.folder, leaky) == first
    other = tiny_bundle(tmp_path / "c", network={"n_channels": 16, "n_levels": 2})
    assert len(work_folder.note_look(work.folder, other)) == 2


TRAIN = "python -m TSPODemoModel train WORK"


@pytest.mark.slow
def test_from_the_data_to_a_measured_bundle(
    work: WorkFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ensemble of two seeds through all commands; the figures go into the card, the weights stay."""
    stages = {name: replace(small_stage(name, 24, epochs=1), averages=1) for name in ("4mm", "3mm")}
    monkeypatch.setattr(training, "STAGES", stages)
    for arguments in (["--seed", 1], ["--seed", 2, "--epochs", 2], ["--hold-out-donors"]):
        assert run_command("train", work.folder, "--to", "4mm", *arguments) == 0
    out = tmp_path / "bundle"
    assert run_command("bundle", work.folder, "-o", out, "--to", "4mm", "--seeds", 1, 3) == 3
    assert run_command("bundle", work.folder, "-o", out, "--to", "4mm") == 0
    before = read_bundle(out)
    assert len(before.networks()) == 2 and before.card() == model_card.NOT_MEASURED
    assert before.metadata["uncertainty"]["sd"]["brainstem"] > 0
    assert len(before.metadata["training"]["images"]) == 13  # 9 train, 4 validate; no test person
    assert run_command("gates", work.folder, out, "--people", "test", "--write") in (0, 1)
    after = read_bundle(out)
    assert after.sha256 == before.sha256
    assert after.metadata["baselines"]["people"] == len(work.split.test)
    assert "| G8 | share of a cavity's missing uptake |" in after.card()
    assert "within one SD of the prediction" in after.card() and "| seed-2 | 4mm |" in after.card()
    assert f"{TRAIN} --seed 1 --to 4mm\n{TRAIN} --seed 2 --to 4mm --epochs 2\n" in after.card()
    assert f"{TRAIN} --hold-out-donors --to 4mm\n" in after.card()


def test_real_donors_are_predicted_without_them(shared_data: Path) -> None:
    """Leave one donor out, r in the template's mask: measured .838 to .921 (tissue alone .747 to .859)."""
    donors = activity_model.read_donors(shared_data / "pbr28")
    rows = activity_model.leave_one_out(donors, activity_model.template_tissue())
    assert len(rows) == 8
    assert min(float(row["activity"]) for row in rows) > 0.82
    assert all(float(row["activity"]) > float(row["tissue"]) for row in rows)
