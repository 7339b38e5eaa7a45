"""The tables of ``Docs/explanation/speed.md`` from what ``speed.py`` measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def tables(figures: dict[str, Any]) -> str:
    """Markdown; what was not measured (yet) is left out."""
    parts = [_machine(figures["machine"])]
    makers = {
        "network_cpu": _network,
        "network_cuda": _network,
        "end_to_end": _end_to_end,
        "stages": _stages,
        "imports": _imports,
        "batches": _batches,
    }
    parts += [make(figures[name]) for name, make in makers.items() if name in figures]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _machine(about: dict[str, Any]) -> str:
    return (
        f"{about['processor']}, {about['cores']} cores ({about['capability']}), torch {about['torch']} with "
        f"{about['torch_threads']} threads, SimpleITK {about['SimpleITK']} with {about['itk_threads']}; load "
        f"before the run {about['load_before']:.1f}.\n"
    )


def _spread(row: dict[str, float], digits: int = 2) -> str:
    return f"{row['median_s']:.{digits}f} ({row['q1_s']:.{digits}f}-{row['q3_s']:.{digits}f})"


def _times(row: dict[str, Any]) -> str:
    faster = row["times_faster"]
    return f"{faster['median']:.2f} ({faster['q1']:.2f}-{faster['q3']:.2f})"


def _network(figures: dict[str, Any]) -> str:
    size, floor = figures["size"], figures["floor"]
    head = ["variant", "s, median (quartiles)", "CPU-s", "times faster", "times faster, CPU"]
    head += ["s, huge pages", "peak MB"]

    def lines(rows: list[dict[str, Any]]) -> list[list[str]]:
        return [
            [
                row["variant"],
                _spread(row, 3),
                f"{row['cpu_s']:.2f}",
                _times(row),
                f"{row['times_faster']['cpu']:.2f}",
                f"{row['huge_pages_s']:.2f}",
                f"{row['peak_mb']:.0f}",
            ]
            for row in rows
        ]

    forward = [
        [*line, f"{row['max_abs_difference']:.1e}"]
        for line, row in zip(lines(figures["forward"]), figures["forward"])
    ]
    growth = [
        [
            name,
            *(f"{s:.3f} s, {mb:.0f} MB" for s, mb in zip(row["median_s"], row["peak_mb"])),
            f"{row['exponent_of_voxels']:.2f}",
        ]
        for name, row in figures["growth"].items()
    ]
    sizes = next(iter(figures["growth"].values()))["sizes"]
    bf16 = f"; bf16 {floor['gemm_bf16_gflops']:.0f}" if "gemm_bf16_gflops" in floor else ""
    ours, step = (next(r for r in figures[k] if r["variant"] == "ours fp32") for k in ("forward", "training"))
    batch = figures["batch"]
    return (
        f"Network on {figures['device']}, one volume of {size}^3, forward:\n\n"
        + _table([*head, "largest difference"], forward)
        + "".join(
            f"\n{name} was left out: {factor:.0f} times slower than fp32 on a small volume.\n"
            for name, factor in figures["left_out"].items()
        )
        + f"\nFloor: {floor['gflop']:.1f} GFLOP at {floor['gemm_fp32_gflops']:.0f} GFLOP/s (fp32{bf16}) are "
        f"{floor['floor_fp32_s']:.3f} s, copies run at "
        f"{floor['copy_gb_per_s']:.0f} GB/s. Ours is {ours['median_s'] / floor['floor_fp32_s']:.1f} times "
        "above that floor.\n\n"
        f"One training step (forward, backward, Adam), {size}^3:\n\n"
        + _table(head, lines(figures["training"]))
        + f"\nA training batch of one volume (read from the cache, turned, scaled, noise added) takes "
        f"{batch['median_s']:.2f} s ({batch['cpu_s']:.2f} CPU-s), "
        f"{100 * batch['median_s'] / step['median_s']:.1f} % of our step.\n"
        + "\nGrowth (forward):\n\n"
        + _table(["variant", *(f"{n}^3" for n in sizes), "time ~ voxels^e, e"], growth)
    )


def _end_to_end(rows: list[dict[str, Any]]) -> str:
    head = ["case", "model", "first, s", "second in the process, s", "peak MB"]
    return "End to end, from the shell prompt to files on disk:\n\n" + _table(
        head,
        (
            [row["case"], row["model"], _spread(row, 1), f"{row['second_s']:.1f}", f"{row['peak_mb']:.0f}"]
            for row in rows
        ),
    )


def _stages(figures: dict[str, Any]) -> str:
    names = list(dict.fromkeys(stage for stages in figures.values() for stage in stages))
    head = ["stage", *(f"{case}: s (CPU-s)" for case in figures)]

    def cell(stages: dict[str, Any], name: str) -> str:
        return f"{stages[name]['median_s']:.2f} ({stages[name]['cpu_s']:.2f})" if name in stages else "-"

    return "Stages in a warm process:\n\n" + _table(
        head, ([name, *(cell(stages, name) for stages in figures.values())] for name in names)
    )


def _imports(figures: dict[str, float]) -> str:
    return "Imports, beyond Python's own start:\n\n" + _table(
        ["what", "s"], ([name, f"{seconds:.2f}"] for name, seconds in figures.items())
    )


def _batches(figures: dict[str, Any]) -> str:
    head = [
        "cases",
        "next case ahead, s",
        "one after the other, s",
        "times faster",
        "peak MB ahead",
        "peak MB",
    ]

    def line(row: dict[str, Any]) -> list[str]:
        plain = row.get("inline_s")
        return [
            str(row["cases"]),
            f"{row['ahead_s']:.1f}",
            "-" if plain is None else f"{plain:.1f}",
            "-" if plain is None else f"{plain / row['ahead_s']:.2f}",
            f"{row['ahead_peak_mb']:.0f}",
            "-" if plain is None else f"{row['inline_peak_mb']:.0f}",
        ]

    text = "Batches of stripped brains:\n\n" + _table(head, map(line, figures["rows"]))
    if "exponent_of_cases" in figures:
        text += f"\nTime ~ cases^e, e = {figures['exponent_of_cases']:.2f}.\n"
    return text
