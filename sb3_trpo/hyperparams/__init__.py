"""Settings in RL Zoo's format: ``trpo.yml``, ``trpo_vine.yml`` for the vine, and one file for each variant of TRPO, such as
``trpo_lstm.yml``.

RL Zoo's ``--conf-file`` takes a file, or a module with a dictionary of this name: ``--conf-file sb3_trpo.hyperparams``.
"""

from importlib.resources import files

import yaml

hyperparams = yaml.safe_load((files(__name__) / "trpo.yml").read_text(encoding="utf-8"))
