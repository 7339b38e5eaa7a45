"""One item ahead: order, bound, errors, cancelling; a batch equals single runs; the choice of precision."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from bundles import tiny_bundle
from MRI2PETLib.core.errors import Cancelled
from MRI2PETLib.core.prefetch import OneAhead, import_and_call
from MRI2PETLib.core.progress import ProgressCallback, Reporter, no_progress
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models import unet
from MRI2PETLib.models.inference import load_model
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.synthesis.batch import run_batch
from MRI2PETLib.synthesis.case_files import case_files
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETLib.synthesis.settings import SynthesisSettings

WAIT_S = 5.0


def test_importing_early_tolerates_what_is_missing_and_leaves_the_collector_as_it_was() -> None:
    assert gc.isenabled()
    modules = ("wave", "no_such_module_of_mri2pet")
    assert import_and_call(modules, lambda: "wave" in sys.modules).result(WAIT_S)
    assert gc.isenabled() and gc.get_freeze_count() > 0
    gc.unfreeze()
    with pytest.raises(ZeroDivisionError):
        import_and_call((), lambda: 1 / 0).result(WAIT_S)


def test_reading_an_image_does_not_import_pydicom_and_leaves_it_importable(tmp_path: Path) -> None:
    path = write_image(simulate_subject(1, spacing_mm=6.0).t1, tmp_path / "T1.nii.gz")
    program = (
        "import gc, sys; from MRI2PETLib.images.io import open_image\n"
        f"open_image({str(path)!r}, kind='t1')\n"
        "assert 'nibabel' in sys.modules and 'pydicom' not in sys.modules and gc.isenabled()\n"
        "import pydicom; print(pydicom.Dataset.__name__)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "Dataset\n", ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are loaded early on Linux only")
def test_libraries_of_pytorch_are_loaded_before_its_import() -> None:
    program = (
        "import sys, threading; from MRI2PETLib.core.prefetch import load_torch_early\n"
        "load_torch_early(); [t.join() for t in threading.enumerate() if t.name == 'load-torch']\n"
        "assert 'libtorch_python.so' in open('/proc/self/maps').read() and 'torch' not in sys.modules\n"
        "import torch; print(torch.nn.Linear(2, 1)(torch.ones(2)).shape)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "torch.Size([1])\n", ended.stderr


@pytest.mark.parametrize(("end", "code"), [("3", 3), ("0", 0), ("sys.exit(2)", 2), ("1 / 0", 1)])
def test_a_program_ends_with_its_code_and_after_what_others_do_at_the_end(end: str, code: int) -> None:
    program = (
        "import atexit, sys; import MRI2PETLib.cli as cli\n"
        "def main():\n  atexit.register(print, 'late'); print('early'); return END\n"
        "cli.main = main; cli.entry_point()"
    )
    line = [sys.executable, "-c", program.replace("END", end)]
    ended = subprocess.run(line, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.split()) == (code, ["early", "late"])
    assert ("ZeroDivisionError" in ended.stderr) == ("/" in end)


def test_never_more_than_one_ahead_and_errors_in_their_place() -> None:
    started = [threading.Event() for _ in range(4)]

    def work(item: int, progress: ProgressCallback) -> int:
        started[item].set()
        progress(1, 2, f"item {item}")
        if item == 1:
            raise ValueError("one")
        return 10 * item

    with OneAhead(range(4), work) as ahead:
        assert started[0].wait(WAIT_S) and not started[1].wait(0.2)
        assert ahead.take(no_progress) == 0
        assert started[1].wait(WAIT_S) and not started[2].wait(0.2)
        with pytest.raises(ValueError, match="one"):
            ahead.take(no_progress)
        assert [ahead.take(no_progress), ahead.take(no_progress)] == [20, 30]


def test_progress_is_told_in_the_thread_of_the_taker() -> None:
    calls: list[tuple[str, threading.Thread]] = []

    def work(item: int, progress: ProgressCallback) -> int:
        progress(1, 2, "half")
        time.sleep(0.4)
        return item

    with OneAhead([1], work) as ahead:
        ahead.take(lambda done, total, stage: calls.append((stage, threading.current_thread())))
    assert calls and set(calls) == {("half", threading.current_thread())}


def test_leaving_cancels_the_item_in_work() -> None:
    ended: list[type[BaseException]] = []
    begun = threading.Event()

    def work(item: int, progress: ProgressCallback) -> None:
        begun.set()
        try:
            while True:
                progress(0, 1, "busy")
                time.sleep(0.01)
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(KeyboardInterrupt):
        with OneAhead([1, 2], work):
            assert begun.wait(WAIT_S)
            raise KeyboardInterrupt
    assert ended == [Cancelled], "the second item never began"


def test_a_batch_gives_what_single_runs_give(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    people = [simulate_subject(seed, spacing_mm=3.0) for seed in (1, 2, 3)]
    cases = [Case(f"person{n}", write_image(p.t1, tmp_path / f"{n}.nii.gz")) for n, p in enumerate(people)]
    rows = run_batch(cases, bundle, tmp_path / "out", SynthesisSettings(device="cpu"), reporter=Reporter())
    assert [row.status for row in rows] == ["done"] * 3
    for case, person in zip(cases, people):
        alone = synthesize(person.t1, bundle, device="cpu")
        written = sitk.ReadImage(str(case_files(case, bundle, tmp_path / "out").pet))
        np.testing.assert_allclose(
            sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(alone.pet), atol=1e-5
        )


@pytest.mark.parametrize(
    ("slow", "precision"), [(torch.float32, "bf16"), (torch.bfloat16, "fp32"), (None, "fp32")]
)
def test_auto_takes_bf16_only_where_it_is_clearly_faster(
    slow: torch.dtype | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(network: torch.nn.Module, source: torch.Tensor, **_: object) -> tuple:
        time.sleep(0.2 if source.dtype == slow else 0.05)
        return source, None

    monkeypatch.setattr(unet, "predict", predict)
    model = load_model(tiny_bundle(tmp_path), device="cpu", precision="auto")
    assert model.precision == precision
    assert {p.dtype for p in model.networks[0].parameters()} == {torch.float32}, "the trial left them alone"
