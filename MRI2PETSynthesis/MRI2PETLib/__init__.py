"""SlicerMRI2PET library: T1-weighted MRI to synthetic PET, and how close it comes to the real one.

Research use only. Importing this package loads neither torch nor SimpleITK.
"""

__version__ = "0.1.0"
