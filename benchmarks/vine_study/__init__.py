"""When does the vine learn more from a simulator step than single path does?

``variants`` of sampling on ``tasks`` that ought to suit them: the package's vine and three others (``vines``), and vines
inside the environments, every step of which is a sample (``branching``), with a baseline among relatives (``siblings``).
``runs`` says which runs there are, ``results`` has the table and the picture.
"""
