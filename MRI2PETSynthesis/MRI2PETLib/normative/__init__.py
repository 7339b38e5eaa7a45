"""What is abnormal: a person's real PET against what a lab's own controls predict. See :mod:`.norm`."""
