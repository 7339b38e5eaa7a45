"""Build the bundled demonstration model from two public datasets: ``mri2pet-build-demo``."""
