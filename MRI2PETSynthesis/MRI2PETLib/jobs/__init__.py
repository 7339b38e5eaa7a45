"""Child processes: progress, cancel, jobs that outlive their parent, what a window shows of a run."""
