"""Seconds and memory of ``mri2pet bids BIDS OUT group`` by the number of cases, and how fast its page opens.

    python Testing/benchmarks/group.py -o build/group 500 1000 2000 4000

Status files and thumbnails are made by code, the rest is that of the command. The last line is the exponent
of the processor seconds beyond those of one case (a straight line through the logarithms). Linux.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from MRI2PETLib.core.requests import Request, Result, Source

REASONS = ("", "", "", "The image resembles the template less than most (r = 0.34). Look at the brain mask.")


def write_cases(output: Path, count: int) -> None:
    """``count`` finished cases with a thumbnail each; one in twenty has failed."""
    from PIL import Image

    rng = np.random.default_rng(0)
    thumbnails = [Image.fromarray(rng.integers(0, 255, (80, 160, 3), dtype=np.uint8)) for _ in range(20)]
    for number in range(count):
        name = f"sub-{number:06d}"
        folder = output / name
        folder.mkdir(parents=True)
        result = Result(folder, f"{name}_trc-PBR28_space-T1w_desc-synthetic_status.json")
        request = Request({"t1": Source(f"/data/{name}_T1w.nii.gz", str(number))})
        about = {"case": name, "t1": f"/data/{name}_T1w.nii.gz", "seconds": "2.9", "brain_ml": "1400"}
        if number % 20 == 7:
            reason = {"status": "failed", "message": "There is no brain in it.", "hint": "Look at it."}
            result.fail(request, {**about, **reason, "quality": "refuse"})
            continue
        message = REASONS[number % len(REASONS)]
        about |= {"status": "done", "quality": "warn" if message else "ok", "message": message}
        with result.make(request, {**about, "files": {"thumbnail": "thumbnail.png"}}) as staging:
            thumbnails[number % len(thumbnails)].save(staging / "thumbnail.png")


def measure(output: Path) -> dict[str, float]:
    """Of the command in a process of its own: processor seconds, seconds and peak memory (MB)."""
    code = "import sys; from MRI2PETLib.reports.group_page import write_group; from pathlib import Path; "
    code += "from MRI2PETLib.core.progress import Reporter; write_group(Path(sys.argv[1]), [], Reporter()); "
    code += "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", code, str(output)], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"s": time.perf_counter() - began, "cpu_s": cpu_s, "peak_mb": int(ended.stdout) / 1024}


def opened_ms(page: Path) -> float | None:
    """Milliseconds from the address to the first rows in headless Chromium; ``None`` without one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    line = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.resolve().as_uri()]
    text = subprocess.run(line, capture_output=True, text=True, timeout=120).stdout
    ready = re.search(r'data-ready-ms="(\d+)"', text)
    return None if ready is None else float(ready[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("counts", type=int, nargs="+")
    args = parser.parse_args()
    rows = []
    for count in (1, *args.counts):
        output = args.output / str(count)
        shutil.rmtree(output, ignore_errors=True)
        write_cases(output, count)
        figures = measure(output)
        page = output / "group.html"
        more = {"page_mb": page.stat().st_size / 1e6, "opened_ms": opened_ms(page)}
        rows.append({"cases": count, **figures, **more})
        print(json.dumps({k: v if v is None else round(v, 2) for k, v in rows[-1].items()}), flush=True)
    if len(args.counts) > 1:
        logs = np.log([[row["cases"], row["cpu_s"] - rows[0]["cpu_s"]] for row in rows[1:]])
        print(f"exponent of the processor seconds: {np.polyfit(logs[:, 0], logs[:, 1], 1)[0]:.2f}")


if __name__ == "__main__":
    main()
