"""The command line ``mri2pet``."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint
from io import TextIOWrapper
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.core import cancellation
from MRI2PETLib.core.errors import Cancelled, DependencyError, Explained
from MRI2PETLib.core.explain import explain
from MRI2PETLib.core.installed import entry_points
from MRI2PETLib.core.progress import Reporter, flush, make_reporter, open_standard_streams
from MRI2PETLib.core.settings import Parser
from MRI2PETLib.core.threads import settle
from MRI2PETLib.jobs.process_tree import end_with_parent

ENTRY_POINTS = "mri2pet.commands"  # commands of other packages: the training library's
COMMANDS = (
    "demo",
    "synthesize",
    "bids",
    "evaluate",
    "suvr",
    "normative",
    "check",
    "view",
    "simulate",
    "models",
    "doctor",
)

_DESCRIPTION = (
    "Synthetic PET from a T1-weighted MRI, beside the real one. "
    "Research use only: a synthetic PET is not a measurement."
)


class BrokenCommand:
    """Stands for a command of another package that cannot be used; it says why when it is asked for."""

    def __init__(self, name: str, package: str, reason: BaseException) -> None:
        self.HELP = f"cannot be used: see mri2pet {name}"
        self._error = DependencyError(
            f"The command {name} of {package} cannot be used: {type(reason).__name__}: {reason}",
            f"Install {package} again, or remove it.",
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.parse_known_args = self.run  # type: ignore[assignment]  # nobody knows its options

    def run(self, *_: Any) -> int:
        raise self._error


def find_commands() -> dict[str, Any]:
    """All commands by name: those of this library, then those that other packages register.

    :returns: modules with ``HELP``, ``add_arguments`` and ``run``, or a :class:`BrokenCommand`.
    """
    commands: dict[str, Any] = {name: import_module(f"MRI2PETLib.commands.{name}") for name in COMMANDS}
    for package, entry in entry_points(ENTRY_POINTS):
        if entry.name not in commands:
            commands[entry.name] = _load(package, entry)
    return commands


def _load(package: str, entry: EntryPoint) -> Any:
    try:
        command = entry.load()
        command.add_arguments(Parser())
        if callable(command.run) and isinstance(command.HELP, str):
            return command
        raise TypeError(f"{entry.value} is no command")
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever somebody else's code raises
        return BrokenCommand(entry.name, package, error)


def _only_command(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The command that a command line begins with, where this library has it: the others need no import."""
    name = next(iter(arguments), "")
    return {name: import_module(f"MRI2PETLib.commands.{name}")} if name in COMMANDS else None


def build_parser(
    commands: Mapping[str, Any] | None = None, program: str = "mri2pet"
) -> argparse.ArgumentParser:
    """The parser of all commands; importing it loads no heavy package.

    :param commands: modules by name, instead of :func:`find_commands`.
    """
    parser = Parser(prog=program, description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"mri2pet {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in (find_commands() if commands is None else commands).items():
        command = subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        _add_common(command, "bar", False)
        command.set_defaults(run=module.run, go_on=getattr(module, "GO_ON", cancellation.SAME_COMMAND))
    return parser


def _add_common(command: argparse.ArgumentParser, progress: str, verbose: bool | str) -> None:
    """The options of every command, and of every action of one: each stands where the user puts it.

    :param progress: default, as ``verbose``; an action has none, so that it keeps what its command was given.
    """
    command.add_argument(
        "--progress",
        choices=("bar", "json", "none"),
        default=progress,
        help="how to report: a bar on a terminal, one JSON object a line on stdout, or only warnings",
    )
    command.add_argument(
        "-v", "--verbose", action="store_true", default=verbose, help="log what happens inside"
    )
    for actions in command._actions:
        if isinstance(actions, argparse._SubParsersAction):
            for action in actions.choices.values():
                _add_common(action, argparse.SUPPRESS, argparse.SUPPRESS)


def main(
    arguments: list[str] | None = None,
    commands: Mapping[str, Any] | None = None,
    program: str = "mri2pet",
) -> int:
    """Run a command and return its exit code: 0 only on success, see ``core.errors.EXIT_CODES``."""
    open_standard_streams()
    cancellation.watch_signals()
    settle()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names that this console cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        line = sys.argv[1:] if arguments is None else arguments
        return _run(build_parser(commands or _only_command(line), program).parse_args(line))
    except Explained as error:  # before there is a reporter, or again while it tells the reason
        Reporter().error(error)
        return error.exit_code
    finally:
        for stream in (sys.stdout, sys.stderr):
            flush(stream)


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    end_with_parent()
    cancellation.say_how_to_go_on(options.go_on)
    reporter: Reporter = make_reporter(options.progress)
    try:
        code: int = options.run(options, reporter)
        cancellation.check()  # a signal whose exception was lost
        return code
    except (Exception, Cancelled) as raised:  # noqa: BLE001  bad input must not show a traceback; -v shows it
        # What a cancelled library raises meanwhile (a data loader whose workers are gone) is not the reason.
        error: Explained = cancellation.cancel_error()
        if not cancellation.is_requested():
            error = raised if isinstance(raised, Cancelled) else explain(raised)
        reporter.error(error)
        return error.exit_code
    finally:
        reporter.close()


def entry_point() -> None:
    """What the shell calls: :func:`main`, and an end that takes nothing apart.

    Python would free every object of every module that was imported (.2 s with PyTorch), only for the system
    to take back all of the memory a moment later. What others want to do at the end is done before.
    """
    code: str | int | None = 1

    def leave() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            flush(stream)
        os._exit(code if isinstance(code, int) else int(code is not None))

    atexit.register(leave)  # the first one is called last
    try:
        code = main()
    except SystemExit as ended:  # of argparse
        code = ended.code
        raise
    sys.exit(code)


if __name__ == "__main__":
    entry_point()
