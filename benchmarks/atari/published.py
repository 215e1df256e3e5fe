"""Scores of other people's tables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of a table.

    :param name: of the method
    :param protocol: how it was measured, as far as is said
    :param scores: by game, in the order of ``games.NAMES``
    """

    name: str
    protocol: str
    scores: tuple[float, ...]


TABLE_1 = "Schulman et al. 2015, Table 1"
NATURE = "Mnih et al. 2015, Extended Data Table 2; games begin with up to 30 no-ops and last at most 5 minutes"
PUBLISHED = (
    Published("random", f"{TABLE_1}, from Mnih et al. 2013", (354, 1.2, 0, -20.4, 157, 110, 179)),
    Published(
        "human", f"{TABLE_1}, from Mnih et al. 2013: median of about two hours' play", (7456, 31, 368, -3, 18900, 28010, 3690)
    ),
    Published("DQN", f"{TABLE_1}, from Mnih et al. 2013: mean with ε = 0.05", (4092, 168, 470, 20, 1952, 1705, 581)),
    Published(
        "UCC-I",
        f"{TABLE_1}, from Guo et al. 2014: tree search and supervised learning",
        (5702, 380, 741, 21, 20025, 2995, 692),
    ),
    Published(
        "TRPO, single path", f"{TABLE_1}; one run, 500 × 100,000 steps", (1425.2, 10.8, 534.6, 20.9, 1973.5, 1908.6, 568.4)
    ),
    Published("TRPO, vine", f"{TABLE_1}; one run, 500 × 400,000 steps", (859.5, 34.2, 430.8, 20.9, 7732.5, 788.4, 450.2)),
    Published("random", NATURE, (363.9, 1.7, 0, -20.7, 163.9, 68.4, 148)),
    Published(
        "human", f"{NATURE}; a games tester, mean of about 20 episodes", (5774.7, 31.8, 309.6, 9.3, 13455, 20181.8, 1652.3)
    ),
    Published(
        "DQN",
        f"{NATURE}; 50 million frames' training, mean of 30 episodes with ε = 0.05",
        (6846, 401.2, 301.8, 18.9, 10596, 5286, 1976),
    ),
)
