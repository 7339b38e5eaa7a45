"""What is installed in this Python, read so that a damaged package of somebody else stops nothing of ours."""

from __future__ import annotations

from importlib import metadata


def entry_points(group: str) -> list[tuple[str, metadata.EntryPoint]]:
    """The entry points of a group, each with the name of its package; a package is asked once.

    A package whose metadata cannot be read has none: ``importlib.metadata.entry_points`` would raise for all.
    """
    entries, names = [], set()
    for distribution in metadata.distributions():
        try:
            name = str(distribution.metadata["Name"] or "")
            own = [entry for entry in distribution.entry_points if entry.group == group]
        except Exception:  # noqa: BLE001  whatever damaged metadata raises
            continue
        if not name or name.lower() not in names:  # an older copy further down the path is not imported
            names.add(name.lower())
            entries += [(name or "a package without a name", entry) for entry in own]
    return entries


def versions() -> list[tuple[str, str]]:
    """Name and version of all packages that state both."""
    rows = []
    for distribution in metadata.distributions():
        try:
            name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        except Exception:  # noqa: BLE001  whatever damaged metadata raises
            continue
        if name and version:
            rows.append((str(name), str(version)))
    return rows


def version_of(package: str) -> str | None:
    """The version that a package states, ``None`` where it states none."""
    try:
        return metadata.version(package) or None
    except Exception:  # noqa: BLE001  not installed, or whatever damaged metadata raises
        return None
