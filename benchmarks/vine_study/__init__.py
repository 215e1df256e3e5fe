"""When does the vine learn more from a simulator step than single path does?

``variants`` of sampling on ``tasks`` that ought to suit them: the package's vine and three others (``vines``), and vines
inside the environments, every step of which is a sample (``branching``), with a baseline among relatives (``siblings``).
``study`` has the runs, the table and the picture.
"""
