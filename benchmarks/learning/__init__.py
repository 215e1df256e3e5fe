"""What is learned, and with which settings: runs of whole trainings, evaluated on the way."""
