"""What is known of a volume besides its voxels: what JSON files beside its file say. Needs ``slicer``, no Qt.

Slicer reads and writes no such files, so a synthetic PET that is loaded, saved in another place and loaded
again would be a measured one. What they say of a volume is therefore kept as an attribute of its node, which
stays through edits and in saved scenes, and is written beside each file that the volume is saved to. Only the
unit goes with an edit: Slicer may have changed the values.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import slicer
import slicer.util
import vtk

from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.files import read_object, write_json
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.dicom_study import is_synthetic_file
from MRI2PETLib.images.formats import EDITED_KEY, STATES_SD, sidecar_path
from MRI2PETLib.images.values import differ, value_moments
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.scene.nodes import PREFIX, content_of, set_content
from MRI2PETLib.synthesis.case_files import REFERENCE_KEY, scale_of

_SYNTHETIC, SIMULATED, STATISTIC = "Synthetic", "Simulated", "Statistic"
_DICOM = ("", ".dcm", ".ima")  # a series has no sidecar
_SIDECAR, _VALUES = "Sidecar", "ValuesOfUnit"
_MOST_KNOWN = 16
_moments_by_time: dict[int, dict[str, float]] = {}  # the window asks again and again


def provenance_of(node: Any) -> dict[str, Any]:
    """What made a synthetic image, as its sidecar says it; empty for any other node."""
    return _content(node, "Provenance")


def is_synthetic_node(node: Any) -> bool:
    """Whether a model made a volume, also one that was edited or saved elsewhere since."""
    return _is(node, _SYNTHETIC)


def is_simulated_node(node: Any) -> bool:
    """Whether a volume was simulated, also one that was edited or saved elsewhere since."""
    return _is(node, SIMULATED)


def is_map_node(node: Any) -> bool:
    """Whether a volume is a map that was computed from images, such as z: it has no unit, and says so."""
    return node.GetAttribute(PREFIX + "Unit") == "none"


def _content(node: Any, name: str) -> dict[str, Any]:
    content = content_of(node, name)
    return content if isinstance(content, dict) else {}


def _is(node: Any, what: str) -> bool:
    return node.GetAttribute(PREFIX + what) == "true" or bool(sidecar_of(node).get(what))


def sidecar_of(node: Any) -> dict[str, Any]:
    """What the sidecars beside the file of a loaded volume say, else what they said when it was loaded.

    ``Units`` only of values that are those of the file: edited ones may have another unit, but not another
    tracer or origin.
    """
    return _of_its_values(node, _in_and_beside(node))


def _in_and_beside(node: Any) -> dict[str, Any]:
    earlier = _content(node, _SIDECAR)
    made = {what: True for what in (_SYNTHETIC, SIMULATED) if earlier.get(what)}
    return earlier | _beside(node) | made


def _of_its_values(node: Any, about: dict[str, Any]) -> dict[str, Any]:
    """What a sidecar says, without the unit once the values are others than those that it was loaded with."""
    if "Units" not in about:
        return about
    loaded = _content(node, _VALUES)
    # Slicer calls every volume of a loaded scene modified.
    is_edited = differ(loaded, _moments(node)) if loaded else node.GetModifiedSinceRead()
    return {key: value for key, value in about.items() if key != "Units" or not is_edited}


def _moments(node: Any) -> dict[str, float]:
    image = node.GetImageData()
    if image is None or image.GetNumberOfScalarComponents() != 1:
        return {}
    changed = image.GetMTime()  # of VTK: no two objects have one
    if changed not in _moments_by_time:
        if len(_moments_by_time) == _MOST_KNOWN:
            _moments_by_time.clear()
        values = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
        _moments_by_time[changed] = value_moments(values)
    return _moments_by_time[changed]


def _beside(node: Any) -> dict[str, Any]:
    """What the sidecars beside the file of a volume, or its DICOM file, say now; empty without any."""
    storage = node.GetStorageNode()
    if storage is None or not storage.GetFileName() or storage.GetURI():
        return {}
    path = Path(storage.GetFileName())
    try:
        if path.suffix.lower() in _DICOM:
            return {_SYNTHETIC: True} if is_synthetic_file(path) else {}
        return read_sidecar(path)
    except (InputError, OSError):  # what they say is not known then
        return {}


def remember_origin(node: Any) -> None:
    """Keep what the sidecars of a loaded volume say as an attribute of its node."""
    about = _in_and_beside(node)
    if about and not provenance_of(node) and about != content_of(node, _SIDECAR):
        set_content(node, _SIDECAR, about)
        if "Units" in about:
            set_content(node, _VALUES, _moments(node))


def remember_values(node: Any, name: str = _VALUES) -> None:
    """Keep the values that something is stated of, such as the unit of a volume that was made here.

    :param name: of the statement, for :func:`is_edited`.
    """
    set_content(node, name, _moments(node))


def is_edited(node: Any, name: str = _VALUES) -> bool:
    """Whether the values are others than those of :func:`remember_values`; not where none were kept."""
    former = _content(node, name)
    return bool(former) and differ(former, _moments(node))


def set_reference(node: Any, region: str) -> None:
    """Keep by which region a SUVR that was made here is, as if a sidecar said it."""
    add_to_sidecar(node, {REFERENCE_KEY: region})


def add_to_sidecar(node: Any, about: Mapping[str, Any]) -> None:
    """Keep what is known of a volume that was made here, as if a sidecar said it."""
    set_content(node, _SIDECAR, {**_content(node, _SIDECAR), **about})


def sidecar_for(node: Any) -> dict[str, Any]:
    """What the sidecar of a file that a volume is saved to has to say, whatever lies there; empty if nothing
    is known of the volume.
    """
    about = _of_its_values(node, _content(node, _SIDECAR))
    about |= {what: True for what in (_SYNTHETIC, SIMULATED) if node.GetAttribute(PREFIX + what) == "true"}
    unit, tracer = node.GetAttribute(PREFIX + "Unit"), node.GetAttribute(PREFIX + "Result")
    provenance = provenance_of(node)
    if unit:
        about["Description"] = node.GetDescription()
    if unit and (provenance or not is_edited(node)):  # a synthetic image says that it was edited
        about["Units"] = unit
    if provenance:
        about["Provenance"] = provenance | ({EDITED_KEY: True} if is_edited(node) else {})
    if node.GetAttribute(PREFIX + STATISTIC):
        about |= STATES_SD
    if tracer:
        about |= {"Modality": "PET", "TracerName": tracer, SIMULATED: bool(about.get(SIMULATED))}
        if provenance.get("reference_region"):
            about[REFERENCE_KEY] = provenance["reference_region"]
        space = provenance.get("preprocessing", {}).get("model_space")
        about |= scale_of(ModelSpace.from_dict(space)) if space else {}
    return about


class OriginWatch:
    """Remembers the origin of every volume of a scene when it is loaded, and writes a sidecar when Slicer
    saves one of known origin. Keep it as long as the scene.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._files: dict[str, tuple[str, int | None]] = {}  # file and time of change, by storage node

        def added(_scene: Any, _event: str, node: Any) -> None:
            self._watch(node)

        added.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        self._observers = [
            scene.AddObserver(scene.NodeAddedEvent, added),
            scene.AddObserver(scene.EndCloseEvent, lambda *_: self._files.clear()),
        ]
        for n in range(scene.GetNumberOfNodes()):
            self._watch(scene.GetNthNode(n))

    def _watch(self, node: Any) -> None:
        if node.IsA("vtkMRMLScalarVolumeNode") and not node.IsA("vtkMRMLLabelMapVolumeNode"):
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_volume)
            self._on_volume(node)

    def _on_volume(self, node: Any, _event: str = "") -> None:
        """A volume gets its storage node after it has entered the scene, and is then modified."""
        storage = node.GetStorageNode()
        if node.GetImageData() is not None and storage is not None and storage.GetID() not in self._files:
            self._files[storage.GetID()] = _state_of_file(storage)
            storage.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_storage)
            remember_origin(node)

    def _on_storage(self, storage: Any, _event: str) -> None:
        """A file was written if its time has changed, and not its name, which is set before."""
        before, now = self._files.get(storage.GetID(), ("", None)), _state_of_file(storage)
        self._files[storage.GetID()] = now
        is_written = now[0] == before[0] and now[1] not in (None, before[1])
        node = storage.GetStorableNode()
        if node is not None and is_written and storage.GetWriteState() == storage.TransferDone:
            _saved(node, sidecar_path(Path(now[0])))


def _saved(node: Any, path: Path) -> None:
    """Write what is known of a volume beside the file that it was saved to."""
    try:
        about = sidecar_for(node)
        if _is_to_write(about, path):
            write_json(path, about)
    except (MRI2PETError, OSError) as error:
        logging.warning(f"{path} could not be written: what is known of {node.GetName()} is lost: {error}")


def _is_to_write(about: Mapping[str, Any], path: Path) -> bool:
    """Whether a sidecar is new, or in the place of that of an overwritten image: of another origin or unit,
    or synthetic. Any other one that is there is the user's.
    """
    if not path.exists():
        return bool(about)
    there: dict[str, Any] = {}
    with suppress(InputError):
        there = read_object(path, nan=lambda name: None)
    is_other = any(bool(about.get(what)) != bool(there.get(what)) for what in (_SYNTHETIC, SIMULATED))
    is_other |= len({about.get("Units"), there.get("Units")} - {None}) > 1
    differs = any(there.get(key) != value for key, value in about.items())
    return is_other or (differs and _SYNTHETIC in there)


def _state_of_file(storage: Any) -> tuple[str, int | None]:
    path = Path(storage.GetFileName() or "")
    try:
        return str(path), path.stat().st_mtime_ns
    except OSError:
        return str(path), None
