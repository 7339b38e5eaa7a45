"""MRIs without PET become pairs: the style of a PET, the anatomy of the MRI, and a dataset to train on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.settings import CaseInputs
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.dataset.manifest import read_dataset
from MRI2PETTrainingLib.folds import Fold, Folds, check_leakage, read_folds
from MRI2PETTrainingLib.pretraining import assign_styles, follow, histogram_style, write_pairs
from MRI2PETTrainingLib.vgg_style import CONVOLUTIONS, VGGFeatures, VGGStyle, _gram, read_vgg
from small_datasets import SIZE, as_image, prepared_cases, write_pair

pytestmark = pytest.mark.usefixtures("quick_registration")

torch.set_num_threads(1)
SPACE = ModelSpace(size=(32, 32, 32), spacing_mm=6.0)


def volumes(size: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = np.linalg.norm(np.indices((size,) * 3) - (size - 1) / 2, axis=0) < 0.4 * size
    mri = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2.0)
    mri = (mri - mri.min()) / (mri.max() - mri.min()) * mask
    pet = np.clip(0.5 + 0.1 * rng.standard_normal(mask.shape), 0, 1) * mask
    return mri.astype(np.float32), pet.astype(np.float32), mask.astype(np.float32)


def test_histogram_style_has_the_values_of_the_pet_and_the_order_of_the_blurred_mri() -> None:
    mri, pet, mask = volumes()
    inside = mask > 0
    made = histogram_style(mri, mask, pet, mask, (2.0, 2.0, 2.0))
    ranks = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(np.quantile(made[inside], ranks), np.quantile(pet[inside], ranks), atol=0.002)
    assert not made[~inside].any()
    # The anatomy stays: the field is smooth, so the blur of 6 mm changes few ranks.
    order = [np.argsort(np.argsort(v[inside])) for v in (made, mri)]
    assert np.corrcoef(*order)[0, 1] > 0.95
    # Sharp detail goes: noise of one voxel has a third of its share at most.
    noisy = np.clip(mri + 0.2 * np.random.default_rng(1).standard_normal(mri.shape) * mask, 0, None)
    rough = [
        np.abs(v - ndimage.uniform_filter(v, 3))[ndimage.binary_erosion(inside, iterations=2)].mean()
        / v[inside].std()
        for v in (histogram_style(noisy, mask, pet, mask, (2.0,) * 3), noisy)
    ]
    assert rough[0] < rough[1] / 3


@pytest.fixture(scope="module")
def mris(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    root = tmp_path_factory.mktemp("mris")
    for number in range(3):
        write_pair(root / f"m{number}", number)
    return [
        Case(
            f"m{n}",
            root / f"m{n}" / "T1.nii.gz",
            inputs=CaseInputs(mask=root / f"m{n}" / "brain_mask.nii.gz"),
        )
        for n in range(3)
    ]


def dataset_of(folder: Path, names: list[str], size: int = 16) -> dict[str, PreparedCase]:
    """Prepared cases that say which images they are made of."""
    cases = prepared_cases(folder, names, size=size)
    return {
        c.case.case: replace(
            c, about={**c.about, "images": [f"t1 of {c.case.case}", f"pet of {c.case.case}"]}
        )
        for c in cases
    }


def three_folds(names: list[str]) -> Folds:
    """Each person is tested once, validates once and trains once."""
    sides = [(names[n:] + names[:n]) for n in range(3)]
    return Folds(
        "by hand", 5, ("subject",), tuple(Fold(n, (s[0],), (s[1],), (s[2],)) for n, s in enumerate(sides))
    )


def test_the_pairs_are_a_dataset_marked_as_simulated(tmp_path: Path, mris: list[Case]) -> None:
    pets = dataset_of(tmp_path / "pets", ["a", "b", "c"], size=32)
    manifest = write_pairs(mris, pets, three_folds(list(pets)), SPACE, tmp_path / "pairs")
    cases = read_dataset(manifest).used
    assert [case.case for case in cases] == ["m0", "m1", "m2"]
    for case, mri in zip(cases, mris):
        assert case.t1 == mri.t1 and case.mask is not None
        pet, mask = sitk.ReadImage(str(case.pet)), sitk.ReadImage(str(case.mask))
        assert pet.GetSize() == sitk.ReadImage(str(mri.t1)).GetSize()
        values = sitk.GetArrayFromImage(pet)[sitk.GetArrayFromImage(mask) > 0]
        assert 0.2 < values.mean() < 2 and values.std() > 0.05
        about = json.loads(case.pet.with_name("PET.json").read_text())
        assert about["Simulated"] and about["Units"] == "SUVR" and "no uptake" in about["Description"]
        assert about["DerivedFrom"] == [f"t1 of {case.donor}", f"pet of {case.donor}"]
    # A second call keeps them; another style makes them anew.
    before = {case.case: case.pet.stat().st_mtime_ns for case in cases}
    write_pairs(mris, pets, three_folds(list(pets)), SPACE, tmp_path / "pairs")
    assert {case.case: case.pet.stat().st_mtime_ns for case in cases} == before
    write_pairs(mris, pets, three_folds(list(pets)), SPACE, tmp_path / "pairs", lambda mri, *_: mri * 0.5)
    assert cases[0].pet.stat().st_mtime_ns != before["m0"]


def test_a_fold_learns_the_style_of_its_own_training_people_only(tmp_path: Path, mris: list[Case]) -> None:
    """In every fold a pair stands on the side of the person whose PET it imitates."""
    pets = dataset_of(tmp_path / "pets", ["a", "b", "c"], size=32)
    real = three_folds(list(pets))
    manifest = write_pairs(mris, pets, real, SPACE, tmp_path / "pairs")
    cases = {case.case: case for case in read_dataset(manifest).used}
    folds = read_folds(tmp_path / "pairs" / "folds.json")
    check_leakage(folds, list(cases.values()))
    for own, theirs in zip(folds.folds, real.folds):
        for side in ("train", "validation", "test"):
            assert {cases[name].donor for name in getattr(own, side)} <= set(getattr(theirs, side))


def test_a_person_of_the_dataset_keeps_to_their_own_side(tmp_path: Path, mris: list[Case]) -> None:
    """Recognised by the voxels, whatever the file; repeated MRIs of a person imitate one PET."""
    pets = dataset_of(tmp_path / "pets", ["a", "b", "c"])
    t1 = read_image(mris[0].t1, kind="t1").image
    owned = {**pets["c"].about, "images": [sha256_of_voxels(sitk.GetArrayViewFromImage(t1)), "pet of c"]}
    pets["c"] = replace(pets["c"], about=owned)
    sitk.WriteImage(t1, str(tmp_path / "copy.nrrd"))
    copied = Case("m0_02", tmp_path / "copy.nrrd")
    people = {"m0_02": "m0", "m1": "m1", "m2": "m2"}
    styles = assign_styles([copied, *mris[1:]], people, pets, three_folds(list(pets)))
    assert styles["m0_02"] == "c"
    people = {"m0": "same", "m1": "same", "m2": "m2"}
    styles = assign_styles(mris, people, pets, three_folds(list(pets)))
    assert styles["m0"] == styles["m1"] == "c"
    # Another image, but the name of a person of the dataset.
    named = {"m0": "m0", "m1": "sub-A", "m2": "B"}
    styles = assign_styles(mris, named, pets, three_folds(list(pets)))
    assert styles == {"m0": "c", "m1": "a", "m2": "b"}


def test_a_fixed_split_has_styles_on_every_side(tmp_path: Path) -> None:
    """Nobody learns the style of a PET that the split tests."""
    pets = dataset_of(tmp_path / "pets", list("abcdef"))
    split = Folds("", 5, ("subject",), (Fold(0, ("a", "b"), ("c",), ("d", "e", "f")),), ("Oslo",))
    mris = [Case(f"m{n}", write_image_of(tmp_path / f"m{n}.nii.gz", n)) for n in range(7)]
    styles = assign_styles(mris, {m.name: m.name for m in mris}, pets, split)
    assert set(styles.values()) == set("abcdef")
    (fold,), sites = follow(split, styles).folds, follow(split, styles).test_sites
    assert sites == ("Oslo",)
    assert {styles[n] for n in fold.train} == {"a", "b"} and {styles[n] for n in fold.test} == set("def")


def write_image_of(path: Path, number: int) -> Path:
    sitk.WriteImage(as_image(np.random.default_rng(number).random((SIZE,) * 3, np.float32)), str(path))
    return path


def test_too_few_mris_for_the_folds_are_refused(tmp_path: Path, mris: list[Case]) -> None:
    pets = dataset_of(tmp_path / "pets", ["a", "b", "c"])
    with pytest.raises(InputError, match="too few for 3 folds: in fold 0 none imitates a PET of the"):
        follow(three_folds(list(pets)), {"m0": "a", "m1": "b"})


def test_a_model_that_makes_mris_is_not_pretrained_so(tmp_path: Path, mris: list[Case]) -> None:
    pets = dataset_of(tmp_path / "pets", ["a", "b", "c"])
    backwards = ModelSpace(source="suvr-half", target="mask-p1-p99")
    for arguments in ((mris, pets, backwards), ([], pets, SPACE), (mris, {}, SPACE)):
        source, of, space = arguments
        with pytest.raises(InputError, match="Pre-training needs"):
            write_pairs(source, of, three_folds(["a", "b", "c"]), space, tmp_path / "pairs")


def vgg_file(path: Path, **changes: torch.Tensor) -> Path:
    """A file like torchvision's, with random weights."""
    torch.manual_seed(0)
    state = {
        f"features.{at}.weight": torch.randn(out, into, 3, 3) * (2 / 9 / into) ** 0.5
        for at, into, out in CONVOLUTIONS
    }
    state |= {f"features.{at}.bias": torch.zeros(out) for at, _, out in CONVOLUTIONS}
    torch.save({**state, "classifier.6.weight": torch.zeros(1000, 4), **changes}, path)
    return path


def test_vgg_weights_are_read_as_torchvision_names_them(tmp_path: Path) -> None:
    network = read_vgg(vgg_file(tmp_path / "vgg19.pth"))
    result = network(torch.rand(2, 1, 16, 12))
    assert [tuple(f.shape[1:]) for f in result.values()] == [
        (64, 16, 12),
        (64, 16, 12),
        (128, 8, 6),
        (128, 8, 6),
        (256, 4, 3),
    ]
    assert not any(p.requires_grad for p in network.parameters())
    (tmp_path / "other.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match="does not hold the weights of a VGG19"):
        read_vgg(tmp_path / "other.pth")
    wrong = vgg_file(tmp_path / "wrong.pth", **{"features.2.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="VGG19"):
        read_vgg(wrong)


def test_vgg_style_comes_closer_to_the_pet_and_keeps_to_the_brain(tmp_path: Path) -> None:
    mri, pet, mask = volumes(12)
    network = read_vgg(vgg_file(tmp_path / "vgg19.pth"))
    made = VGGStyle(network, torch.device("cpu"), steps=6)(mri, mask, pet, mask, (2.0, 2.0, 2.0))
    assert made.shape == mri.shape and not made[mask == 0].any() and made.min() >= 0 and made.max() <= 1

    def distance(volume: np.ndarray) -> float:
        rows = (mask > 0).any(axis=(1, 2))
        grams = []
        for one in (volume, pet):
            images = torch.from_numpy(one[rows])[:, None]
            grams.append([_gram(f) for f in network(images).values()])
        return float(sum(((a - b) ** 2).mean() for a, b in zip(*grams)))

    assert distance(made) < 0.5 * distance(mri)


def test_the_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert _gram(features).tolist() == [[2.5, 5.5], [5.5, 12.5]]
    assert isinstance(VGGFeatures()(torch.zeros(1, 1, 8, 8)), dict)
