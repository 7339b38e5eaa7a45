"""Panels of the module MRI2PETSynthesis: Qt only, one file a panel."""
