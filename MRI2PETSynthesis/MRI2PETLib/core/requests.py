"""Requests and results: whether a result is still what a request asks for.

A result is a set of files and their record, a JSON file that is written last::

    status      done; failed, with the reason in about; unfinished while the files move into place
    whose       the inputs that the result is of, by role: path and checksum
    inputs      the other inputs
    settings    everything else that decides it, the model's checksum among it
    version     of this program
    outputs     the checksum of every file, by its name relative to the record
    about       what the program itself needs to know of it
    checksum    of all that stands above

A result is finished when its record is whole, the request of today equals the recorded one, and every output
is there with its checksum. Whatever else is found is made again, and what no longer belongs is removed.
Files that no record lists and that do not bear the mark of this program are somebody's: where an output would
replace one, the result is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.core.checksums import sha256_of, sha256_of_value
from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETLib.core.explain import explain
from MRI2PETLib.core.files import read_json, staged_folder, write_json
from MRI2PETLib.core.ownership import is_ours, not_ours

STATUS_SUFFIX = "_status.json"  # of records in folders where users, too, may keep files
_PARTS: dict[str, type] = {"status": str, "request": str}
_PARTS |= dict.fromkeys(("whose", "inputs", "settings", "outputs", "about"), dict)


@dataclass(frozen=True)
class Source:
    """An input: where it lies, and the checksum of all that is read of it."""

    path: str
    checksum: str

    def is_that_of(self, other: Mapping[str, Any]) -> bool:
        """Whether it is the input that a record names: at the same place, or of the same content."""
        same = bool(self.checksum) and self.checksum == other.get("checksum")
        return same or self.path == other.get("path")


@dataclass(frozen=True)
class Request:
    """What decides a result.

    :ivar whose: the inputs that it is a result of, by role; that of others does not replace it.
    :ivar inputs: the other inputs by role, ``None`` where there is none.
    :ivar settings: everything else, as JSON holds it.
    """

    whose: Mapping[str, Source]
    inputs: Mapping[str, Source | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """Of the content of all inputs, the settings and the version of this program, not of any path."""
        sources = {**self.whose, **self.inputs}
        content = {role: None if source is None else source.checksum for role, source in sources.items()}
        return sha256_of_value({"inputs": content, "settings": self.settings, "version": __version__})

    def is_of(self, whose: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether a record of these inputs is of the same."""
        return whose.keys() == self.whose.keys() and all(
            source.is_that_of(whose[role]) for role, source in self.whose.items()
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "version": __version__, "request": self.checksum}


@dataclass(frozen=True)
class Result:
    """Where a result lies, or will.

    :ivar folder: of its files; they may be in folders of it.
    :ivar record: name of its record there.
    :ivar possible: names that files of such a result can have; those that it does not list are removed.
    :ivar shared: folders in it that hold files of other results, too.
    :ivar left: names of files that later commands leave beside the result and that themselves know what they
        are of: no reason to make it again, and removed when it is.
    """

    folder: Path
    record: str
    possible: Collection[str] = ()
    shared: Collection[str] = ()
    left: Collection[str] = ()

    @property
    def path(self) -> Path:
        """The record."""
        return self.folder / self.record

    def finished(self, request: Request) -> dict[str, Any] | None:
        """What is known about the finished result of this request, or ``None``."""
        record = read_record(self.path)
        if record is None or record["status"] != "done" or record["request"] != request.checksum:
            return None
        outputs = record["outputs"]
        if not all(self._is_sound(name, checksum) for name, checksum in outputs.items()):
            return None
        foreign = {name for name in self.possible if name not in outputs and (self.folder / name).exists()}
        if foreign and foreign - self._of_others():
            return None
        return dict(record["about"])

    def failure(self, request: Request, since: float) -> dict[str, Any] | None:
        """What is recorded of this very request if it failed.

        :param since: not before this time (seconds of the epoch).
        """
        record = read_record(self.path)
        if record is None or record["status"] != "failed" or record["request"] != request.checksum:
            return None
        with suppress(OSError):
            if self.path.stat().st_mtime >= since:
                return dict(record["about"])
        return None

    def other_settings(self, request: Request) -> list[str]:
        """Names of the settings by which the finished result that is there was made otherwise."""
        record = read_record(self.path)
        if record is None or record["status"] != "done":
            return []
        before, now = record["settings"], request.settings
        names = sorted({*before, *now})
        return [n for n in names if sha256_of_value(before.get(n)) != sha256_of_value(now.get(n))]

    def check_owner(self, request: Request, tell: Callable[[str], None] = lambda message: None) -> None:
        """Refuse to replace the result of another input, or what this program did not make.

        :param tell: is told that an input is another one at the place of the earlier one, and what goes.
        :raises InputError: naming both; if the result would replace its own input.
        """
        self._check_inputs(request, ())
        before = self._before()
        self._check_free(request, before, ())
        self._tell_what_goes(before, tell)
        if not any((self.folder / name).exists() for name in before.outputs):
            return
        earlier, new_inputs = before.whose, request.whose
        if request.is_of(earlier):
            for role, source in new_inputs.items():
                if source.checksum and source.checksum != earlier[role].get("checksum"):
                    tell(f"{source.path} has changed since {self.path} was made: the result is made again.")
            return
        there = ", ".join(str(source.get("path")) for source in earlier.values())
        new = ", ".join(source.path for source in new_inputs.values())
        raise InputError(
            f"{self.path} is the result of {there}: that of {new} would replace it.",
            "Choose another output folder (-o), rename one of the two inputs, or remove that result.",
        )

    @contextmanager
    def make(self, request: Request, about: dict[str, Any]) -> Iterator[Path]:
        """Yield an empty folder for the files of the result; they appear together, the record last.

        What an earlier result of the same input had, and this one has not, is removed.

        :param about: for the record; may be filled in the block.
        :raises InputError: if the result would replace its own input, or what this program did not make.
        :raises OutputError: if the folder cannot be written to; then nothing has changed in it.
        """
        with staged_folder(self.folder, last=self.record, shared=self.shared) as staging:
            yield staging
            files = sorted(path for path in staging.rglob("*") if path.is_file())
            outputs = {path.relative_to(staging).as_posix(): sha256_of(path) for path in files}
            before = self._before()
            self._check_inputs(request, outputs)
            self._check_free(request, before, {*outputs, *self._in_replaced_folders(staging)})
            # Whoever is killed from here on leaves files that are known to be ours.
            _write_record(self.path, "unfinished", request, {**before.outputs, **outputs}, {})
            gone = {*before.outputs, *self.possible, *self.left} - outputs.keys()
            gone = {name for name in gone if os.path.lexists(self.folder / name)}
            self._remove(gone - self._of_others() if gone else ())
            _write_record(staging / self.record, "done", request, outputs, about)

    def _check_inputs(self, request: Request, names: Collection[str]) -> None:
        """Refuse to replace or remove what the result is made from."""
        sources = {
            source.path for source in {**request.whose, **request.inputs}.values() if source is not None
        }
        for name in sorted({*names, *self.possible}):
            path = self.folder / name
            if str(path.resolve()) in sources:
                raise InputError(
                    f"{path} is an input: a result would replace it.", "Choose another folder (-o)."
                )

    def _check_free(self, request: Request, before: _Before, names: Collection[str]) -> None:
        """Refuse to replace what no record lists and this program did not make, and what another record in
        this folder lists for other inputs.

        :param names: of files that would be replaced; ``possible`` ones are where there is no result yet.
        """
        if not self.record.endswith(STATUS_SUFFIX):
            return
        replaced = {*names, *(() if before.outputs else self.possible)} - before.outputs.keys()
        there = sorted(name for name in replaced if os.path.lexists(self.folder / name))
        if not there:
            return
        for path, other in self._beside():
            for name in set(there).intersection(() if request.is_of(other.whose) else other.outputs):
                raise InputError(
                    f"{self.folder / name} belongs to {path.name}: this result would replace it.",
                    "Choose another folder (-o).",
                )
        if not any(is_ours(self.folder / name) for name in there):  # else a record was lost
            raise not_ours(self.folder / there[0])

    def _tell_what_goes(self, before: _Before, tell: Callable[[str], None]) -> None:
        """Of files with the names of this result that its record does not list, nor that of another here."""
        unlisted = {name for name in self.possible if (self.folder / name).exists()} - before.outputs.keys()
        if unlisted:
            unlisted -= self._of_others()
        if unlisted and not before.outputs:
            tell(f"{self.folder} holds a result without its record ({self.record}), of whatever: it goes.")
            return
        for path in (self.folder / name for name in sorted(unlisted)):
            if not is_ours(path):
                tell(f"{path} has the name of a file of this result and is none of it: it is removed.")

    def _beside(self) -> Iterator[tuple[Path, _Before]]:
        """The other records in the folder."""
        for path in self.folder.glob(f"*{STATUS_SUFFIX}"):
            if path != self.path:
                yield path, Result(self.folder, path.name)._before()

    def _of_others(self) -> set[str]:
        """Files of other results in the folder: two models may share a mask of one T1."""
        return {name for _, other in self._beside() for name in other.outputs}

    def _in_replaced_folders(self, staging: Path) -> Iterator[str]:
        """Files in the folders that those of a result replace; hidden ones are of no one."""
        for folder in (path.name for path in staging.iterdir() if path.is_dir()):
            if folder not in self.shared and not (self.folder / folder).is_symlink():
                files = (path for path in (self.folder / folder).rglob("[!.]*") if path.is_file())
                yield from (path.relative_to(self.folder).as_posix() for path in files)

    @contextmanager
    def attempt(self, request: Request, tell: Callable[[str], None]) -> Iterator[None]:
        """Work on a request. What fails in the block is recorded where a result is, see :meth:`fail`.

        :param tell: is told when an earlier result was removed, or is of an input that has changed.
        :raises InputError: if the result of another input, or what this program did not make, is there.
        """
        self.check_owner(request, tell)
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            failure = explain(error)
            if self.path.exists() and self.fail(request, {"message": failure.message, "hint": failure.hint}):
                tell(f"{self.folder}: the earlier result was of other inputs and has been removed.")
            raise

    def fail(self, request: Request, about: dict[str, Any]) -> bool:
        """Record that the request failed.

        What was made from other inputs than those that are there now is removed.

        :returns: whether anything was removed.
        """
        before = self._before()
        sources = {**request.whose, **request.inputs}
        is_changed = any(
            source is not None and source.checksum and source.checksum != before.checksum_of(role)
            for role, source in sources.items()
        )
        removed = is_changed and self._remove(before.outputs)
        _write_record(self.path, "failed", request, {} if is_changed else before.outputs, about)
        return removed

    def _before(self) -> _Before:
        """What is known of the result that is there, even from an edited record."""
        record: Any = {}
        with suppress(InputError):
            record = read_json(self.path)
        return _Before(*(_entries(record, part) for part in ("whose", "inputs", "outputs")))

    def _is_sound(self, name: str, checksum: str) -> bool:
        try:
            return _is_inside(name) and sha256_of(self.folder / name) == checksum
        except InputError:
            return False

    def _remove(self, names: Collection[str]) -> bool:
        removed = False
        for path in (self.folder / name for name in names):
            if any(parent.is_symlink() for parent in path.parents if self.folder in parent.parents):
                continue
            with suppress(OSError):
                path.unlink()
                removed = True
                if path.parent != self.folder:
                    path.parent.rmdir()  # of the last file
        return removed


def located(folder: Path, files: Mapping[str, Any]) -> dict[str, Any]:
    """Names of files by role, as in a record, as paths; a mapping may hold further ones."""
    return {
        role: located(folder, name) if isinstance(name, Mapping) else folder / str(name)
        for role, name in files.items()
    }


def read_record(path: Path) -> dict[str, Any] | None:
    """A record as this program wrote it, or ``None``."""
    with suppress(InputError, RecursionError):
        content = read_json(path)
        if not isinstance(content, dict) or content.pop("checksum", None) != sha256_of_value(content):
            return None
        if all(isinstance(content.get(part), kind) for part, kind in _PARTS.items()):
            return content
    return None


def _write_record(
    path: Path, status: str, request: Request, outputs: Mapping[str, str], about: Mapping[str, Any]
) -> None:
    content = {"status": status, **request.to_dict(), "outputs": outputs, "about": about}
    write_json(path, {**content, "checksum": sha256_of_value(content)})


@dataclass(frozen=True)
class _Before:
    """The parts of a record that may be anything."""

    whose: dict[str, dict[str, Any]]
    inputs: dict[str, dict[str, Any]]
    names: dict[str, Any]

    @property
    def outputs(self) -> dict[str, str]:
        """None outside of the folder of the record."""
        return {name: str(digest) for name, digest in self.names.items() if _is_inside(name)}

    def checksum_of(self, role: str) -> Any:
        return {**self.whose, **self.inputs}.get(role, {}).get("checksum")


def _entries(record: Any, part: str) -> dict[str, Any]:
    part_entries = record.get(part) if isinstance(record, dict) else None
    entries = part_entries.items() if isinstance(part_entries, dict) else ()
    return {name: entry for name, entry in entries if part == "outputs" or isinstance(entry, dict)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and ":" not in name
