"""Damage files of every kind at random and read them: what reading may do is checked.

``make fuzz`` tries many files of each kind, ``test_fuzz.py`` some. A kind is a module ``fuzz_<kind>.py``:

* ``write(folder)`` makes sound files;
* ``spoil(rng, sound, work)`` puts some of them into ``work``, one damaged, and returns what is to be read;
* ``use(path)`` reads it, and checks what was read.

An :class:`~MRI2PETLib.core.errors.Explained` is a refusal; any other exception is a fault, and so is a
refusal that calls itself unexpected. All happens in a child process: a crash of a native reader ends that,
and its last line names the file. The seed repeats it: ``fuzz.py --only runs --seed 1234 --count 1``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
KINDS = ("images", "bundles", "tables", "sidecars", "runs", "norms")
_BATCH = 1000
_SLOW_S = 20.0  # of processor time for one file


def try_many(kind: str, seed: int, count: int, folder: Path) -> int:
    """Damage and use ``count`` files; prints the seed of each before it is read, the outcomes at the end.

    :returns: the number of faults.
    """
    sys.path[:0] = [str(HERE), str(HERE.parent / "library"), str(HERE.parent / "training")]
    module = import_module(f"fuzz_{kind}")
    from MRI2PETLib.core.errors import Explained

    _be_quiet()
    sound, work = folder / "sound", folder / "work"
    sound.mkdir(parents=True)
    module.write(sound)
    tally = {"read": 0, "refused": 0}
    faults: dict[str, list[str]] = {}  # where they came from -> what was tried
    for number in range(seed, seed + count):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        path, started = module.spoil(np.random.default_rng(number), sound, work), time.process_time()
        print(f"{kind} {number} {path.relative_to(work)}", flush=True)
        try:
            try:
                module.use(path)
                tally["read"] += 1
            except Explained as refusal:
                tally["refused"] += 1
                assert refusal.message and "Unexpected" not in refusal.message, refusal.message
                str(refusal).encode()  # can be shown
            assert time.process_time() - started < _SLOW_S, "it takes too long"
        except Exception as fault:
            seed_of = f"{number} ({path.relative_to(work)}: {str(fault)[:200]})"
            faults.setdefault(_place(fault), []).append(seed_of)
    for trace, seeds in faults.items():
        print(f"{kind}, {len(seeds)} times, seed {', '.join(seeds[:5])}:\n{trace}", file=sys.stderr)
    print(json.dumps({kind: tally}), flush=True)
    return len(faults)


def _place(fault: Exception) -> str:
    """The end of a traceback without the values: the same for all faults of one cause."""
    frames = traceback.extract_tb(fault.__traceback__)[-6:]
    lines = [f"  {Path(frame.filename).name}:{frame.lineno} {frame.line}" for frame in frames]
    return "\n".join([*lines, f"  {type(fault).__name__}"])


def _be_quiet() -> None:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def run(kinds: Sequence[str], seed: int, count: int, timeout_s: float = 900) -> dict[str, dict[str, int]]:
    """Run :func:`try_many` of each kind in one child process. Returns how many were read and refused.

    :raises AssertionError: if the child crashed, failed or hung; names the seed of the file.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [sys.executable, __file__, "--only", *kinds, "--seed", str(seed), "--count", str(count)]
        environment = {**os.environ, "MRI2PET_MODELS": f"{folder}/models", "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [*command, "--folder", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        ) as child:
            try:
                out, err = child.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                err += "\nit hangs"
    lines = out.strip().splitlines() or ["nothing"]
    assert child.returncode == 0, f"{lines[-1]}: exit code {child.returncode}\n{err[-6000:]}"
    tallies: dict[str, dict[str, int]] = {}
    for line in lines:
        if line.startswith("{"):
            tallies |= json.loads(line)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0, help="of the first file; the next ones count on")
    parser.add_argument("--count", type=int, default=10_000, help="files of each kind")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:  # the child
        faults = [try_many(k, options.seed, options.count, options.folder / k) for k in options.only]
        return int(any(faults))
    failed, end = False, options.seed + options.count
    for kind in options.only:
        total = Counter[str]()
        for first in range(options.seed, end, _BATCH):
            try:
                total.update(run([kind], first, min(_BATCH, end - first))[kind])
            except AssertionError as fault:
                failed = True
                print(fault, flush=True)
        print(f"{kind}: {dict(total)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
