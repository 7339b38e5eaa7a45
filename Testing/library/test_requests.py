"""Nothing stale: whatever changes between two runs, a folder holds what a run into an empty one would give.

What takes long (brain, network, metrics, picture) is replaced by arithmetic on the same inputs; requests,
files and records are real.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core import case_status, files, requests
from MRI2PETLib.core.errors import DeviceError, InputError, OutputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.requests import Request, Result, Source
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.store import find_bundle
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction
from MRI2PETLib.reports import synthesis as report
from MRI2PETLib.synthesis import batch
from MRI2PETLib.synthesis.cases import find_cases
from MRI2PETLib.synthesis.dataset_description import DESCRIPTION_FILE, IGNORE_FILE, README_FILE
from MRI2PETLib.synthesis.pipeline import PreparedImage, SynthesisResult
from MRI2PETLib.synthesis.settings import SynthesisSettings

pytestmark = pytest.mark.usefixtures("quick_registration")

GRID = Grid((34, 34, 34), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
T1, PET, MASK = "sub-01/anat/sub-01_T1w", "sub-01/pet/sub-01_pet", "mask.nii.gz"
PLACE = "sub-01/"
NAME = f"{PLACE}pet/sub-01_trc-PBR28_space-T1w_desc-"
Change = Callable[[Path], object]  # a list is that of the arguments of the second run


def ball(seed: int, inside: float = 2.0) -> sitk.Image:
    """Noise, and a ball in its middle."""
    values = np.random.default_rng(seed).random(GRID.size).astype(np.float32)
    k, j, i = np.indices(GRID.size)
    values[(k - 17) ** 2 + (j - 17) ** 2 + (i - 17) ** 2 < 100] += inside
    return GRID.image(values)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("model") / "tiny").folder


@pytest.fixture(scope="module", autouse=True)
def fast() -> Any:
    """The work of seconds becomes arithmetic on what it would have used."""

    def prepare(t1: sitk.Image, bundle: Bundle, settings: Any, *, mask: Any, progress: Any) -> PreparedImage:
        brain = t1 > 1 if mask is None else mask
        return PreparedImage(BrainExtraction(brain, None, "given", Verdict(), {}), t1, {})  # type: ignore[arg-type]

    def complete(prepared: PreparedImage, load: Any, settings: Any, progress: Any) -> SynthesisResult:
        mask = sitk.Cast(prepared.extraction.mask, sitk.sitkFloat32)
        image = prepared.encoded * mask * (1.0 + settings.seed + 10 * settings.samples)
        about = {"settings": settings.to_dict(deciding=True)}
        sd = image * 0.1 if settings.samples > 1 else None
        mask = prepared.extraction.mask
        return SynthesisResult(image, "SUVR", mask, sd, None, prepared.extraction, Verdict(), about)

    def draw(bundle: Bundle, case: Any, files: Any, t1: Any, result: Any, **more: Any) -> None:
        total = float(sitk.GetArrayFromImage(result.pet).sum())
        files.picture.write_text(f"{bundle.checksum} {total} {more.get('real') is not None}")

    def compare(bundle: Bundle, t1: Any, result: Any, real: sitk.Image, *more: Any) -> dict[str, Any]:
        metrics = dict.fromkeys(
            ("pearson_r", "mse", "normdiff_mean"), float(sitk.GetArrayFromImage(real).sum())
        )
        return {"Metrics": metrics, "Baselines": {}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "prepare", prepare)
        patch.setattr(batch, "complete", complete)
        patch.setattr(report, "_draw", draw)
        patch.setattr(report, "compare_predictors", compare)
        patch.setattr(report, "_summary", lambda table: "")
        yield


@pytest.fixture(scope="module")
def before(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where a dataset, a model and the result of the first run are, and a copy of them."""
    root = tmp_path_factory.mktemp("before") / "root"
    for folder in ("sub-01/anat", "sub-01/pet"):
        (root / "data" / folder).mkdir(parents=True)
    write_image(ball(1), root / f"data/{T1}.nii.gz", {"Modality": "MR"})
    write_image(ball(2), root / f"data/{PET}.nii.gz", {"Units": "Bq/mL", "Modality": "PET"})
    write_image(sitk.Cast(ball(0) > 1.2, sitk.sitkUInt8), root / "data" / MASK)
    weights = "participant_id\tweight\nsub-01\t70\nsub-02\t80\n"
    (root / "data" / "participants.tsv").write_text(weights)
    shutil.copytree(model, root / "model")
    assert run(root) == 0
    return root, shutil.copytree(root, root.with_name("copy"))


@pytest.fixture
def root(before: tuple[Path, Path]) -> Path:
    """As it was after the first run."""
    shutil.rmtree(before[0])
    return shutil.copytree(before[1], before[0])


def arguments(root: Path) -> list[str]:
    mask, pet = root / "data" / MASK, root / f"data/{PET}.nii.gz"
    return [*without_pet(root), f"--pet={pet}", f"--mask={mask}"]


def without_pet(root: Path) -> list[str]:
    return [f"{root}/data/{T1}.nii.gz", f"--model={root / 'model'}", "--device=cpu"]


def run(root: Path, inputs: object = None, output: str = "out") -> int:
    options = inputs if isinstance(inputs, list) else arguments(root)
    return main(["synthesize", *options, "-o", str(root / output), "--progress=none"])


def contents(folder: Path) -> dict[str, Any]:
    """Every file; of JSON without what differs between any two runs."""
    result: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        result[name] = path.read_bytes().replace(str(folder).encode(), b"OUT")
        if path.name.endswith("status.json"):
            record = json.loads(path.read_text())
            about = {**record["about"], "seconds": ""}
            result[name] = {
                **record,
                "about": about,
                "outputs": sorted(record["outputs"]),
                "checksum": "",
            }
    for name in (batch.SYNTHESIS.file, DESCRIPTION_FILE, README_FILE, IGNORE_FILE):
        result.pop(name, None)
    return result


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def add(*more: str) -> Change:
    return lambda root: [*arguments(root), *more]


def text(name: str, old: str, new: str) -> Change:
    def change(root: Path) -> None:
        path = root / name
        path.write_text(path.read_text().replace(old, new))

    return change


def image(name: str, content: sitk.Image) -> Change:
    def change(root: Path) -> None:
        write_image(content, root / name)

    return change


def write(name: str, content: str) -> Change:
    def change(root: Path) -> None:
        (root / name).write_text(content)

    return change


def model_says(**changes: Any) -> Change:
    return lambda root: edit_json(root / "model/configs/metadata.json", **changes)


def delete(name: str) -> Change:
    return lambda root: (root / name).unlink()


def append(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes() + b" ")


def cut(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-9])


OUTPUTS = [
    f"{NAME}synthetic_pet.nii.gz",
    f"{NAME}synthetic_pet.json",
    f"{NAME}synthetic_pet.png",
    f"{NAME}real_pet.nii.gz",
    f"{NAME}real_pet.json",
    f"{NAME}comparison_metrics.json",
    f"{PLACE}anat/sub-01_space-T1w_desc-brain_mask.nii.gz",
    f"{PLACE}anat/sub-01_space-T1w_desc-brain_mask.json",
    f"{PLACE}sub-01_trc-PBR28_space-T1w_desc-synthetic_status.json",
]
CHANGES: dict[str, Change] = {
    "T1": image(f"data/{T1}.nii.gz", ball(3)),
    "T1 sidecar": text(f"data/{T1}.json", "{", '{"Simulated": true, '),
    "T1 sidecar gone": delete(f"data/{T1}.json"),
    "T1 sidecar of the dataset": write("data/T1w.json", '{"Simulated": true}'),
    "mask": image(f"data/{MASK}", sitk.Cast(ball(0) > 1.3, sitk.sitkUInt8)),
    "no mask": lambda root: arguments(root)[:-1],
    "PET": image(f"data/{PET}.nii.gz", ball(4)),
    "PET unit in its sidecar": text(f"data/{PET}.json", "Bq/mL", "SUV"),
    "PET sidecar gone": delete(f"data/{PET}.json"),
    "PET sidecar of the dataset": write("data/pet.json", '{"InjectedRadioactivity": 1}'),
    "weight of the person": text("data/participants.tsv", "70", "71"),
    "participants gone": delete("data/participants.tsv"),
    "no PET": lambda root: [*without_pet(root), f"--mask={root / 'data' / MASK}"],
    "PET unit stated": add("--pet-unit=SUV"),
    "alignment": add("--register=header"),
    "seed": add("--seed=1"),
    "samples": add("--samples=2"),
    "steps": add("--steps=3"),
    "precision": add("--precision=bf16"),
    "brain extractor": add("--brain-extractor=hd-bet"),
    "device": lambda root: [a.replace("=cpu", "=auto") for a in arguments(root)],
    "description of the model": model_says(description="changed"),
    "intended use of the model": model_says(intended_use="research"),
    "baselines of the model": model_says(baselines={"cubic_of_t1": {"coefficients": [1, 2, 3, 4]}}),
    "weights of the model": model_says(weights_sha256="0" * 64),
    **{f"deleted {name}": delete(f"out/{name}") for name in OUTPUTS},
    **{f"edited {name}": append(f"out/{name}") for name in OUTPUTS[:-1]},
    "edited status": text(f"out/{OUTPUTS[-1]}", '"warn"', '"ok"'),
    "status says another thing": text(f"out/{OUTPUTS[-1]}", '"seconds": "', '"seconds": "9'),
    "damaged status": cut(f"out/{OUTPUTS[-1]}"),
    "an SD map from elsewhere": image(f"out/{NAME}syntheticSD_pet.nii.gz", ball(0)),
    "edited table": text(f"out/{batch.SYNTHESIS.file}", "done", "failed"),
    "deleted table": delete(f"out/{batch.SYNTHESIS.file}"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_after_any_change_a_folder_holds_what_an_empty_one_would(name: str, root: Path) -> None:
    inputs = CHANGES[name](root)
    assert run(root, inputs) == 0
    assert run(root, inputs, "fresh") == 0
    assert contents(root / "out") == contents(root / "fresh")
    rows = [
        (folder / batch.SYNTHESIS.file).read_text().replace(str(folder), "OUT")
        for folder in (root / "out", root / "fresh")
    ]
    assert [row.split(",")[:3] for row in rows[0].splitlines()] == [
        row.split(",")[:3] for row in rows[1].splitlines()
    ]


OF_A_DATASET = [
    *("T1", "PET", "weight of the person", "weights of the model", "damaged status", "edited table"),
    *(f"{how} {name}" for how, name in zip(("deleted", "edited"), OUTPUTS)),
]


def bids(root: Path, output: str) -> None:
    more = [f"--model={root / 'model'}", "--device=cpu", "--with-pet", "--progress=none"]
    for level, options in (("participant", more), ("group", ["--progress=none"])):
        assert main(["bids", str(root / "data"), str(root / output), level, *options]) == 0


@pytest.mark.parametrize("name", OF_A_DATASET)
def test_a_bids_app_after_any_change(name: str, root: Path) -> None:
    """The page of the group is made from the status files each time; it and its table hold seconds."""
    shutil.rmtree(root / "out")
    bids(root, "out")
    CHANGES[name](root)
    bids(root, "out")
    bids(root, "fresh")
    pages = [contents(root / folder) for folder in ("out", "fresh")]
    assert all(page.pop("group.html") for page in pages)
    assert pages[0] == pages[1]


def reorder(name: str) -> Change:
    def change(root: Path) -> None:
        content = json.loads((root / name).read_text())
        (root / name).write_text(json.dumps(dict(reversed(content.items()))))

    return change


WITHOUT_EFFECT: dict[str, Change] = {
    "nothing": lambda root: None,
    "the weight of another person": text("data/participants.tsv", "80", "81"),
    "the card of the model": append("model/docs/README.md"),
    "another place of the mask": lambda root: [
        *arguments(root)[:-1], f"--mask={shutil.copy(root / 'data' / MASK, root / 'copy.nii.gz')}"
    ],
    "the order of keys": reorder("model/configs/metadata.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_decides_nothing_makes_nothing_again(name: str, root: Path) -> None:
    inputs = WITHOUT_EFFECT[name](root)
    pet = root / "out" / OUTPUTS[0]
    written = pet.stat().st_mtime_ns
    assert run(root, inputs) == 0 and pet.stat().st_mtime_ns == written


def test_another_version_makes_everything_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = (root / "out" / OUTPUTS[0]).stat().st_mtime_ns
    monkeypatch.setattr(requests, "__version__", "0.2")
    assert run(root) == 0 and (root / "out" / OUTPUTS[0]).stat().st_mtime_ns != written


@pytest.mark.parametrize("name", [f"data/{T1}.nii.gz", f"data/{PET}.nii.gz", f"data/{MASK}"])
def test_of_an_input_that_became_unusable_no_result_stays(name: str, root: Path) -> None:
    cut(name)(root)
    assert run(root) == InputError.exit_code
    assert sorted(contents(root / "out")) in ([], [OUTPUTS[-1]])


def test_a_request_that_fails_on_the_same_inputs_leaves_the_result(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(*_: object) -> None:
        raise DeviceError("There is no such device.")

    monkeypatch.setattr(batch, "complete", complete)
    assert run(root, [*arguments(root), "--seed=1"]) == DeviceError.exit_code
    assert set(contents(root / "out")) == set(OUTPUTS)
    assert ",failed," in (root / "out" / batch.SYNTHESIS.file).read_text()


def test_the_data_file_of_a_header_counts(root: Path) -> None:
    """Whatever it is called: the header alone does not change."""
    sitk.WriteImage(ball(1), str(root / "head.mhd"))
    (root / "head.raw").rename(root / "voxels.bin")
    text("head.mhd", "head.raw", "voxels.bin")(root)
    inputs = [str(root / "head.mhd"), *without_pet(root)[1:]]
    assert run(root, inputs, "raw") == 0
    before = contents(root / "raw")
    (root / "voxels.bin").write_bytes(sitk.GetArrayFromImage(ball(2)).tobytes())
    assert run(root, inputs, "raw") == 0 and contents(root / "raw") != before


# --- whose result it is -------------------------------------------------------------------------------------


def test_the_result_of_another_input_is_not_replaced(root: Path, capsys: pytest.CaptureFixture) -> None:
    other = root / "other" / f"{T1}.nii.gz"
    other.parent.mkdir(parents=True)
    write_image(ball(5), other)
    there = contents(root / "out")
    assert run(root, [str(other), *arguments(root)[1:]]) == InputError.exit_code
    error = capsys.readouterr().err
    assert str(other.resolve()) in error and f"{root.resolve()}/data/{T1}.nii.gz" in error and "-o" in error
    assert contents(root / "out") == there
    table = (root / "out" / batch.SYNTHESIS.file).read_text()
    assert table.count("\n") == 3 and "would replace it" in table


def test_an_input_that_changed_at_its_place_is_told_of(root: Path, capsys: pytest.CaptureFixture) -> None:
    """It may be another person's."""
    CHANGES["T1"](root)
    assert run(root) == 0
    assert f"{T1}.nii.gz has changed since" in capsys.readouterr().err
    assert run(root) == 0 and "has changed" not in capsys.readouterr().err


def test_the_description_of_a_dataset_is_not_replaced(root: Path, capsys: pytest.CaptureFixture) -> None:
    """Where somebody gives the dataset itself as the place of the output."""
    raw = root / "data" / DESCRIPTION_FILE
    raw.write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    before = sorted((root / "data").rglob("*"))
    assert run(root, output="data") == InputError.exit_code
    assert "was not made by this program" in capsys.readouterr().err
    assert json.loads(raw.read_text())["Name"] == "raw" and sorted((root / "data").rglob("*")) == before


def test_an_input_that_moved_is_still_the_same(root: Path) -> None:
    shutil.move(root / "data", root / "moved")
    written = (root / "out" / OUTPUTS[0]).stat().st_mtime_ns
    assert run(root, [a.replace(f"{root}/data", f"{root}/moved") for a in arguments(root)]) == 0
    assert (root / "out" / OUTPUTS[0]).stat().st_mtime_ns == written


def test_two_inputs_of_one_name_in_one_run_get_names_of_their_own(root: Path) -> None:
    for number, folder in enumerate(("x/P", "y/P")):
        (root / folder).mkdir(parents=True)
        write_image(ball(number), root / folder / "a.nii.gz")
    write_image(ball(9), root / "P_a-1.nii.gz")
    inputs = [
        *(str(root / name) for name in ("x/P/a.nii.gz", "y/P/a.nii.gz", "P_a-1.nii.gz")),
        *without_pet(root)[1:],
    ]
    assert run(root, inputs, "three") == 0
    made = sorted(path.name.split("_trc")[0] for path in (root / "three").glob("*synthetic_pet.nii.gz"))
    assert made == ["P_a-1", "P_a-2", "P_a-3"]


# --- one status file a case ---------------------------------------------------------------------------------


def test_a_table_of_somebody_is_not_replaced(tmp_path: Path) -> None:
    table = tmp_path / batch.SYNTHESIS.file
    table.write_text("my,own\n")
    with pytest.raises(InputError, match="was not made by this program"):
        batch.SYNTHESIS.check(tmp_path)
    table.write_text(",".join(batch.SYNTHESIS.columns) + "\n")
    batch.SYNTHESIS.check(tmp_path)


def test_rows_of_other_cases_never_vanish(root: Path) -> None:
    """Whatever became of the table: it is made from the status files."""
    table = root / "out" / batch.SYNTHESIS.file
    for number, damage in enumerate(
        (b"", b"case;status\nx;y\n", "fall,ääh\n".encode("latin-1"), b"\x00\xff")
    ):
        table.write_bytes(damage)
        image = root / f"more-{number}.nii.gz"
        write_image(ball(number), image)
        assert run(root, [str(image), *without_pet(root)[1:]]) == 0
        cases = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
        assert cases == [*(f"more-{n}" for n in range(number + 1)), "sub-01"]


def test_a_row_that_another_process_finished_meanwhile_is_in_the_table(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes its status file between our look at the folder and our table."""
    status, plain = root / "out" / OUTPUTS[-1], case_status.write_table
    held = status.read_bytes()
    status.unlink()
    image = root / "more.nii.gz"
    write_image(ball(7), image)

    def write_table(*arguments: Any) -> Any:
        status.write_bytes(held)
        return plain(*arguments)

    monkeypatch.setattr(case_status, "write_table", write_table)
    assert run(root, [str(image), *without_pet(root)[1:]]) == 0
    assert (root / "out" / batch.SYNTHESIS.file).read_text().count("done") == 2


def test_many_processes_share_a_folder_and_every_case_is_made_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken one too; and who comes later, or waits, has the rows of all."""
    images = [root / f"image-{number}.nii.gz" for number in range(6)]
    for number, path in enumerate(images):
        write_image(ball(number), path)
    images[3].write_bytes(b"broken")
    made, complete, read = [], batch.complete, batch.read_source

    def count(prepared: PreparedImage, *arguments: Any) -> SynthesisResult:
        made.append(float(sitk.GetArrayFromImage(prepared.encoded).sum()))
        return complete(prepared, *arguments)

    def read_slowly(path: Path, *more: Any) -> Any:
        time.sleep(0.05)
        made.extend(["broken"] * (path == images[3]))
        return read(path, *more)

    monkeypatch.setattr(batch, "complete", count)
    monkeypatch.setattr(batch, "read_source", read_slowly)
    bundle, settings = find_bundle(root / "model"), SynthesisSettings(device="cpu")

    def work(_: int) -> list[str]:
        cases = find_cases(images)
        rows = batch.run_batch(cases, bundle, root / "shared", settings, reporter=Reporter())
        return [f"{row.case} {'failed' if row.status == 'failed' else 'finished'}" for row in rows]

    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(work, range(4)))
    assert len(made) == len(set(made)) == 6
    expected = [f"image-{n} {'failed' if n == 3 else 'finished'}" for n in range(6)]
    assert rows == [expected] * 4
    assert not list((root / "shared").glob(".*"))


# --- the record itself --------------------------------------------------------------------------------------

REQUEST = Request({"t1": Source("/data/t1", "1")}, {"mask": None}, {"seed": 1})


def test_only_files_in_the_folder_of_a_record_are_ever_removed(tmp_path: Path) -> None:
    """A record from elsewhere names others; a folder of outputs is a link to another place."""
    (tmp_path / "kept").mkdir()
    for name in ("kept/a", "b"):
        (tmp_path / name).write_text("mine")
    result = Result(tmp_path / "out", "status.json")
    with result.make(REQUEST, {}) as staging:
        (staging / "old").write_text("old")
    (tmp_path / "out" / "linked").symlink_to(tmp_path / "kept", target_is_directory=True)
    outputs = dict.fromkeys(("../b", str(tmp_path / "b"), "linked/a", "linked/../../b", "old"), "0")
    edit_json(result.path, outputs=outputs)
    with result.make(REQUEST, {}) as staging:
        (staging / "new").write_text("new")
    assert (tmp_path / "b").read_text() == (tmp_path / "kept" / "a").read_text() == "mine"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["linked", "new", "status.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"whose": 3, "outputs": []}', '{"outputs": {"new": 1}}', "\ufeff[1"]
)
def test_a_record_that_is_none_means_not_finished(content: str, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(content)
    result = Result(tmp_path, "status.json")
    assert result.finished(REQUEST) is None
    result.check_owner(REQUEST)
    with result.make(REQUEST, {"x": 1}) as staging:
        (staging / "new").write_text("new")
    assert result.finished(REQUEST) == {"x": 1}


def test_an_input_is_never_replaced_by_its_result(tmp_path: Path) -> None:
    (tmp_path / "real.nii.gz").write_text("of a scanner")
    request = Request({"pet": Source(str((tmp_path / "real.nii.gz").resolve()), "x")})
    with (
        pytest.raises(InputError, match=r"real\.nii\.gz is an input"),
        Result(tmp_path, "status.json").make(request, {}) as staging,
    ):
        (staging / "real.nii.gz").write_text("made of it")
    with pytest.raises(InputError, match="is an input"):  # before anything is computed, where names are known
        Result(tmp_path, "status.json", ["real.nii.gz"]).check_owner(request)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("real.nii.gz", "of a scanner")]


def test_a_result_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    result = Result(tmp_path, "status.json")
    with result.make(REQUEST, {}) as staging:
        (staging / "a").write_text("first")
    with pytest.raises(KeyboardInterrupt), result.make(REQUEST, {}) as staging:
        (staging / "b").write_text("second")
        raise KeyboardInterrupt
    assert (
        sorted(p.name for p in tmp_path.iterdir()) == ["a", "status.json"] and result.finished(REQUEST) == {}
    )


def test_a_full_disk_says_nothing_about_the_inputs(tmp_path: Path) -> None:
    """It ends the run, and the earlier result stays; what else fails with changed inputs is recorded."""
    result = Result(tmp_path, "status.json")
    messages: list[str] = []
    with result.make(REQUEST, {}) as staging:
        (staging / "a").write_text("first")
    changed = replace(REQUEST, whose={role: replace(s, checksum="new") for role, s in REQUEST.whose.items()})
    with pytest.raises(OutputError, match="full"), result.attempt(changed, messages.append):
        raise OutputError("full")
    assert result.finished(REQUEST) == {} and (tmp_path / "a").exists()
    assert len(messages) == 1 and "/data/t1 has changed since" in messages.pop()
    with pytest.raises(InputError), result.attempt(changed, messages.append):
        raise InputError("no T1.")
    assert result.finished(REQUEST) is None and len(messages) == 2 and not (tmp_path / "a").exists()


REPORT = '<meta name="generator" content="SlicerMRI2PET">'


@pytest.mark.parametrize("name", ["report.html", "table.csv", "labels/mine.csv"])
def test_what_this_program_did_not_make_is_never_replaced(name: str, tmp_path: Path) -> None:
    """Neither at first nor beside a result, neither a file nor what lies in a folder that would be replaced;
    names that are known before are refused before anything is computed.
    """
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    result, computed = Result(tmp_path, "x_status.json", {"report.html", "table.csv", "table.json"}), []

    def make() -> None:
        with result.attempt(REQUEST, print):
            computed.append(name)
            with result.make(REQUEST, {}) as staging:
                (staging / "labels").mkdir()
                for own in ("report.html", "table.csv", "table.json", "labels/1.csv"):
                    (staging / own).write_text("1" if own.endswith("csv") else REPORT)

    with pytest.raises(InputError, match=f"{mine.name} was not made by this program"):
        make()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine] and mine.read_text() == "mine"
    assert bool(computed) == ("labels" in name)
    mine.unlink()
    make()
    if "labels" in name:
        mine.write_text("mine")
        with pytest.raises(InputError, match="was not made by this program"):
            make()
        assert mine.read_text() == "mine" and (tmp_path / "report.html").read_text() == REPORT
        mine.unlink()
    result.path.unlink()  # of a lost record the files are known by their mark
    make()
    assert result.finished(REQUEST) == {}


def test_a_file_that_a_new_setting_adds_replaces_nobody_s(tmp_path: Path) -> None:
    result = Result(tmp_path, "x_status.json")
    for names in (("a",), ("a", "b")):
        if "b" in names:
            (tmp_path / "b").write_text("mine")
        try:
            with result.make(REQUEST, {}) as staging:
                for name in names:
                    (staging / name).write_text("1")
        except InputError as error:
            assert "b was not made by this program" in error.message
    assert (tmp_path / "b").read_text() == "mine" and result.finished(REQUEST) == {}


def test_what_is_removed_beside_a_result_is_told(tmp_path: Path) -> None:
    """Before anything is computed: whoever put it there can still stop."""
    result, messages = Result(tmp_path, "x_status.json", {"a", "b"}), []
    for before in (0, 1):
        with result.attempt(REQUEST, messages.append), result.make(REQUEST, {}) as staging:
            (staging / "a").write_text("1")
        assert not (tmp_path / "b").exists() and len(messages) == before
        (tmp_path / "b").write_text("mine")
    assert f"{tmp_path / 'b'} has the name of a file of this result" in messages[0]


def test_a_result_without_a_record_is_not_replaced_untold(tmp_path: Path) -> None:
    """Such as one of 0.1.0: it may be another person's."""
    result, messages = Result(tmp_path, "x_status.json", {"metrics.json"}), []
    (tmp_path / "metrics.json").write_text(REPORT)
    result.check_owner(REQUEST, messages.append)
    assert len(messages) == 1 and "a result without its record (x_status.json)" in messages[0]
    with Result(tmp_path, "y_status.json").make(REQUEST, {}) as staging:
        (staging / "metrics.json").write_text(REPORT)  # shared by two results of one input
    result.check_owner(REQUEST, messages.append)
    assert len(messages) == 1


def test_two_results_of_one_input_spare_each_other(tmp_path: Path) -> None:
    """Two models, of which one leaves a mask of what it did not predict."""
    possible = {"mask", "not_predicted"}
    first, second = (Result(tmp_path, f"{name}_status.json", {name, *possible}) for name in "ab")
    requests = [replace(REQUEST, settings={"model": name}) for name in "ab"]

    def make(result: Result, request: Request, *names: str) -> None:
        with result.make(request, {}) as staging:
            for name in names:
                (staging / name).write_text(REPORT)

    make(first, requests[0], "a", "mask", "not_predicted")
    make(second, requests[1], "b", "mask")
    assert first.finished(requests[0]) == {} and second.finished(requests[1]) == {}
    make(first, requests[0], "a", "mask")
    assert not (tmp_path / "not_predicted").exists()
    make(second, requests[1], "b")
    assert first.finished(requests[0]) == {} and second.finished(requests[1]) == {}


def test_another_result_in_the_folder_is_not_replaced(tmp_path: Path) -> None:
    """A report of another command; what two results of one input share is no other's."""
    for record, request in (("x_status.json", REQUEST), ("y_status.json", replace(REQUEST, settings={}))):
        with Result(tmp_path, record).make(request, {}) as staging:
            (staging / "report.html").write_text(REPORT)
    other = Request({"pet": Source("/data/pet", "2")})
    with pytest.raises(InputError, match=r"report\.html belongs to ._status\.json"):
        Result(tmp_path, "z_status.json", {"report.html"}).check_owner(other)


def test_files_of_a_move_that_was_interrupted_are_known(tmp_path: Path, monkeypatch: Any) -> None:
    result, moved = Result(tmp_path, "x_status.json", {"a", "b"}), []

    def move(path: Path, target: Path, staging: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(path.replace(target))

    def make() -> None:
        with result.attempt(REQUEST, print), result.make(REQUEST, {}) as staging:
            for name in ("a", "b"):
                (staging / name).write_text("1")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "_move", move)
        make()
    assert len([path for path in tmp_path.iterdir() if path.name in "ab"]) == 1
    assert result.finished(REQUEST) is None
    make()
    assert result.finished(REQUEST) == {}
