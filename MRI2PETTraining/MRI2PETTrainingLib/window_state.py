"""What the window of the training shows, derived from the state of its run and from the run folder. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from MRI2PETLib.jobs.run_state import RunState, WindowState, window_state
from MRI2PETTrainingLib.run_folder import RunView

_CHECKED = "This run has begun: its dataset was checked."
_SETTLED = "The settings are those of the run in this folder. Choose another run folder for other ones."
_BUSY = "Stop the training first: what is finished is kept."


@dataclass(frozen=True)
class Window:
    """What is shown.

    :ivar primary: text of the main button: Start, Resume or Stop; ``primary_tip`` says why it is disabled.
    :ivar inputs_enabled: settings may be changed; those of a run that has begun may not. ``inputs_tip`` says
        why, else it is empty.
    :ivar folder_enabled: another dataset or run folder may be chosen; ``folder_tip`` as ``inputs_tip``.
    """

    primary: str
    primary_enabled: bool
    primary_tip: str
    may_check: bool
    check_tip: str
    inputs_enabled: bool
    inputs_tip: str
    folder_enabled: bool
    folder_tip: str
    has_report: bool
    may_use: bool
    common: WindowState


def training_window(state: RunState, view: RunView | None, missing: str) -> Window:
    """What to show.

    :param view: of the chosen run folder, ``None`` when there is none.
    :param missing: why nothing can be started, empty when it can.
    """
    begun = view is not None and view.begun
    finished = view is not None and view.report is not None
    if finished and not missing:
        missing = "This run is finished. Choose another run folder or another dataset for a new one."
    elif begun and not missing and not state.message:
        state = RunState(state.phase, state.stage, state.fraction, state.eta_s, _stopped(view))
    common = window_state(state, missing)
    if state.is_busy:
        primary, tip = "Stop", "Stop the training. Finished epochs are kept."
    elif begun and not finished:
        primary, tip = "Resume", missing or "Go on with this run, with the settings it was started with."
    else:
        primary, tip = "Start", missing or "Check and prepare the dataset, then train all folds."
    return Window(
        primary=primary,
        primary_enabled=common.may_start or common.may_cancel,
        primary_tip=tip,
        may_check=common.may_start and not begun,
        check_tip=missing or (_CHECKED if begun else "Look at every image and make the folds."),
        inputs_enabled=common.inputs_enabled and not begun,
        inputs_tip=_BUSY if state.is_busy else _SETTLED if begun else "",
        folder_enabled=common.inputs_enabled,
        folder_tip=_BUSY if state.is_busy else "",
        has_report=finished,
        may_use=view is not None and view.ensemble is not None and not state.is_busy,
        common=common,
    )


def _stopped(view: RunView | None) -> str:
    assert view is not None
    done = sum(status.finished for status in view.folds)
    return f"This folder holds a run that was stopped: {done} of {len(view.folds)} folds are finished."
