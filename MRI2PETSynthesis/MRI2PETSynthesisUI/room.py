"""Room for texts of several lines: a panel that is as high as they are at its width."""

import qt


class RoomForTexts(qt.QObject):
    """Keeps a panel as high as its parts are at its width.

    The module panel asks for the least height only, in which a text of several lines counts as short: what
    lies below it would be drawn over itself. Keep this as long as the panel.
    """

    def __init__(self, panel) -> None:
        super().__init__()
        panel.installEventFilter(self)

    def eventFilter(self, panel, event) -> bool:
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize):
            needed = panel.heightForWidth(panel.width)
            if panel.minimumHeight != needed:
                panel.minimumHeight = needed
        return False
