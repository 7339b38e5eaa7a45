"""The button *Build norm*: what the controls of a finished run are like; beside it, who they are."""

import slicer
from slicer.i18n import tr as _

from MRI2PETLib.jobs.run_state import RunState, window_state
from MRI2PETLib.normative.settings import NormSettings
from MRI2PETLib.scene.norm import NormBuildRequest, groups_of_run, missing_for_build, norm_of_run
from MRI2PETSynthesisUI.running import RunningPanel


class NormButton(RunningPanel):
    """Builds into the folder ``norm`` of the run; Cancel while it works.

    The list beside it has the groups of the run, and is not there where the run has none.
    """

    def __init__(self, button, groupBox, onChanged) -> None:
        super().__init__(slicer.util.getModuleLogic("MRI2PETSynthesis"), onChanged)
        self._button, self._groupBox, self._run, self._groups = button, groupBox, None, None
        button.connect("clicked()", self._onClick)
        groupBox.connect("activated(int)", lambda _index: onChanged())

    def update(self, run, mayUse: bool) -> None:
        """Show the state.

        :param run: the folder of the run, or ``None``; ``mayUse``: it is complete and nothing trains.
        """
        self._run = run
        self._onInputs(run)
        self._fill()
        missing = missing_for_build(run)
        if not missing and self._groups.people and not self._group:
            missing = _("Choose the group of the controls.")
        elif not missing and self._groups.everybody:  # else the table says why
            missing = self._groups.too_few(self._group)
        busy, button = self._state.is_busy, self._button
        button.text = _("Cancel the norm") if busy else _("Build norm")
        button.enabled = busy or (mayUse and not missing)
        self._groupBox.enabled = mayUse and not busy
        norm = norm_of_run(run)
        about = _("What the controls of this run are like, to compare others with.")
        button.toolTip = missing or (about if norm is None else str(norm))

    @property
    def window(self):
        """What the window says of the norm; ``None`` where there is nothing to say."""
        return window_state(self._state) if self._state.is_busy or self._state.message else None

    @property
    def _group(self):
        """The group that is chosen, ``None`` for none."""
        return self._groupBox.itemData(self._groupBox.currentIndex) or None

    def _fill(self) -> None:
        """The groups of the run, when they are others than before."""
        groups = groups_of_run(self._run)
        if groups == self._groups:
            return
        self._groups, box = groups, self._groupBox
        box.clear()
        box.visible = bool(groups.people)
        if groups.controls is None:
            box.addItem(_("Controls: choose"), "")
        for name, people in groups.people.items():
            text = _("Controls: {name} ({people})").format(name=name, people=people)
            box.addItem(text, name)
        box.setCurrentIndex(max(0, box.findData(groups.controls or "")))

    def _onClick(self) -> None:
        settings = NormSettings(group=self._group)
        self._startOrCancel(lambda: NormBuildRequest(self._run, settings), _("The norm could not be built."))

    def _onFinished(self, finished) -> None:
        super()._onFinished(finished)
        if finished.nodes is not None:
            people, folder = finished.nodes.people, finished.nodes.folder
            message = _("Norm of {people} controls: {folder}. Section Norm of MRI2PET Synthesis uses it.")
            self._onState(RunState(message=message.format(people=people, folder=folder)))
