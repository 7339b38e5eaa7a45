"""Run folders that somebody edited: plan, folds, cases, curves, records, baselines, presets, jobs."""

from __future__ import annotations

import shutil
from pathlib import Path

from damage import Rng, damaged, pick

CASES = """case,subject,t1,pet,mask,unit,window_min,group,genotype,site,donor,exclude,level,findings,pet_unit
a1,a,t/a1.nii,t/a1p.nii,,SUV,,HC,HAB,Rome,,,ok,,SUV
a2,a,t/a2.nii,t/a2p.nii,,,60-90,HC,HAB,Rome,,,warn,The brain measures 900 mL.,SUV
b1,b,t/b1.nii,t/b1p.nii,,,,pain,,Oslo,,,refuse,No PET.,
c1,c,t/c1.nii,t/c1p.nii,,,,,,Oslo,,,ok,,
d1,d,t/d1.nii,t/d1p.nii,,,,,,Oslo,,,ok,,
"""
CURVES = """epoch,step,learning_rate,train_loss,val_nmse,val_r,seconds
0,2,0.1,0.9,0.80,0.5,1
1,4,0.1,0.7,0.55,0.7,1
"""
PREDICTIONS = """case,subject,fold,synthetic,pet,mask,t1,group,genotype,site
a1,a,0,s1.nii,p1.nii,m1.nii,t1.nii,HC,HAB,
b1,b,1,s2.nii,p2.nii,m2.nii,t2.nii,pain,,
"""
FILES = (
    "run.json", "folds.json", "cases.csv", "fold_0/checkpoints/metrics.csv", "fold_0/fold.json",
    "predictions.csv", "baselines.json", "job.json", "preset.json", "subjects.csv", "ready.json",
)  # fmt: skip


def write(folder: Path) -> None:
    """A run of five cases whose first fold is finished, as far as its files tell."""
    from MRI2PETLib.core.files import write_json
    from MRI2PETTrainingLib.folds import make_folds, write_folds
    from MRI2PETTrainingLib.plan import record_of
    from MRI2PETTrainingLib.presets import read_preset

    checkpoints = folder / "fold_0" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (folder / "cases.csv").write_text(CASES)
    (folder / "predictions.csv").write_text(PREDICTIONS)
    (folder / "subjects.csv").write_text("case,subject\na1,a\na2,a\n")
    (checkpoints / "metrics.csv").write_text(CURVES)
    write_json(folder / "preset.json", read_preset("smoke").to_dict())
    write_json(folder / "run.json", record_of(_plan(folder)))
    cubic = {"cubic_of_t1": {"coefficients": [0.1, 0.2, 0.3, 0.4], "fwhm_mm": 6.0}}
    write_json(folder / "baselines.json", {"folds": {"0": cubic, "1": cubic}})
    write_json(folder / "job.json", {"name": "x", "pid": 2**30, "command": ["python"]})
    write_json(folder / "ready.json", {"settings": {}, "cases": []})
    write_folds(folder / "folds.json", make_folds(_cases(folder), 2))
    result, request = _fold(folder)
    about = {"epoch": 1, "history": [], "cost": {}, "cubic": {}, "predictions": {}}
    with result.make(request, about) as staging:
        (staging / "mean_pet.nii.gz").write_text("image")


def _plan(folder: Path):  # type: ignore[no-untyped-def]
    from MRI2PETTrainingLib.plan import plan_of
    from MRI2PETTrainingLib.settings import Task, TrainingSettings

    settings = TrainingSettings("/data", str(folder), preset="smoke", folds=2)
    return plan_of(settings, Task(resume=True))


def _cases(folder: Path):  # type: ignore[no-untyped-def]
    from MRI2PETTrainingLib.dataset.manifest import read_dataset

    return read_dataset(folder / "cases.csv").used


def _fold(folder: Path):  # type: ignore[no-untyped-def]
    from MRI2PETLib.core.requests import Request, Result, Source

    return Result(folder / "fold_0", "fold.json"), Request({}, {"a": Source("/x", "1")}, {"fold": 0})


def spoil(rng: Rng, sound: Path, work: Path) -> Path:
    run = work / "run"
    shutil.copytree(sound, run)
    for name in {pick(rng, FILES) for _ in range(int(rng.integers(1, 3)))}:
        (run / name).write_bytes(damaged(rng, (sound / name).read_bytes(), name))
        last = name
    return run / last


def use(path: Path) -> None:
    """What the window, ``train --resume`` and ``evaluate --run`` read of a run."""
    from MRI2PETLib.core.errors import MRI2PETError
    from MRI2PETLib.core.progress import Reporter
    from MRI2PETLib.evaluation.cohort_cases import read_run_scans
    from MRI2PETLib.images.subjects import read_overrides
    from MRI2PETLib.jobs.detached import is_job_running
    from MRI2PETLib.jobs.run_state import RunState
    from MRI2PETTrainingLib.dataset.manifest import read_dataset
    from MRI2PETTrainingLib.folds import check_leakage, read_folds
    from MRI2PETTrainingLib.plan import claim
    from MRI2PETTrainingLib.presets import check_preset, read_preset
    from MRI2PETTrainingLib.run_folder import case_columns, fold_columns, read_run, settings_of_run, summary
    from MRI2PETTrainingLib.window_state import training_window

    run = next(parent for parent in path.parents if parent.name == "run")
    view = read_run(run)
    for columns in (case_columns(view), fold_columns(view)):
        assert len({len(values) for values in columns.values()}) == 1
    summary(view)
    training_window(RunState(), view, "")
    is_job_running(run)
    result, request = _fold(run)
    about = result.finished(request)
    assert about is None or about["epoch"] == 1

    def leakage() -> None:
        manifest = read_dataset(run / "cases.csv", overrides=read_overrides(run / "subjects.csv"))
        check_leakage(read_folds(run / "folds.json"), manifest.used)

    refusals = []
    for look in (
        lambda: settings_of_run(view),
        lambda: claim(_plan(run)),
        leakage,
        lambda: check_preset(read_preset(run / "preset.json")),
        lambda: read_run_scans(run, Reporter()),
        lambda: result.check_owner(request),
    ):
        try:
            look()
        except MRI2PETError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
