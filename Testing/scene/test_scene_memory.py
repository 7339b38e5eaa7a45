"""What a closed scene gives back."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.images.grid import Grid  # noqa: E402
from MRI2PETLib.scene.images import add_volume  # noqa: E402
from MRI2PETLib.scene.layout import show_legend, show_result  # noqa: E402
from MRI2PETLib.scene.memory import give_back_memory, release_images  # noqa: E402
from MRI2PETLib.scene.nodes import own_ids  # noqa: E402
from MRI2PETLib.scene.results import Synthetic, add_result  # noqa: E402


def test_no_image_outlives_the_scene_that_showed_it(tmp_path: Path) -> None:
    application = bootstrap(tmp_path)
    scene = application.scene
    grid = Grid((20, 24, 30), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    voxels = np.ones((30, 24, 20), np.float32)
    images = {"pet": grid.image(voxels), "mask": grid.image(voxels.astype(np.uint8))}
    t1 = add_volume(scene, grid.image(100 * voxels), "anna")
    show_result(scene, add_result(scene, Synthetic(unit="SUVR", note="", tracer="PBR28", **images), t1))
    for view in application.slices.values():
        view.UpdatePipeline()
    volumes = [scene.GetNthNodeByClass(n, "vtkMRMLVolumeNode") for n in range(3)]
    deleted: list[str] = []
    for volume in volumes:
        name = volume.GetName()
        volume.GetImageData().AddObserver("DeleteEvent", lambda *_, name=name: deleted.append(name))
    names = {volume.GetName() for volume in volumes}
    del t1, volumes, volume
    scene.Clear(0)
    release_images(application.logic)
    gc.collect()
    assert len(names) == 3 and set(deleted) == names


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others give memory back themselves")
def test_memory_that_is_free_below_a_block_in_use_is_given_back() -> None:
    libc: Any = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    size, count = 50_000, 4000  # 200 MB in blocks too small to be given back one by one
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[:-1]:
        libc.free(block)
    before = resident_mb()
    give_back_memory()
    assert before - resident_mb() > 150
    libc.free(blocks[-1])


def test_a_legend_is_the_first_display_to_be_removed(tmp_path: Path) -> None:
    """The other way round Slicer says that it cannot draw it."""
    application = bootstrap(tmp_path)
    grid = Grid((4, 4, 4), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    volume = add_volume(application.scene, grid.image(np.ones((4, 4, 4), np.float32)), "anna")
    show_legend(volume, "SUVR", ["Red"])
    kinds = [application.scene.GetNodeByID(i).GetClassName() for i in own_ids(volume)]
    assert kinds[:2] == ["vtkMRMLColorLegendDisplayNode", "vtkMRMLScalarVolumeDisplayNode"]


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
