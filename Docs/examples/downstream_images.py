"""Do synthetic PETs help a network that sees images: diagnosis in three classes, a score such as the MMSE?

The six trainings of Theodorou et al. 2025 (Tables 2 and 3) side by side, tested on the real images of people
whom nothing was trained on: T1s of everybody; T1s of the people with a PET; real PETs; synthetic PETs; real
pairs; real pairs with pairs of a T1 and its synthetic PET for the people without a PET.

    python downstream_images.py [--cases cases.csv] [--seeds 5]

`cases.csv` is a table of cases with the columns `case, subject, group, mmse, t1, synthetic, pet`; `pet` is
empty for people without one, `mmse` may be empty. Every image is moved to MNI space at 8 mm, the T1 scaled by
its percentiles, a PET by its mean in the brain. Without a table the script simulates people.

A small 3-D CNN, and for each seed another split: folds grouped by subject and balanced by group, so that
every person with a PET is tested once a seed. The SE is over seeds, as in the publication: it says how far
one training is repeatable, and shrinks with more seeds. The intervals are by bootstrap over people: they say
how far the result holds for other people. No choice is made on the test people: the number of epochs is
fixed. The synthetic PETs have to come from a model that saw none of these people, or from the fold of each.

What differs from the publication: images of 8 mm and a network of 18 thousand parameters (it says neither),
all people tested in turn instead of one fifth, 5 seeds instead of 25, no limit of the MMSE to 20 and more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

SEEDS, FOLDS, EPOCHS, BOOTSTRAPS = 5, 5, 40, 1000


@dataclass(frozen=True)
class People:
    """Scans of people. ``t1``, ``pet``, ``synthetic``: [scans, k, j, i]; ``pet`` is NaN for who has none.

    ``group``: 0, 1, 2; ``score``: NaN for who has none.
    """

    t1: np.ndarray
    pet: np.ndarray
    synthetic: np.ndarray
    subject: np.ndarray
    group: np.ndarray
    score: np.ndarray

    def of(self, index: np.ndarray) -> People:
        """Some of the scans."""
        return People(**{name: values[index] for name, values in vars(self).items()})

    @property
    def has_pet(self) -> np.ndarray:
        return np.isfinite(self.pet).all(axis=(1, 2, 3))


def trainings(train: People, test: People) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, images to learn from [scans, channels, k, j, i], whose they are (indices), images to test."""
    everybody, with_pet = np.arange(len(train.group)), np.flatnonzero(train.has_pet)
    without = np.flatnonzero(~train.has_pet)
    t1, pet, synthetic = (values[:, None] for values in (train.t1, train.pet, train.synthetic))
    pairs, made = np.concatenate([t1, pet], 1), np.concatenate([t1, synthetic], 1)
    both = np.stack([test.t1, test.pet], 1)
    yield "T1s of everybody", t1, everybody, test.t1[:, None]
    yield "T1s of people with a PET", t1[with_pet], with_pet, test.t1[:, None]
    yield "real PETs", pet[with_pet], with_pet, test.pet[:, None]
    yield "synthetic PETs", synthetic[with_pet], with_pet, test.pet[:, None]
    yield "real pairs", pairs[with_pet], with_pet, both
    augmented = np.concatenate([pairs[with_pet], made[without]])
    yield "real pairs and synthetic ones", augmented, np.concatenate([with_pet, without]), both


def network(channels: int, outputs: int) -> torch.nn.Module:
    """Three convolutions of 3³, two of them with a step of 2, the mean over the volume, one linear layer."""
    layers: list[torch.nn.Module] = []
    for before, after, step in ((channels, 8, 1), (8, 16, 2), (16, 32, 2)):
        layers += [torch.nn.Conv3d(before, after, 3, step, 1), torch.nn.GroupNorm(4, after), torch.nn.ReLU()]
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(32, outputs)
    )


def learn(images: np.ndarray, target: np.ndarray, test: np.ndarray, *, classes: int, seed: int) -> np.ndarray:
    """Predictions for ``test``: probabilities [scans, classes], or with ``classes`` 0 a number [scans, 1]."""
    torch.manual_seed(seed)
    mean, sd = images.mean(), images.std() + 1e-6
    x, questions = (torch.from_numpy(((v - mean) / sd).astype(np.float32)) for v in (images, test))
    centre, spread = (0.0, 1.0) if classes else (float(target.mean()), float(target.std()) + 1e-6)
    y = torch.from_numpy(target).long() if classes else torch.from_numpy((target - centre) / spread).float()
    model = network(x.shape[1], max(classes, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(16):
            output = model(x[batch])
            loss = (
                torch.nn.functional.cross_entropy(output, y[batch])
                if classes
                else torch.nn.functional.mse_loss(output[:, 0], y[batch])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        output = model(questions)
    return (output.softmax(1) if classes else output * spread + centre).numpy().astype(float)


Predictions = dict[str, np.ndarray]  # training -> [seeds, people, outputs]


def out_of_fold(people: People, *, classes: int, seeds: int = SEEDS) -> tuple[Predictions, np.ndarray]:
    """Predictions for every person with a PET by networks that never saw that person, and these people's
    truth: [people].

    :param classes: number of groups, or 0 for the score. A person's scans are averaged.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    usable = people if classes else people.of(np.isfinite(people.score))
    target = usable.group if classes else usable.score
    named = sorted(set(usable.subject[usable.has_pet].tolist()))
    place = {subject: number for number, subject in enumerate(named)}
    sums: Predictions = {}
    counts = np.zeros((seeds, len(named)))
    for seed in range(seeds):
        split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        for own, held_out in split.split(usable.t1, usable.group, usable.subject):
            assert not set(usable.subject[own].tolist()) & set(usable.subject[held_out].tolist())
            held_out = held_out[usable.has_pet[held_out]]
            people_of = [place[subject] for subject in usable.subject[held_out].tolist()]
            np.add.at(counts[seed], people_of, 1)
            train, test = usable.of(own), usable.of(held_out)
            for name, images, whose, questions in trainings(train, test):
                made = learn(images, target[own][whose], questions, classes=classes, seed=seed)
                shape = (seeds, len(named), made.shape[1])
                np.add.at(sums.setdefault(name, np.zeros(shape))[seed], people_of, made)
    truth = np.array([target[usable.subject == subject][0] for subject in named])
    return {name: values / counts[..., None] for name, values in sums.items()}, truth


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve by ranks, ties half."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def macro_area(probability: np.ndarray, group: np.ndarray) -> float:
    """Mean over the groups of the area of each against the rest; NaN if a group is missing."""
    n = probability.shape[1]
    if len(set(group.tolist())) < n:
        return float("nan")
    return float(np.mean([area(probability[:, k], group == k) for k in range(n)]))


def classification(probability: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """The columns of Table 2."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    guess = probability.argmax(1)
    return {
        "AUROC": macro_area(probability, group),
        "accuracy": float(accuracy_score(group, guess)),
        "balanced accuracy": float(balanced_accuracy_score(group, guess)),
        "F1": float(f1_score(group, guess, average="macro")),
    }


def regression(predicted: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """The columns of Table 3."""
    values = predicted[:, 0]
    return {"r": float(np.corrcoef(values, score)[0, 1]), "MSE": float(np.mean((values - score) ** 2))}


def mean_over_seeds(predictions: np.ndarray, truth: np.ndarray) -> float:
    """The first column of a table, averaged over the seeds."""
    one = macro_area if predictions.shape[2] > 1 else lambda p, t: float(np.corrcoef(p[:, 0], t)[0, 1])
    return float(np.mean([one(own, truth) for own in predictions]))


def intervals(
    predictions: Predictions, truth: np.ndarray, *, than: str = "real pairs", seed: int = 0
) -> dict[str, tuple[float, float, float, float, float, float]]:
    """Of every training: AUROC (or r) and its limits, and its difference from the training ``than`` with
    limits. 95 %, by bootstrap over people.
    """
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(BOOTSTRAPS)]
    drawn = {
        name: np.array([mean_over_seeds(own[:, d], truth[d]) for d in draws])
        for name, own in predictions.items()
    }
    value = {name: mean_over_seeds(own, truth) for name, own in predictions.items()}
    return {
        name: (
            *(value[name], *_limits(drawn[name])),
            *(value[name] - value[than], *_limits(drawn[name] - drawn[than])),
        )
        for name in predictions
    }


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def simulate(seed: int = 0, *, paired: int = 45, extra: int = 60, tracer_only: float = 1.0) -> People:
    """People in three groups, on 8³ voxels: real PETs of ``paired`` of them.

    With the severity (0, 1, 2) the anatomy changes a little in one half of the brain, and the PET follows it;
    the tracer rises by ``tracer_only`` SDs a step in the other half, without any trace in the anatomy. A
    synthetic PET is made from the anatomy: it knows the first and cannot know the second. The score falls
    with the severity. The first few people were scanned twice.
    """
    rng = np.random.default_rng(seed)
    n = paired + extra
    group = np.arange(n) % 3
    severity = group + rng.normal(0, 0.3, n)
    place = np.arange(8)
    pattern = np.where(place < 4, 1.0, 0.0)[:, None, None] * np.ones((8, 8, 8))
    anatomy = (rng.normal(0, 1, n) + 0.6 * severity)[:, None, None, None] * pattern
    tracer = (rng.normal(0, 1, n) + tracer_only * severity)[:, None, None, None] * (1 - pattern)
    again = np.concatenate([np.arange(n), np.arange(paired // 5)])

    def image(values: np.ndarray, noise: float) -> np.ndarray:
        return values[again] + rng.normal(0, noise, (len(again), 8, 8, 8))

    pet = image(anatomy + tracer, 1.0)
    pet[again >= paired] = np.nan
    score = np.clip(29 - 3 * severity + rng.normal(0, 1, n), 0, 30)
    subject = np.array([f"person{i:03d}" for i in range(n)])
    return People(image(anatomy, 1.0), pet, image(anatomy, 0.3), subject[again], group[again], score[again])


def read_people(path: Path) -> tuple[People, list[str]]:
    """The people of a table of cases, and the names of the groups."""
    import SimpleITK as sitk

    from MRI2PETLib.core.tables import read_table
    from MRI2PETLib.evaluation.cubic import normalised_source
    from MRI2PETLib.evaluation.spaces import resample_inside
    from MRI2PETLib.images.grid import Grid
    from MRI2PETLib.images.io import read_image
    from MRI2PETLib.preprocessing.brain_mask import extract_brain
    from MRI2PETLib.preprocessing.pet import read_pet
    from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1

    grid = Grid.covering((0.0, 18.0, 10.0), (160.0, 192.0, 160.0), 8.0)
    rows = read_table(path, ("case", "subject", "group", "t1", "synthetic", "pet")).rows
    groups = sorted({row["group"] for row in rows})
    images: dict[str, list[np.ndarray]] = {"t1": [], "pet": [], "synthetic": []}
    for row in rows:
        t1 = read_image(path.parent / row["t1"], kind="t1").image
        brain = extract_brain(t1)
        if brain.template_to_native is None:
            raise SystemExit(f"{row['case']}: {' '.join(brain.verdict.reasons('refuse'))}")
        inside = sitk.GetArrayViewFromImage(brain.mask) != 0
        native = {"t1": normalised_source(sitk.GetArrayViewFromImage(t1), inside)}
        for name in ("synthetic", "pet"):
            if row[name]:
                pet = align_pet_to_t1(read_pet(path.parent / row[name]), t1, brain.mask).image
                values = sitk.GetArrayFromImage(pet)
                native[name] = values / values[inside].mean()
        for name, moved in images.items():
            small = np.full(grid.shape, np.nan)
            if name in native:
                (small,) = resample_inside([native[name]], brain.mask, grid.image(), brain.template_to_native)
            moved.append(np.nan_to_num(small) if name in native else small)
    score = [float(row.get("mmse") or "nan") for row in rows]
    subject, group = [row["subject"] for row in rows], [groups.index(row["group"]) for row in rows]
    arrays = {name: np.stack(values) for name, values in images.items()}
    return People(**arrays, subject=np.array(subject), group=np.array(group), score=np.array(score)), groups


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--cases", type=Path, metavar="CSV", help="table of cases; left out: simulate people")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each kind")
    args = parser.parse_args()
    if args.cases is None:
        print("SIMULATED people.")
        people, groups = simulate(), ["0", "1", "2"]
    else:
        people, groups = read_people(args.cases)
    with_pet = set(people.subject[people.has_pet].tolist())
    print(
        f"{len(with_pet)} people with a PET, {len(set(people.subject.tolist()) - with_pet)} with a T1 only."
    )
    tasks = [(f"groups {', '.join(groups)}", len(groups), classification)]
    if np.isfinite(people.score).any():
        tasks.append(("score", 0, regression))
    for title, classes, measure in tasks:
        predictions, truth = out_of_fold(people, classes=classes, seeds=args.seeds)
        first = "AUROC" if classes else "r"
        print(f"\n{title}: mean and SE over {args.seeds} seeds; {first} with 95 % over people, and its gain")
        limits = intervals(predictions, truth)
        for name, own in predictions.items():
            numbers = [measure(one, truth) for one in own]
            columns = {key: np.array([values[key] for values in numbers]) for key in numbers[0]}
            text = "  ".join(
                f"{key} {v.mean():.3f} ({v.std(ddof=1) / len(v) ** 0.5 if len(v) > 1 else 0:.3f})"
                for key, v in columns.items()
            )
            _, low, high, gain, least, most = limits[name]
            print(f"{name:<30} {text}")
            print(
                f"{'':<30} {first} {low:.3f} to {high:.3f}; minus real pairs {gain:+.3f} "
                f"({least:+.3f} to {most:+.3f})"
            )


if __name__ == "__main__":
    main()
