"""A training as nodes of a MRML scene."""
