"""Interrupt every command of ``mri2pet`` again and again, and look at what is left.

``make kills`` sends 100 SIGKILLs and 200 SIGINTs, SIGTERMs and SIGHUPs at moments that a seed draws, half of
them spread evenly over the processor time of the command, half just before it changes a file. Then the same
command is run again. Every trial is a line of ``trials.jsonl``; the table at the end counts

* partial: a file that is neither that of an undisturbed run nor the earlier one;
* lost: a signal that did not end the command, with exit code 130 or (before it had begun) by itself;
* left: files that an undisturbed run would not leave, or processes, after the next run;
* failed: next runs that did not end with 0;
* other: next runs whose files differ from those of an undisturbed run.

A parent that has imported everything forks a child for each run, which saves its imports. Registrations and
simulated people are remembered by the checksum of their inputs, so that a run consists of reading, computing
tables and writing. Linux only.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kill_commands import COMMANDS, Command, write_inputs
from kill_runs import (
    Moment,
    Watched,
    contents,
    differences,
    import_all,
    not_twice_the_same,
    partial_files,
    remember_in,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLUMNS = ("partial", "lost", "left", "failed", "other")


@dataclass
class Trial:
    """One interrupted run, and the run after it."""

    command: str
    how: str
    moment: str
    started_in: str
    code: int | None = None
    seconds_to_end: float = 0.0
    partial: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not any(getattr(self, column) for column in COLUMNS)


class Bench:
    """A command with its undisturbed runs, ready to be interrupted."""

    def __init__(self, name: str, command: Command, work: Path) -> None:
        self.name, self.command = name, command
        own = work / name.replace(" ", "_").replace(",", "")
        self.inputs, self.output, self.scratch = work / "inputs", own / "output", own / "scratch"
        self.earlier = own / "earlier"
        self.before: dict[str, bytes] = {}
        self.base: Path | None = None
        if command.before:
            self._empty()
            self._succeed(
                Watched(command.line_before(self.inputs, self.output), self.output, self.scratch, None)
            )
            self.base = own / "base"
            shutil.rmtree(self.base, ignore_errors=True)
            shutil.copytree(self.output, self.base)
        if command.other is not None:
            self._empty()
            self._undisturbed(earlier=True)
            self.before = contents(self.output)
            shutil.rmtree(self.earlier, ignore_errors=True)
            shutil.copytree(self.output, self.earlier)
        first, self.seconds, self.changes = self._from_empty()
        second, seconds, _ = self._from_empty()
        self.seconds = min(self.seconds, seconds)  # the first one registers, the second remembers
        self.after, self.volatile = first, not_twice_the_same(first, second)

    def _from_empty(self) -> tuple[dict[str, bytes], float, int]:
        self._empty()
        run = self._undisturbed()
        return contents(self.output), run.cpu_s, run.changes

    def _undisturbed(self, *, earlier: bool = False) -> Watched:
        return self._succeed(self.start(earlier=earlier))

    def _succeed(self, run: Watched) -> Watched:
        run.wait()
        if run.code:
            raise SystemExit(f"{self.name} fails undisturbed:\n{run.messages}")
        return run

    def start(self, moment: Moment | None = None, *, earlier: bool = False) -> Watched:
        line = self.command.line(self.inputs, self.output, earlier=earlier)
        return Watched(line, self.output, self.scratch, moment)

    def _empty(self) -> None:
        for folder in (self.output, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        if self.base is not None:
            shutil.copytree(self.base, self.output, dirs_exist_ok=True)

    def interrupt(self, number: signal.Signals, rng: random.Random) -> Trial:
        """Interrupt one run at a moment that ``rng`` draws, then run again."""
        while True:
            moment = Moment(number, at_cpu_s=rng.uniform(0, self.seconds))
            if rng.random() < 0.5:
                moment = Moment(number, at_change=rng.randint(1, self.changes))
            again = bool(self.before) and rng.random() < 0.5
            self._empty()
            if again:
                shutil.copytree(self.earlier, self.output, dirs_exist_ok=True)
            run = self.start(moment)
            run.wait()
            if run.sent:
                break  # else the run was over before
        trial = Trial(self.name, number.name, str(moment), "an earlier result" if again else "nothing")
        trial.code, trial.seconds_to_end = run.code, round(run.seconds_to_end, 2)
        trial.left += run.left_processes()
        versions = [self.before, self.after] if again else [self.after]
        versions += [] if self.base is None else [contents(self.base)]
        trial.partial += partial_files(self.output, versions, self.volatile)
        if number != signal.SIGKILL and run.code not in (130, -number):
            finished = run.code == 0 and not differences(contents(self.output), self.after, self.volatile)
            if not finished or run.changed_afterwards:
                trial.lost.append(f"exit code {run.code}: {run.messages[-500:]}")
        after = self.start()
        after.wait()
        if after.code:
            trial.failed.append(f"exit code {after.code}: {after.messages[-500:]}")
        files = contents(self.output)
        trial.left += sorted(files.keys() - self.after.keys())
        trial.left += [
            f"in TMPDIR: {path.name}" for path in self.scratch.iterdir() if path.name != "messages.txt"
        ]
        trial.left += after.left_processes()
        trial.other += differences(files, self.after, self.volatile)
        return trial


def share(total: int, names: Sequence[str]) -> dict[str, int]:
    """``total`` shared out by the weights of the commands."""
    whole = sum(COMMANDS[name].weight for name in names)
    ends, before, shares = 0.0, 0, {}
    for name in names:
        ends += COMMANDS[name].weight / whole * total
        shares[name], before = round(ends) - before, round(ends)
    return shares


def table(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """In Markdown, a line a command, with the sum."""
    lines = [
        f"| command | kills | signals | {' | '.join(COLUMNS)} | seconds from signal to end |",
        "|---" * (len(COLUMNS) + 4) + "|",
    ]
    for name in [*names, None]:
        own = [trial for trial in trials if name in (trial.command, None)]
        waits = [trial.seconds_to_end for trial in own if trial.how != "SIGKILL"]
        counts = [sum(bool(getattr(trial, column)) for trial in own) for column in COLUMNS]
        cells = [name or "all", len(own) - len(waits), len(waits), *counts, f"{max(waits, default=0):.1f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/kills"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    options = parser.parse_args()
    work = options.output.resolve()
    work.mkdir(parents=True, exist_ok=True)
    import_all()
    shutil.rmtree(work / "remembered", ignore_errors=True)  # by this program, not an earlier version of it
    remember_in(work / "remembered")
    if not (work / "inputs" / "cases.csv").is_file():
        write_inputs(work / "inputs")
    kills, signals = share(options.kills, options.only), share(options.signals, options.only)
    trials: list[Trial] = []
    for name in options.only:
        bench = Bench(name, COMMANDS[name], work)
        other = ", ".join(sorted(bench.volatile)) or "none"
        print(f"{name}: {bench.seconds:.1f} s, {bench.changes} changes; other each time: {other}", flush=True)
        numbers = [signal.SIGKILL] * kills[name] + [SIGNALS[n % 3] for n in range(signals[name])]
        for count, number in enumerate(numbers):
            trials.append(bench.interrupt(number, random.Random(f"{options.seed} {name} {count}")))
            with (work / "trials.jsonl").open("a") as stream:
                stream.write(json.dumps(asdict(trials[-1])) + "\n")
            if not trials[-1].is_clean:
                print(json.dumps(asdict(trials[-1]), indent=1), flush=True)
    print(table(trials, options.only))
    return int(not all(trial.is_clean for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
