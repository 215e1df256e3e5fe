"""Atari (ALE): the emulator's state with its random one, and what ALE leaves out of both."""

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import ale_py
import numpy as np

from sb3_trpo.simulators.random_generators import Seeds

# A state as ALE writes it begins with int32s: …, the frame of the episode at byte 12, …, and at byte 24 the length of the
# emulator's part. That ends in ALE's random generator, std::mt19937 as text (624 words and a position) after its length.
_EPISODE_FRAME, _EMULATOR_LENGTH = 12, 24
_TWISTER = re.compile(rb"(?:\d+ ){624}\d+")
_CUT_OFF = struct.pack("<i", 2**30)
_FORGOTTEN_AFTER = 24


class AtariState(NamedTuple):
    """State of an ALE interface.

    :param state: as ALE writes it
    :param just_reset: whether the episode had no frame yet
    """

    state: bytes
    just_reset: bool

    def load(self, owner: dict[str, Any], name: str) -> None:
        ale = owner[name]
        if self.just_reset:
            ale.reset_game()  # ALE's state does not hold a half-drawn frame: a reset is the only way to one
        elif ale.getEpisodeFrameNumber() == 0:
            ale.act(0)  # and this completes the frame
        _forget_last_action(ale, self.state)
        ale.restoreState(ale_py.ALEState(self.state))

    def reseeded(self, seeds: Seeds) -> "AtariState":
        """The same with a new random generator for sticky actions (another is part of the console, and stays)."""
        *_, found = _TWISTER.finditer(self.state)
        words = np.random.MT19937(next(seeds)).state["state"]["key"]
        twister = " ".join([*map(str, words), "624"]).encode()
        state = bytearray(self.state)
        for position in (found.start() - 4, _EMULATOR_LENGTH):
            length = struct.unpack_from("<i", state, position)[0] + len(twister) - len(found[0])
            struct.pack_into("<i", state, position, length)
        state[found.start() : found.end()] = twister
        return self._replace(state=bytes(state))


def _forget_last_action(ale: ale_py.ALEInterface, state: bytes) -> None:
    """Make "no operation" the last action, which ALE repeats when actions stick and keeps out of its state.

    In an episode that is over by its number of frames ALE takes note of actions and emulates nothing.
    """
    if ale.getFloat("repeat_action_probability") <= 0.0:
        return
    over = bytearray(state)
    over[_EPISODE_FRAME : _EPISODE_FRAME + 4] = _CUT_OFF
    ale.restoreState(ale_py.ALEState(bytes(over)))
    for _ in range(_FORGOTTEN_AFTER):
        ale.act(0)


def save(layer: type, trusted: bool) -> Callable[[dict[str, Any], str], AtariState]:
    """The saver of ALE interfaces."""
    return _save


def _save(owner: dict[str, Any], name: str) -> AtariState:
    ale = owner[name]
    if ale.getFloat("repeat_action_probability") > 0.0 and ale.getInt("max_num_frames_per_episode") <= 0:
        raise TypeError(
            "its actions stick and its episodes have no limit, so ALE's last action cannot be fixed: use "
            "repeat_action_probability=0 with Stable-Baselines3's StickyActionEnv"
        )
    state = AtariState(ale.cloneState(include_rng=True).serialize(), ale.getEpisodeFrameNumber() == 0)
    if ale.getFloat("repeat_action_probability") > 0.0:
        _forget_last_action(ale, state.state)  # in the original too: what ALE would have repeated cannot be read
        ale.restoreState(ale_py.ALEState(state.state))
    return state
