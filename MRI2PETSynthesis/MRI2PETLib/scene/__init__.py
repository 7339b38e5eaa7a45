"""Results as nodes of a MRML scene: slicer and vtk, no Qt, no torch."""
