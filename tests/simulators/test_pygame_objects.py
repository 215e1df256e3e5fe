"""What environments draw with: copies can draw, and a picture that a game goes on from is state."""

from typing import Any
from zlib import crc32

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_trpo.processes.messages import dump, load
from sb3_trpo.simulators import CannotCloneError, Pickler, check_clone, clone_state, copy_env
from tests.simulator_toys import Walk, assert_exact, latest

pygame = pytest.importorskip("pygame")


class Brush:
    def __init__(self, canvas: Any):
        self.canvas, self.color = canvas, pygame.Color(9, 8, 7)


class Painted(Walk):
    """Goes on from what it has painted; everything it paints with is made in ``__init__``."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), dtype=np.float64)

    def __init__(self, depth: int = 32, flags: int = 0) -> None:
        super().__init__()
        pygame.font.init()
        self.canvas = pygame.Surface((40, 30), flags, depth)
        self.corner = self.canvas.subsurface((1, 2, 10, 10))
        self.layers = [pygame.Surface((5, 5)), self.canvas]
        self.brush = Brush(self.canvas)
        self.clock, self.font = pygame.time.Clock(), pygame.font.Font(None, 12)
        self.place = pygame.math.Vector2(3, 4)

    def step(self, action: int) -> Any:
        _, reward, *rest = super().step(action)
        self.clock.tick()
        x, y, width, color = (int(number) for number in self.np_random.integers(0, 30, 4))
        chosen = (self.canvas, self.corner, self.layers[0], self.brush.canvas)[x % 4]
        pygame.draw.rect(chosen, (color, 3 * color, 99), (x, y, width, width))
        if color == 1:
            self.canvas.set_clip((0, 0, 20, y))
            self.layers[0].set_colorkey((1, 2, 3))
        self.place += (x, 0.5)
        self.brush.color.r = color
        self.canvas.blit(self.font.render("x", False, (1, 2, 3)), (x, y))
        pixels = [part.get_buffer().raw for part in (self.canvas, self.layers[0])]
        settings = self.layers[0].get_colorkey(), self.canvas.get_clip(), self.canvas.get_alpha()
        shown = repr((settings, self.place, self.brush.color, self.corner.get_at((2, 2))))
        return np.array([crc32(b"".join(pixels)), crc32(shown.encode())], dtype=np.float64), reward, *rest

    def reset(self, **settings: Any) -> Any:
        super().reset(**settings)
        if self.np_random.random() < 0.5:
            self.canvas.fill((0, 0, 0))
        return np.zeros(2), {}


@pytest.mark.parametrize(("depth", "flags"), [(32, 0), (24, 0), (8, 0), (32, "SRCALPHA")])
def test_a_game_may_go_on_from_its_pictures(depth: int, flags: Any) -> None:
    """Pixels, parts of pictures, clips and keys are state; clocks and fonts made in __init__ are there in a copy."""
    flags = getattr(pygame, flags) if flags else 0
    assert_exact(lambda: Painted(depth, flags))
    report = check_clone(Painted(depth, flags), n_steps=60)
    assert report.exact, report


@pytest.mark.parametrize("env_id", [latest("Taxi"), latest("CliffWalking"), "Blackjack-v1", "FrozenLake-v1", "CartPole-v1"])
@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("sent", [False, True])
def test_copies_of_gymnasiums_environments_render(env_id: str, rendered: bool, sent: bool) -> None:
    """What their originals render, whether these have made their pictures or not; in another process, too."""
    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    if rendered:
        env.render()
    copied = copy_env(env)
    copied = load(dump(copied, Pickler)) if sent else copied
    np.testing.assert_array_equal(copied.render(), env.render())
    actions = env.action_space.sample()
    np.testing.assert_equal(copied.step(actions)[0], env.step(actions)[0])
    np.testing.assert_array_equal(copied.render(), env.render())


def test_the_window_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one in a process: a copy may open its own, and one among other things is refused by name."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = Painted()
    env.window = pygame.display.set_mode((40, 30))
    try:
        env.reset(seed=0)
        assert copy_env(env).window is None
        env.screens = {"main": [vars(env).pop("window"), 1]}
        with pytest.raises(CannotCloneError, match="screens cannot be copied: it is pygame's window"):
            clone_state(env)
    finally:
        pygame.display.quit()
