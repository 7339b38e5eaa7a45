"""Does a synthetic PET help to tell two groups apart? Real, synthetic and augmented training, side by side.

Input are the tables `suvr.csv` of two runs of `mri2pet suvr --cases`: one of real PETs, one of synthetic PETs
(`mri2pet synthesize` over a folder of T1s). People who are only in the second table had no PET: they are what
augments. Without tables the script simulates people.

    python downstream_classification.py [--real real/suvr.csv --synthetic synthetic/suvr.csv]

A logistic regression on regional SUVRs is trained and tested on different people (folds grouped by subject,
balanced by group, several times). One score a person; intervals by bootstrap over people, who are the unit.

Read the four lines together:
- real -> real: what the PET tells.
- synthetic -> synthetic: what the T1 tells, for a synthetic PET is a function of the T1.
- synthetic -> real: whether synthetic PETs can stand in for real ones in training.
- augmented -> real: real PETs of the training people and synthetic PETs of people without a PET.
An augmented classifier that only reaches "synthetic -> synthetic" has learnt nothing beyond what the T1 says.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPEATS, FOLDS, BOOTSTRAPS = 10, 5, 2000


@dataclass(frozen=True)
class Scans:
    """``values`` [scans, regions]; ``subject`` and ``group`` (0 or 1) of every scan."""

    values: np.ndarray
    subject: np.ndarray
    group: np.ndarray

    def of(self, people: set[str], positive: bool = True) -> Scans:
        """The scans of these people, or of all others."""
        is_in = np.array([(s in people) == positive for s in self.subject])
        return Scans(self.values[is_in], self.subject[is_in], self.group[is_in])


def joined(first: Scans, second: Scans) -> Scans:
    pairs = zip(vars(first).values(), vars(second).values())
    return Scans(*(np.concatenate(pair) for pair in pairs))


def read_table(path: Path, groups: list[str]) -> Scans:
    """Regions of a ``suvr.csv``, by the first method of every scan. ``groups``: names, filled on the way."""
    scans: dict[str, dict[str, str]] = {}
    about: dict[str, tuple[str, str, str]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            method = about.setdefault(row["case"], (row["subject"], row["group"], row["method"]))[2]
            if row["role"] == "region" and row["method"] == method and row["suvr"]:
                scans.setdefault(row["case"], {})[row["region"]] = row["suvr"]
    regions = sorted(set.intersection(*(set(suvrs) for suvrs in scans.values())))
    groups += sorted({about[case][1] for case in scans} - set(groups))
    if len(groups) != 2:
        raise SystemExit(f"Two groups are needed, {path} has {', '.join(groups)}.")
    return Scans(
        np.array([[float(suvrs[r]) for r in regions] for suvrs in scans.values()]),
        np.array([about[case][0] for case in scans]),
        np.array([groups.index(about[case][1]) for case in scans]),
    )


def simulate(
    seed: int = 0, *, paired: int = 60, extra: int = 120, tracer_only: float = 0.8
) -> tuple[Scans, Scans]:
    """People in two groups: real PETs of ``paired`` of them, synthetic PETs of these and of ``extra`` others.

    Anatomy differs a little between the groups, and the PET follows it; the tracer differs by
    ``tracer_only`` SDs in some regions without any trace in the anatomy. A synthetic PET is predicted from
    the anatomy: it knows the first and cannot know the second. Some people have two scans.
    """
    rng = np.random.default_rng(seed)
    n, regions = paired + extra, 8
    group = np.arange(n) % 2
    loading = rng.normal(0, 1, (3, regions))
    anatomy = rng.standard_normal((n, 3)) + 0.5 * group[:, None]
    person = anatomy @ loading + rng.normal(0, 1, (n, regions))
    person[:, :3] += tracer_only * group[:, None]
    subject = np.array([f"person{i:03d}" for i in range(n)])
    real_of = np.concatenate([np.arange(paired), np.arange(paired // 4)])  # a quarter came twice
    real = person[real_of] + rng.normal(0, 0.4, (len(real_of), regions))
    synthetic = anatomy @ loading + rng.normal(0, 0.2, (n, regions))
    return Scans(real, subject[real_of], group[real_of]), Scans(synthetic, subject, group)


def scores(train: Scans, test: Scans) -> np.ndarray:
    """Log odds of group 1 of the test scans."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return np.asarray(model.fit(train.values, train.group).decision_function(test.values))


def compare(real: Scans, synthetic: Scans, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Mean out-of-fold score of every person with a real PET, by arm: ``{arm: {subject: score}}``."""
    from sklearn.model_selection import StratifiedGroupKFold

    with_pet = set(real.subject.tolist())
    aucs: dict[str, dict[str, list[float]]] = {}
    for repeat in range(REPEATS):
        split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed + repeat)
        for _, test_index in split.split(real.values, real.group, real.subject):
            held_out = set(real.subject[test_index].tolist())
            train, test = real.of(held_out, False), real.of(held_out)
            own = synthetic.of(with_pet).of(held_out, False)
            without_pet = synthetic.of(with_pet, False)
            arms = {
                "real -> real": (train, test),
                "synthetic -> synthetic": (own, synthetic.of(held_out)),
                "synthetic -> real": (own, test),
                "augmented -> real": (joined(train, without_pet), test),
            }
            for arm, (learnt, test_scans) in arms.items():
                assert not set(learnt.subject.tolist()) & held_out
                for subject, score in zip(test_scans.subject.tolist(), scores(learnt, test_scans)):
                    aucs.setdefault(arm, {}).setdefault(subject, []).append(float(score))
    return {arm: {s: float(np.mean(v)) for s, v in people.items()} for arm, people in aucs.items()}


def area(score: np.ndarray, group: np.ndarray) -> float:
    """Area under the ROC curve: probability that a person of group 1 scores higher, ties half."""
    apart = score[group == 1][:, None] - score[group == 0][None]
    return float((apart > 0).mean() + 0.5 * (apart == 0).mean())


def intervals(
    by_arm: Mapping[str, Mapping[str, float]], group_of: Mapping[str, int], *, seed: int = 0
) -> list[tuple[str, float, float, float]]:
    """Area of every arm, its difference from real -> real, with 95 % intervals by bootstrap over people."""
    people = sorted(set.intersection(*(set(scored) for scored in by_arm.values())))
    group = np.array([group_of[s] for s in people])
    score = {arm: np.array([scored[s] for s in people]) for arm, scored in by_arm.items()}
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(group == g) for g in (0, 1)]
    draws = [np.concatenate([rng.choice(p, len(p)) for p in places]) for _ in range(BOOTSTRAPS)]
    drawn = {arm: np.array([area(values[d], group[d]) for d in draws]) for arm, values in score.items()}
    first = next(iter(score))
    rows = []
    for arm, values in score.items():
        rows.append((arm, area(values, group), *_limits(drawn[arm])))
    for arm in list(score)[1:]:
        gain = area(score[arm], group) - area(score[first], group)
        rows.append((f"{arm}, minus {first}", gain, *_limits(drawn[arm] - drawn[first])))
    return rows


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--real", type=Path, metavar="CSV", help="suvr.csv of real PETs")
    parser.add_argument("--synthetic", type=Path, metavar="CSV", help="suvr.csv of synthetic PETs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.real is None) != (args.synthetic is None):
        parser.error("give both --real and --synthetic, or none to simulate people")
    if args.real is None:
        print("SIMULATED people.")
        real, synthetic = simulate(args.seed)
    else:
        groups: list[str] = []
        real, synthetic = read_table(args.real, groups), read_table(args.synthetic, groups)
    group_of = dict(zip(real.subject.tolist(), real.group.tolist()))
    extra = len(set(synthetic.subject.tolist()) - set(group_of))
    print(f"{len(group_of)} people with a real PET, {extra} with a T1 only. Area under the ROC curve, 95 %:")
    for arm, value, low, high in intervals(
        compare(real, synthetic, seed=args.seed), group_of, seed=args.seed
    ):
        print(f"{arm:<42} {value:+.3f}  ({low:+.3f} to {high:+.3f})")


if __name__ == "__main__":
    main()
