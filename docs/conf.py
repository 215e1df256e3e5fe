"""How the site is built: ``make docs``, without a network."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

project = "sb3_trpo"
copyright = "the sb3_trpo developers"
release = (ROOT / "sb3_trpo" / "version.txt").read_text().strip()

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "elsewhere",
    "generated",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"sb3_trpo {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Copies of the addresses of the names that these pages link to: the build asks no other site for its list
inventories = ROOT / "docs" / "inventories"
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", str(inventories / "python.txt")),
    "sb3": ("https://stable-baselines3.readthedocs.io/en/master", str(inventories / "sb3.txt")),
    "gymnasium": ("https://gymnasium.farama.org", str(inventories / "gymnasium.txt")),
    "torch": ("https://docs.pytorch.org/docs/stable", str(inventories / "torch.txt")),
    "numpy": ("https://numpy.org/doc/stable", str(inventories / "numpy.txt")),
}

# A name that leads nowhere is a warning, and so an error. Types that have no page, here or elsewhere:
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"sb3_trpo\.(ranks\.Report|trpo\.SelfTRPO|simulators\.saved\.Saved)"),
    ("py:class", r"sb3_trpo\.(loading\.CheckedLoad|restarts\.env\.RestartState)"),
    ("py:class", r"sb3_trpo\.checkpoints\.algorithm\.(Algorithm|SelfResumable)"),
    ("py:class", r"sb3_trpo\.variants\.(maskable\.SelfMaskableTRPO|recurrent\.SelfRecurrentTRPO)"),
    ("py:class", r"sb3_contrib\.common\.recurrent\.type_aliases\.RNNStates"),
    (
        "py:class",
        r"sb3_trpo\.sampling\.(algorithm\.SamplingAlgorithm|vine\.collector\.VineRollout|segmented_path\.StateSaver)",
    ),
    ("py:class", r"stable_baselines3\.common\.(buffers\.RolloutBuffer|running_mean_std\.RunningMeanStd)"),
    ("py:class", r"stable_baselines3\.common\.vec_env\.base_vec_env\.VecEnvWrapper"),
    ("py:class", r"sb3_trpo\.(sampling\.masks\.RolloutMasks|policy\.recognition\.ActorChain)"),
    ("py:class", r"(collections\.abc\.(Mapping\[str|Callable\[\[\])|.* dict\[str)"),  # autodoc cuts a type's name in two
]

# Links to files of the repository outside docs/ lead to the place the site was built from
repository = os.environ.get("READTHEDOCS_GIT_CLONE_URL", "").removesuffix(".git")
repository_files = f"{repository}/blob/HEAD" if repository else ROOT.as_uri()
