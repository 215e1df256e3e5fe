"""The first experiment of the TRPO paper (Schulman et al. 2015, section 8.1, Figure 4): locomotion without a critic.

``tasks`` are those of the paper and ``methods`` what it compares, each with its part of the mathematics in ``updates``,
``max_kl``, ``reps`` and ``evolution``; ``study`` has the runs, the table and the pictures.

What differs from the paper is in benchmarks/README.md.
"""
