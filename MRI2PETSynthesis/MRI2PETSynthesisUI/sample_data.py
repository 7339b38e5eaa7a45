"""The phantom in the Sample Data module: simulated on this computer when it is asked for, then kept."""

import time
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MRI2PETLib.jobs.child_process import Callbacks, Job, child_python, mri2pet_command
from MRI2PETLib.scene.display import show_overlay
from MRI2PETLib.scene.sample_data import PHANTOM, add_phantom, phantom_arguments, phantom_files
from MRI2PETSynthesisUI.error_display import errorDisplay

CATEGORY = "MRI2PET"
_POLL_S = 0.05


def registerSampleData() -> None:
    """Offer the phantom in the Sample Data module. Makes nothing yet."""
    import SampleData

    icon = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / f"{PHANTOM}.png"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_("MRI2PET phantom (T1 + PET, simulated)"),
        uris="",
        fileNames=PHANTOM,
        nodeNames=PHANTOM,
        thumbnailFileName=str(icon),
        customDownloader=_onButton,
    )


def loadPhantom(cacheFolder=None):
    """Load the simulated T1 and PET and show the T1. The first time they are simulated.

    :param cacheFolder: where they are kept; default: Slicer's cache.
    :return: the nodes of the T1 and the PET.
    :raises MRI2PETError: if the simulation fails.
    """
    cache = Path(cacheFolder or slicer.app.cachePath)
    t1, pet = phantom_files(cache)
    if not (t1.is_file() and pet.is_file()):
        _simulate(cache)
    nodes = add_phantom(slicer.mrmlScene, t1, pet)
    show_overlay(slicer.mrmlScene, nodes[0].GetID(), None)
    slicer.util.resetSliceViews()
    return nodes


def _onButton(source) -> None:
    with errorDisplay(_("The phantom could not be made."), waitCursor=True):
        loadPhantom()


def _simulate(cache: Path) -> None:
    """Simulate in a child process. The window is drawn meanwhile, but takes no input: nothing runs twice."""

    def show(progress) -> None:
        slicer.util.showStatusMessage(_("Simulating a T1 and a PET ..."))

    arguments = phantom_arguments(cache)
    command = mri2pet_command(arguments, child_python())
    job = Job(command, Callbacks(progress=show), output=arguments[-1]).start()
    try:
        while job.pump():
            slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)
            time.sleep(_POLL_S)
    finally:
        job.cancel()  # an exception on the way; after the end it does nothing
        slicer.util.showStatusMessage("")
    if job.outcome.error is not None:
        raise job.outcome.error
