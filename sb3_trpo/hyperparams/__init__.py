"""Settings in RL Zoo's format: ``trpo.yml``, and ``trpo_vine.yml`` for the vine.

RL Zoo's ``--conf-file`` takes a file, or a module with a dictionary of this name: ``--conf-file sb3_trpo.hyperparams``.
"""

from importlib.resources import files

import yaml

hyperparams = yaml.safe_load((files(__name__) / "trpo.yml").read_text(encoding="utf-8"))
