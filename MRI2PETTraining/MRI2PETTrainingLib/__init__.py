"""SlicerMRI2PET training library. Uses MRI2PETLib; MRI2PETLib never uses it."""
