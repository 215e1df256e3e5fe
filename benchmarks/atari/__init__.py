"""The paper's second experiment, seven Atari games from their pictures, and what images cost in time and memory."""
