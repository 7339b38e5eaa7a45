"""The main job end to end on simulated people, in the library and through the command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bundles import tiny_bundle, tiny_metadata
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import (
    EXIT_PARTIAL,
    BundleError,
    DeviceError,
    InputError,
    OutputError,
    QualityError,
)
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import same_grid, write_image
from MRI2PETLib.images.values import value_moments
from MRI2PETLib.models import unet
from MRI2PETLib.models.bundle import Bundle, save_bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.synthesis.batch import SYNTHESIS
from MRI2PETLib.synthesis.pipeline import synthesize

pytestmark = pytest.mark.usefixtures("quick_registration")

PET = "_trc-PBR28_space-T1w_desc-synthetic_pet.nii.gz"


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(3, spacing_mm=2.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def t1_path(person: SimulatedSubject, tmp_path: Path) -> Path:
    (tmp_path / "in put é").mkdir()
    return write_image(person.t1, tmp_path / "in put é" / "anna_T1w.nii.gz")


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def status(folder: Path) -> list[dict[str, str]]:
    with open(folder / SYNTHESIS.file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def oblique(image: sitk.Image, degrees: float) -> sitk.Image:
    """The same person in a scanner turned by ``degrees``, flipped along the first axis, 2 x 2 x 3 mm."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    direction = turn @ np.diag([-1, 1, 1])
    spacing = np.array([2.0, 2.0, 3.0])
    size = np.array([120, 120, 75])
    centre = np.array(image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()]))
    origin = centre - direction @ (spacing * size / 2)
    grid = Grid(
        tuple(size.tolist()), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.ravel())
    )
    return sitk.Resample(image, grid.image(), sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, 0.0)


def test_output_lies_on_the_input_grid_and_is_finite(person: SimulatedSubject, bundle: Bundle) -> None:
    result = synthesize(person.t1, bundle, device="cpu")
    values = sitk.GetArrayFromImage(result.pet)
    assert same_grid(result.pet, person.t1) and same_grid(result.mask, person.t1)
    assert np.isfinite(values).all()
    assert np.all(values[sitk.GetArrayFromImage(result.mask) == 0] == 0)
    assert result.unit == "SUVR" and result.sd is None and result.unpredicted is None
    assert result.provenance["model"]["sha256"] == bundle.sha256
    assert result.provenance["source_values"] == value_moments(person.t1)
    json.dumps(result.provenance)


def test_the_same_brain_on_another_grid_gives_the_same_pet(person: SimulatedSubject) -> None:
    """Two ways of scanning one brain agree (r >= .95 inside it), with the shipped model."""
    from MRI2PETLib.models.store import find_bundle

    model = find_bundle("tspo-demo")
    straight = synthesize(person.t1, model, device="cpu")
    turned = synthesize(oblique(person.t1, 20), model, device="cpu")
    back = sitk.Resample(turned.pet, straight.pet)
    inside = (
        sitk.GetArrayFromImage(straight.mask)
        * sitk.GetArrayFromImage(sitk.Resample(turned.mask, straight.mask))
        > 0
    )
    a, b = (sitk.GetArrayFromImage(i)[inside] for i in (straight.pet, back))
    assert np.corrcoef(a, b)[0, 1] >= 0.95


def test_a_given_mask_decides_where_pet_is(person: SimulatedSubject, bundle: Bundle) -> None:
    half = sitk.GetArrayFromImage(person.brain_mask)
    half[:, : half.shape[1] // 8] = 0
    mask = Grid.of(person.brain_mask).image(half)
    result = synthesize(person.t1, bundle, mask=mask, device="cpu")
    assert result.extraction.method == "given"
    assert np.all((sitk.GetArrayFromImage(result.pet) != 0) <= (half > 0))


def test_no_brain_is_refused(bundle: Bundle) -> None:
    noise = np.random.default_rng(0).rayleigh(10, (100, 100, 100)).astype(np.float32)
    grid = Grid((100, 100, 100), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(QualityError):
        synthesize(grid.image(noise), bundle, device="cpu")


def test_inverted_contrast_is_refused(person: SimulatedSubject, bundle: Bundle) -> None:
    top = 1.05 * float(sitk.GetArrayFromImage(person.t1).max())
    inverted = sitk.Mask(sitk.InvertIntensity(person.t1, top), person.brain_mask)
    with pytest.raises(QualityError, match="(?i)contrast"):
        synthesize(inverted, bundle, device="cpu")


def test_a_device_that_is_not_there(person: SimulatedSubject, bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="cuda:7"):
        synthesize(person.t1, bundle, mask=person.brain_mask, device="cuda:7")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("CUDA out of memory", "meta ran out of memory"),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "meta ran out of memory"),
        ("MPS: conv3d is not implemented\nfor this", "meta failed (MPS: conv3d is not implemented)"),
    ],
)
def test_a_device_that_fails_leaves_the_case_to_the_cpu(
    person: SimulatedSubject, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: str, reason: str
) -> None:
    """In fp32, with weights that bf16 has not rounded. The device boundary is replaced: a "meta" device
    stands for a GPU.
    """
    import torch

    from MRI2PETLib.core import devices
    from MRI2PETLib.models import unet

    plain, dtypes = unet.predict, []

    def predict(network: torch.nn.Module, source: torch.Tensor, **options: object) -> tuple:
        dtypes.append((source.device.type, source.dtype))
        if source.device.type == "meta":
            raise RuntimeError(error)
        return plain(network, source, **options)

    expected = synthesize(person.t1, bundle, mask=person.brain_mask, device="cpu")
    monkeypatch.setattr(devices, "pick_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(unet, "predict", predict)
    result = synthesize(person.t1, bundle, mask=person.brain_mask, precision="bf16")
    assert dtypes == [("meta", torch.bfloat16), ("cpu", torch.float32)]
    assert (result.provenance["device"], result.provenance["precision"]) == ("cpu", "fp32")
    assert f"{reason}: the network ran on the CPU instead." in result.verdict.reasons("warn")
    arrays = [sitk.GetArrayViewFromImage(r.pet) for r in (result, expected)]
    np.testing.assert_array_equal(*arrays)


@pytest.mark.parametrize(
    "error",
    [
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 84934656000 bytes. Error code 12 (Cannot allocate memory)",
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried",
    ],
)
def test_a_cpu_without_memory_names_the_remedy(
    person: SimulatedSubject, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    from MRI2PETLib.models import unet

    def predict(*_: object, **__: object) -> tuple:
        raise RuntimeError(error)

    monkeypatch.setattr(unet, "predict", predict)
    with pytest.raises(DeviceError, match="Not enough memory for tiny on 32 x 32 x 32 voxels") as caught:
        synthesize(person.t1, bundle, mask=person.brain_mask, device="cpu")
    assert "fewer voxels" in caught.value.hint


def test_command_line_writes_whole_results_and_keeps_them(
    t1_path: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "où"
    command = [
        "synthesize",
        str(t1_path),
        "-o",
        str(output),
        "--model",
        str(bundle.folder),
        "--device",
        "cpu",
    ]
    assert main(command) == 0
    assert files_in(output) == sorted(
        [
            "anna" + PET,
            "anna" + PET.replace(".nii.gz", ".json"),
            "anna" + PET.replace(".nii.gz", ".png"),
            "anna" + PET.replace("_pet.nii.gz", "_thumbnail.png"),
            "anna_space-T1w_desc-brain_mask.nii.gz",
            "anna_space-T1w_desc-brain_mask.json",
            "anna_trc-PBR28_space-T1w_desc-synthetic_status.json",
            SYNTHESIS.file,
        ]
    )
    sidecar = json.loads((output / ("anna" + PET.replace(".nii.gz", ".json"))).read_text())
    assert sidecar["Synthetic"] is True and "DEMONSTRATION" in sidecar["Description"]
    assert sidecar["Units"] == "SUVR"
    before = (output / ("anna" + PET)).stat().st_mtime_ns
    assert main(command) == 0
    assert (output / ("anna" + PET)).stat().st_mtime_ns == before
    assert status(output)[0]["status"] == "done" and "anna: kept" in capsys.readouterr().out
    assert main([*command, "--seed", "1"]) == 0
    assert (output / ("anna" + PET)).stat().st_mtime_ns != before


def test_an_ensemble_says_what_its_sd_is_and_that_samples_change_nothing(
    t1_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = {f"seed-{number}": unet.build(tiny_metadata()["network"]) for number in (1, 2)}
    model = save_bundle(tmp_path / "two", networks, tiny_metadata(id="two"), "# two\n")
    out = tmp_path / "out"
    command = ["synthesize", t1_path, "--model", model.folder, "-o", out, "--samples=3"]
    assert main([*map(str, command)]) == 0
    assert not list(out.glob("*SD_pet*"))
    assert main([*map(str, command), "--member-sd"]) == 0
    assert "two is deterministic: more than one sample changes nothing." in capsys.readouterr().err
    about = json.loads(next(out.glob("*_desc-syntheticSD_pet.json")).read_text(encoding="utf-8"))
    what = "SD between the networks of an ensemble, which is not that of the error. "
    assert about["Description"].startswith(what)
    assert about["Units"] == "SUVR"


def test_a_batch_goes_on_past_bad_files_and_retries_only_those(
    person: SimulatedSubject, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    write_image(person.t1, images / "good.nii.gz")
    (images / "broken.nii.gz").write_bytes(b"\x1f\x8b not a gzip")
    slab = sitk.RegionOfInterest(person.t1, [*person.t1.GetSize()[:2], 20], [0, 0, 40])
    write_image(slab, images / "slab.nii.gz")
    output = tmp_path / "out"
    command = ["synthesize", str(images), "-o", str(output), "--model", str(bundle.folder), "--device", "cpu"]
    assert main(command) == EXIT_PARTIAL
    rows = {row["case"]: row for row in status(output)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "good": "done",
        "broken": "failed",
        "slab": "failed",
    }
    assert all(rows[name]["message"] for name in ("broken", "slab"))
    write_image(person.t1, images / "broken.nii.gz")
    capsys.readouterr()
    assert main(command) == EXIT_PARTIAL
    assert [row["status"] for row in status(output)] == ["done", "done", "failed"]
    assert "good: kept" in capsys.readouterr().out
    assert not [name for name in files_in(output) if ".mri2pet" in name]


def test_real_pet_beside_it(
    person: SimulatedSubject,
    bundle: Bundle,
    t1_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end = property(lambda self: 1.2)  # the scale of a model that this PET goes beyond
    monkeypatch.setattr(ModelSpace, "largest_suvr", end)
    moved = sitk.Resample(
        person.pet,
        [80, 100, 80],
        sitk.TranslationTransform(3, (4.0, -3.0, 2.0)),
        sitk.sitkLinear,
        (np.array(person.pet.GetOrigin()) - 4.0).tolist(),
        [2.4] * 3,
        person.pet.GetDirection(),
        0.0,
    )
    pet = write_image(moved, tmp_path / "pet.nii.gz", {"Units": "SUV", "Simulated": True})
    output = tmp_path / "out"
    command = [
        "synthesize",
        str(t1_path),
        "-o",
        str(output),
        "--model",
        str(bundle.folder),
        "--pet",
        str(pet),
    ]
    assert main([*command, "--device", "cpu", "--progress", "none"]) == 0
    result = json.loads(next(output.glob("*metrics.json")).read_text())
    assert result["Alignment"]["method"] == "rigid registration" and result["Simulated"] is True
    for name in ("mse", "normdiff_mean", "pearson_r", "cnr_real_median_abs", "cnr_synthetic_median_abs"):
        assert isinstance(result["Metrics"][name], float)
    real = sitk.ReadImage(str(next(output.glob("*desc-real_pet.nii.gz"))))
    inside = sitk.GetArrayFromImage(person.brain_mask) > 0
    a, b = (sitk.GetArrayFromImage(i)[inside] for i in (real, person.pet))
    assert np.corrcoef(a, b)[0, 1] > 0.9, "the shift of 5 mm was undone"
    assert "The real PET reaches SUVR 1.2 in " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.nii.gz"], InputError.exit_code),
        (["T1", "--model", "nothing"], BundleError.exit_code),
        (["T1", "--device", "cuda:9"], DeviceError.exit_code),
        (["T1", "--mask", "missing.nii.gz"], InputError.exit_code),
        (["T1", "--pet", "missing.nii.gz"], InputError.exit_code),
        (["T1", "--samples", "0"], InputError.exit_code),
        (["T1", "--brain-extractor", "magic"], None),
    ],
)
def test_bad_requests_end_with_a_message(
    arguments: list[str],
    code: int | None,
    t1_path: Path,
    bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    arguments = [str(t1_path) if a == "T1" else a for a in arguments]
    if "--model" not in arguments:
        arguments += ["--model", str(bundle.folder)]
    result = main(["synthesize", *arguments, "-o", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert result == code if code is not None else result > 0
    assert "error:" in message and "Traceback" not in message and "Unexpected" not in message


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write to read-only folders")
def test_read_only_output_folder(t1_path: Path, bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    command = ["synthesize", str(t1_path), "-o", str(folder), "--model", str(bundle.folder)]
    assert main(command) == OutputError.exit_code


def test_json_progress_is_one_object_a_line(
    t1_path: Path, bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    arguments = ["synthesize", str(t1_path), "-o", str(tmp_path / "out"), "--model", str(bundle.folder)]
    assert main([*arguments, "--device", "cpu", "--progress", "json"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    shares = [e["done"] / e["total"] for e in events if e["event"] == "progress"]
    assert shares == sorted(shares) and shares[-1] > 0.9
    assert events[-1]["event"] == "result" and events[-1]["cases"][0]["status"] == "done"


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(t1_path: Path, bundle: Bundle, tmp_path: Path, number: int) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "MRI2PETLib.cli", "synthesize", str(t1_path), "-o", str(output)]
    command += ["--model", str(bundle.folder), "--device", "cpu", "--progress", "json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line).get("done", 0) > 0.1:
            break
    child.send_signal(number)
    child.communicate(timeout=60)  # a guard: it takes a second or two where nothing else runs
    assert child.returncode == 130
    assert files_in(output) == []


def test_a_signal_right_at_the_end_is_no_half_result(t1_path: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Cancelled while the files are written: the staging folder is removed."""
    from MRI2PETLib.core.errors import Cancelled
    from MRI2PETLib.core.progress import Reporter
    from MRI2PETLib.synthesis.batch import run_batch
    from MRI2PETLib.synthesis.cases import Case
    from MRI2PETLib.synthesis.settings import SynthesisSettings

    class Late:
        def read(self, case: Case) -> None:
            """Nothing."""

        def write(self, *_: object) -> None:
            raise Cancelled("now")

    output = tmp_path / "out"
    with pytest.raises(Cancelled):
        run_batch(
            [Case("anna", t1_path)],
            bundle,
            output,
            SynthesisSettings(device="cpu"),
            reporter=Reporter(),
            addition=Late(),
        )
    assert files_in(output) == []
