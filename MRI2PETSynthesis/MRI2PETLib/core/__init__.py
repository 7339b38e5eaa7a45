"""What every room stands on: errors, findings, whole-or-nothing files, progress, resources, threads."""
