"""How ``python -m sb3_trpo`` runs a script of RL Zoo.

The script's own parser reads the command line, so every option of RL Zoo's means what it means there. ``ScriptParser`` stands
in for it, for other defaults, for options of this package, and to tell mistakes in one line.
"""

import argparse
import sys
from argparse import Action, ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from sb3_trpo.settings import CHOICES
from sb3_trpo.zoo.resuming import take_up

COUNTS = ("n_timesteps", "eval_episodes", "n_eval_envs", "n_envs", "n_trials", "n_jobs", "n_evaluations", "episode_window")
ALGO_HELP = "trpo; with masks, with memory, and with both: trpo_mask, trpo_lstm, trpo_mask_lstm"
TRAINING_HELP = {
    "vec_env": "dummy runs all environments in this process; workers, or subproc, in worker processes, several to each",
    "n_timesteps": "number of environment steps, of all environments together; the settings' if not given",
    "log_interval": "rollouts between two tables; by default about ten tables, with --tensorboard-log one a rollout; -2: none",
}


@dataclass(frozen=True)
class Script:
    """One of RL Zoo's scripts.

    :param run: runs it, as from the command line in ``sys.argv``
    :param complete: checks the options given and fills in others; raises a ValueError that names the fix
    :param defaults: options with another default than RL Zoo's
    :param required: options that RL Zoo cannot do without, though its parser does not say so
    """

    run: Callable[[], None]
    complete: Callable[[Namespace], None]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: Sequence[str] = ()


class HelpWithDefaults(ArgumentDefaultsHelpFormatter):
    """Help that tells defaults, but not of options that have none, nor twice."""

    def _get_help_string(self, action: Action) -> str | None:
        none = action.default is False or action.default in (None, "", -1, [])
        told = "default" in (action.help or "")
        return action.help if none or told else super()._get_help_string(action)


class ScriptParser(ArgumentParser):
    """The parser that a script of RL Zoo makes for itself.

    :param script: the script
    :param description: RL Zoo's, if it has one
    """

    def __init__(self, script: Script, description: str | None = None):
        argparse.ArgumentParser = ArgumentParser  # type: ignore[misc]  # a script makes one parser, and any other is not for us
        super().__init__(prog=sys.argv[0], description=description, formatter_class=HelpWithDefaults)
        self.script = script

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What RL Zoo gets: its own options, checked and completed."""
        if "--conf-file" in self._option_string_actions:
            text = "sb3_trpo's own option: how to sample; the settings' choice, mostly single_path, if not given"
            self.add_argument("--sampling", choices=CHOICES["sampling"], help=text)
            text = "sb3_trpo's own option: minutes between two checkpoints of the whole run, for --resume; none if not given"
            self.add_argument("--checkpoint-minutes", type=float, help=text)
            text = "sb3_trpo's own option: go on with the last run of the environment from its last checkpoint"
            self.add_argument("--resume", action="store_true", default=False, help=text)
        elif "--gym-packages" not in self._option_string_actions and "--folder" in self._option_string_actions:
            text = "sb3_trpo's own option: modules that register environments when they are imported"
            self.add_argument("--gym-packages", nargs="+", default=[], help=text)
        self.set_defaults(**self.script.defaults)
        for action in self._actions:
            if action.dest == "vec_env":  # here subproc is another word for workers
                action.choices = [*(action.choices or ()), "workers"]
            if action.dest in self.script.required:  # not `action.required`: argparse would not come to a misspelt option
                action.default, action.help = None, f"{action.help} (required)"
            elif action.dest in self.script.defaults:
                action.required = False
            if action.dest == "algo" and action.choices:  # RL Zoo's, of which few are run from here: the script checks it
                action.choices, action.help = None, ALGO_HELP
            if "--conf-file" in self._option_string_actions:
                action.help = TRAINING_HELP.get(action.dest, action.help)
        try:
            options = super().parse_args(args, namespace)
        except Exception as error:  # RL Zoo evaluates what follows a name's colon
            self.error(f"{error}: give values as Python, text in quotes of its own: -params sampling:\"'vine'\"")
        try:
            self._check_required(options)
            if getattr(options, "resume", False):
                take_up(options, {action.dest: action.default for action in self._actions})
            self._check_values(options)
            self.script.complete(options)
        except ValueError as error:
            self.error(str(error))
        return options

    def _check_required(self, options: Namespace) -> None:
        """RL Zoo trains on CartPole if no task is given."""
        for action in self._actions:
            if action.dest in self.script.required and getattr(options, action.dest, None) is None:
                raise ValueError(f"give {action.option_strings[-1]}")

    def _check_values(self, options: Namespace) -> None:
        """RL Zoo takes a number below 1 for none, and divides by others."""
        for action in self._actions:
            value = getattr(options, action.dest, None)
            if action.dest in COUNTS and value is not None and value < 1 and value != action.default:
                raise ValueError(f"{action.option_strings[-1]} {value}: give at least 1")
            if action.dest == "log_interval" and value == 0:
                raise ValueError("--log-interval 0: give at least 1, or -2 for no tables")

    def error(self, message: str) -> NoReturn:
        """End with status 2 and the message alone, without RL Zoo's long list of options."""
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        closest = get_close_matches(unknown, self._option_string_actions, n=1)
        advice = f": did you mean {closest[0]}?" if closest else ""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}{advice}\n")


def run_script(script: Script, name: str, arguments: Sequence[str]) -> None:
    """Run a script of RL Zoo as if from its command line.

    :param script: the script
    :param name: what it is called here
    :param arguments: its command line
    :raises SystemExit: with status 2 for a wrong command line
    """
    sys.argv = [f"python -m sb3_trpo {name}", *arguments]
    argparse.ArgumentParser = partial(ScriptParser, script)  # type: ignore[assignment, misc]
    script.run()
