"""Time and memory of whole trainings, of their parts, and of several processes."""
