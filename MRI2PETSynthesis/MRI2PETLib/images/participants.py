"""``participants.tsv`` and ``*_sessions.tsv`` of a BIDS dataset: what is known of each person or session."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.tables import EMPTY_CELLS, read_table
from MRI2PETLib.images.subjects import plain_name

PARTICIPANTS = "participants.tsv"


@dataclass(frozen=True)
class Participants:
    """The rows of a table of people (or of the sessions of one person, with ``ses-`` for ``sub-``).

    People are found with and without ``sub-``, in any case, and without the leading zeros that a spreadsheet
    takes away, as long as that names one person.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, list[dict[str, str]]]
    findings: tuple[Finding, ...]
    prefix: str = "sub-"

    def __contains__(self, person: str) -> bool:
        return bool(self._rows_of(person))

    def value(self, person: str, *columns: str) -> str:
        """What the first of ``columns`` that says something says of a person; empty if none does.

        :raises InputError: if two lines of the person contradict each other.
        """
        for column in columns:
            values = {row.get(column, "") for row in self._rows_of(person)}
            values = {text for text in values if text.lower() not in EMPTY_CELLS}
            if len(values) > 1:
                first, second = sorted(values)[:2]
                raise InputError(
                    f"{self.path} lists {person} twice, with the {column} {first!r} and {second!r}.",
                    "Keep one line a person, or give different people ids of their own.",
                )
            if values:
                return values.pop()
        return ""

    def _rows_of(self, person: str) -> list[dict[str, str]]:
        bare = _bare(person, self.prefix)
        if bare in self.rows:
            return self.rows[bare]
        alike = [name for name in self.rows if plain_name(name) == plain_name(bare)]
        return self.rows[alike[0]] if len(alike) == 1 else []


def read_participants(path: Path, key: str = "participant_id", prefix: str = "sub-") -> Participants:
    """Read a table of people.

    :param key: column of the names, which may begin with ``prefix``; ``session_id`` and ``ses-`` for a table
        of sessions.
    :raises InputError: if it cannot be read or lacks that column.
    """
    table = read_table(path, (key,))
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in table.rows:
        rows[_bare(row[key], prefix)].append(row)
    return Participants(table.path, table.columns, dict(rows), table.findings, prefix)


def _bare(name: str, prefix: str) -> str:
    return name[len(prefix) :] if name.lower().startswith(prefix) else name
