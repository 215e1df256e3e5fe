"""The first experiment of the TRPO paper (Schulman et al. 2015, section 8.1, Figure 4): locomotion without a critic.

``tasks`` are those of the paper and ``methods`` what it compares, each with its part of the mathematics in ``updates``,
``max_kl``, ``reps`` and ``evolution``; ``study`` has the runs, the table and the pictures.

What differs from the paper, beside the simulator (MuJoCo's -v5 tasks with the paper's state dimensions): iterations are of
10,000 simulator steps (cart-pole: 5,000), branches included, and a run has a million of them, where the paper makes 200
iterations of 50,000 to a million; a further setting has 200 of 50,000, another a longer horizon. The cart is gymnasium's
InvertedPendulum-v5, with a continuous force. Rewards are today's: the Walker pays no penalty for the impact of its feet.
Fisher matrices take all states instead of a tenth, are damped by 0.1, and advantages are standardised. REPS re-weights
Monte-Carlo returns.
"""
