"""A module window and its parameter node: what both module windows do when the node comes and goes."""

import vtk
from slicer.util import VTKObservationMixin


class ParameterNodeMixin(VTKObservationMixin):
    """For a widget with ``ui`` and ``onParametersModified``, which shows what the parameters say."""

    def __init__(self) -> None:
        super().__init__()
        self._parameterNode = None
        self._guiTag = None

    def setParameterNode(self, node) -> None:
        """Show the parameters of a node, or of none."""
        event = vtk.vtkCommand.ModifiedEvent
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode.parameterNode, event, self.onParametersModified)
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node.parameterNode, event, self.onParametersModified)
            self.onParametersModified()
