"""One grid, and the ways in and out of image files: NIfTI, NRRD, MHA, DICOM and others; BIDS names."""
