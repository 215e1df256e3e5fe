"""What the environments of trusted classes never change, though whoever made them may: the models of their simulators.

A state leaves such a model to its instance, for to save it with every state would take several times as long as all the
rest. A second instance needs it once, and again when somebody has edited the first one's.
"""

import gymnasium as gym

from sb3_trpo.simulators.attributes import saver
from sb3_trpo.simulators.known_classes import is_simulator
from sb3_trpo.simulators.saved import Saved
from sb3_trpo.simulators.stack import Stack

Models = list[tuple[int, str, Saved]]  # depth of a layer, name of an attribute, and what is in it


def clone_models(env: gym.Env) -> Models:
    """Save the models of an environment's simulators, where a state of it may not have them. May be pickled.

    :param env: a gymnasium environment
    """
    models: Models = []
    for depth, layer in enumerate(Stack.of(env).everything):
        for name, value in vars(layer).items():
            if is_simulator(type(value)) and saver(type(value), type(layer), trusted=True) is None:
                save = saver(type(value), type(layer), trusted=False)
                assert save is not None
                model = save(vars(layer), name)
                assert model is not None
                models.append((depth, name, model))
    return models


def restore_models(env: gym.Env, models: Models) -> None:
    """Make an environment's models those of another instance.

    :param env: built like the one whose models they are
    :param models: what :func:`clone_models` returned
    :raises CannotCloneError: (a ``ValueError``) for models of other sizes
    """
    layers = Stack.of(env).everything
    for depth, name, model in models:
        if name in vars(layers[depth]):  # or it is made in a reset, and is part of the state
            model.load(vars(layers[depth]), name)
