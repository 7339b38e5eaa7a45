"""Where bundles are found, and how they come in and go out."""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from MRI2PETLib.core.errors import BundleError, OutputError
from MRI2PETLib.core.files import (
    atomic_path,
    new_folder,
    output_error,
    output_folder,
    replace_folder,
    restore_replaced,
)
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.names import is_safe_name
from MRI2PETLib.core.ownership import MARK, check_replaceable
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.models.bundle import CARD, LICENCE, METADATA, Bundle, read_bundle

_LARGEST_FILE, _LARGEST_ARCHIVE = 4_000_000_000, 8_000_000_000  # bytes, unpacked
# Weights hardly shrink when they are packed: what shrinks far more is no model.
_LARGEST_RATIO, _SMALL = 20, 5_000_000


def user_folder() -> Path:
    """Folder of imported bundles: ``$MRI2PET_MODELS``, or ``~/.mri2pet/models``."""
    folder = os.environ.get("MRI2PET_MODELS")
    if folder:
        return Path(folder)
    with suppress(RuntimeError):  # a user of a container may have none
        home = Path.home()
        if home.is_absolute():
            return home / ".mri2pet" / "models"
    raise OutputError(
        "There is no home folder to keep models in.", "Name a folder in the variable MRI2PET_MODELS."
    )


def bundled_folder() -> Path:
    """Folder of the bundles that ship with the extension."""
    return resources_dir() / "Models"


def _folders() -> list[Path]:
    """Where bundles are looked for, shipped ones first; without a home folder there are no others."""
    folders = [bundled_folder()]
    with suppress(OutputError):
        folders.append(user_folder())
        restore_replaced(user_folder())
    return folders


def list_bundles() -> tuple[list[Bundle], list[str]]:
    """All readable bundles, shipped ones first, and a message for each folder that is not one."""
    bundles: list[Bundle] = []
    problems: list[str] = []
    for parent in _folders():
        for folder in sorted(p for p in parent.glob("*") if p.is_dir() and not p.name.startswith(".")):
            try:
                bundles.append(read_bundle(folder))
            except BundleError as error:
                problems.append(f"{folder}: {error}")
    return bundles, problems


def find_bundle(reference: str | Path) -> Bundle:
    """Find a bundle by id (shipped or imported) or by the path of its folder.

    :raises BundleError: if there is none, with the ids that there are.
    """
    if is_safe_name(reference):
        for parent in _folders():
            if (parent / reference / METADATA).is_file():
                return read_bundle(parent / reference)
    if Path(reference).is_dir():
        return read_bundle(reference)
    names = ", ".join(b.id for b in list_bundles()[0]) or "none"
    hint = f"Known models: {names}. Or give a bundle's folder."
    raise BundleError(f"There is no model {str(reference)!r}.", hint)


def import_bundle(source: Path | str, *, replace: bool = False) -> Bundle:
    """Copy a bundle (folder or .zip) into the user's folder after checking all of it, weights included.

    Only the files of the bundle layout are taken. An archive is refused whole if a member would land outside
    it.

    :raises BundleError: if it is not a sound bundle, or one of that id exists and ``replace`` is false.
    """
    source = Path(source)
    sweep(user_folder())
    with new_folder(user_folder()) as temporary:
        if source.is_dir():
            copy_bundle(read_bundle(source), temporary)
        elif zipfile.is_zipfile(source):
            _unpack(source, temporary)
        else:
            raise BundleError(f"{source} is neither a folder nor a .zip archive.")
        bundle = read_bundle(temporary)
        bundle.networks()
        _check_free(bundle.id)
        final = user_folder() / bundle.id
        if final.exists() and not replace:
            raise BundleError(
                f"A model {bundle.id!r} is already there.",
                f"Give --replace, or remove it first: mri2pet models remove {bundle.id}.",
            )
        if final.exists() and not (final / METADATA).is_file():
            raise BundleError(f"{final} is not a model: it is not replaced.", "Move it to another place.")
        replace_folder(temporary, final)
    return read_bundle(final)


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy the files of a bundle into a folder that is there.

    :raises OutputError: if they cannot be written.
    """
    for name in _files(bundle):
        if (bundle.folder / name).is_file():
            _copy((bundle.folder / name).open("rb"), folder / name)


def _check_free(model_id: str) -> None:
    """Ids that differ in upper and lower case only are one folder on Windows and macOS.

    :raises BundleError: if a shipped model has this id, or any model one that differs in case only.
    """
    for parent in _folders():
        others = [p.name for p in parent.glob("*") if p.name.casefold() == model_id.casefold()]
        if parent == bundled_folder() and others:
            raise BundleError(f"The id {model_id!r} belongs to a model of the extension itself.")
        if other := next((name for name in others if name != model_id), ""):
            raise BundleError(f"A model {other!r} is already there.", "Remove it, or change one of the ids.")


def _files(bundle: Bundle) -> tuple[str, ...]:
    """The files of a bundle that are copied; anything else in its folder stays where it is."""
    return (METADATA, *bundle.weights, CARD, LICENCE)


def _copy(content: IO[bytes], path: Path, size: int = _LARGEST_FILE) -> None:
    """Copy at most ``size`` bytes.

    :raises BundleError: if there are more.
    :raises OutputError: if they cannot be written.
    """
    with content:
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as out:
                for part in iter(lambda: content.read(1 << 20), b""):
                    size -= len(part)
                    if size < 0:
                        raise BundleError(f"{path.name} is larger than it should be: refused.")
                    out.write(part)
        except OSError as error:
            raise output_error(path, error) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the bundle's files from a .zip; its top folder may be the bundle itself or hold it."""
    try:
        with zipfile.ZipFile(archive) as opened:
            _take_from(opened, archive, folder)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
        # RuntimeError: encrypted. OSError, ValueError: places and dates that cannot be.
        raise BundleError(f"{archive} cannot be unpacked: {error}.", "Get it again.") from error


def _take_from(opened: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    members = {m.filename: m for m in opened.infolist() if not m.is_dir()}
    for name, member in members.items():
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise BundleError(f"{archive} holds the unsafe path {name!r}: refused.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BundleError(f"{archive} holds the link {name!r}: refused.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{archive} is not packed as zip programs do by default.", "Pack it again.")
        if member.file_size > max(_SMALL, _LARGEST_RATIO * member.compress_size):
            raise BundleError(f"{archive}: {name!r} would unpack to {member.file_size / 1e6:.0f} MB.")
    if sum(m.file_size for m in members.values()) > _LARGEST_ARCHIVE:
        raise BundleError(f"{archive} would unpack to more than {_LARGEST_ARCHIVE / 1e9:.0f} GB.")
    roots = {name[: -len(METADATA)] for name in members if name.endswith(METADATA)}
    if len(roots) != 1:
        raise BundleError(f"{archive} holds {len(roots)} bundles; it should hold one.")
    root = roots.pop()

    def take(name: str) -> None:
        member = members.get(root + name)
        if member is not None:
            _copy(opened.open(member), folder / name, member.file_size)

    take(METADATA)
    for name in _files(read_bundle(folder))[1:]:
        take(name)


def export_bundle(reference: str | Path, path: Path | str, format: str = "bundle") -> Path:
    """Write a bundle to a .zip archive, or its networks to an .onnx file.

    :param format: ``bundle``; ``monai``: with what MONAI's own tools need to run it; ``onnx``: the networks
        alone, see :mod:`.onnx_export`.
    """
    bundle = find_bundle(reference)
    bundle.networks()
    path, suffix = Path(path), ".onnx" if format == "onnx" else ".zip"
    if path.is_dir() or path.suffix != suffix:
        path = path / f"{bundle.id}{'-monai' if format == 'monai' else ''}{suffix}"
    check_replaceable(path)
    output_folder(path.parent)
    if format == "onnx":
        from MRI2PETLib.models.onnx_export import onnx_model

        networks = onnx_model(bundle)
        with atomic_path(path) as temporary:
            temporary.write_bytes(networks)
        return path
    texts: dict[str, str] = {}
    if format == "monai":
        from MRI2PETLib.models.monai_export import monai_files

        texts = monai_files(bundle)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _files(bundle):
            if name not in texts and (bundle.folder / name).is_file():
                archive.write(bundle.folder / name, f"{bundle.id}/{name}")
        for name, content in texts.items():
            archive.writestr(f"{bundle.id}/{name}", content)
        archive.comment = MARK
    return path


def remove_bundle(model_id: str) -> Path:
    """Delete an imported bundle; shipped ones stay.

    :raises BundleError: if no imported bundle has that id.
    """
    sweep(user_folder())
    imported = [b for b in list_bundles()[0] if b.folder.parent == user_folder()]
    bundle = next((b for b in imported if b.id == model_id), None)
    if bundle is None:
        raise BundleError(
            f"No imported model is called {model_id!r}.", f"Imported models are in {user_folder()}."
        )
    try:
        with new_folder(user_folder()) as going:  # whoever is killed leaves all of it or nothing of its name
            os.replace(bundle.folder, going / bundle.id)
    except OSError as error:
        raise OutputError(f"Cannot remove {bundle.folder}: {error.strerror}.") from error
    return bundle.folder


def bundle_of(model: dict[str, Any]) -> Bundle | None:
    """The installed bundle with the id and checksum that a synthetic PET's sidecar names, or ``None``."""
    if not model.get("id") or not model.get("sha256"):
        return None
    try:
        bundle = find_bundle(str(model["id"]))
    except BundleError:
        return None
    return bundle if bundle.sha256 == model["sha256"] else None


def model_text(model: Mapping[str, Any]) -> str:
    """Id and version of the model that a sidecar names, of a fold or ensemble those of its run; else empty.

    >>> model_text({"id": "lab-fold3", "version": "1"}), model_text({})
    ('lab 1', '')
    """
    run = re.sub(r"-(fold\d+|ensemble)$", "", str(model.get("id") or ""))
    return f"{run} {model.get('version') or ''}".strip() if run else ""
