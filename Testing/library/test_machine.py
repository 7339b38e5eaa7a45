from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil
import pytest

from MRI2PETLib.core.threads import cores, settle


def test_no_more_threads_than_physical_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 4 if logical else 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert cores() == 1  # a job of a cluster that was given one core


def test_an_unknown_number_of_cores_is_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: None)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == 1


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "7")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    settle()
    assert os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "7"
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"


def test_itk_obeys() -> None:
    code = (
        "from MRI2PETLib.core.threads import cores, settle; settle(); import SimpleITK as sitk;"
        "print(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), cores())"
    )
    environment = {k: v for k, v in os.environ.items() if "NUMBER_OF_THREADS" not in k}
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    threads, allowed = map(int, output.stdout.split())
    assert threads <= allowed


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_memory_of_an_image_is_used_again() -> None:
    """64 MB are 16,000 pages; the second image in their place needs no new ones."""
    code = (
        "from MRI2PETLib.core.threads import keep_memory; keep_memory(); import resource, SimpleITK as sitk\n"
        "for _ in range(2):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    sitk.Image([400, 400, 100], sitk.sitkFloat32)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = map(int, ended.stdout.split())
    assert second < 0.1 * first
