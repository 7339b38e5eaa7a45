"""A dataset for training: manifest, subjects, checks, cache of prepared cases."""
