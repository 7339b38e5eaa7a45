"""What Slicer's Python lacks and how it gets it."""
