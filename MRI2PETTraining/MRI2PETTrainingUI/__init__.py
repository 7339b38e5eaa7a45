"""Panels of the module MRI2PETTraining: Qt only, one file a panel."""
