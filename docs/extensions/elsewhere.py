"""Links that leave the site: to files of the repository, and to names that other projects document under other names."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import resolve_reference_detect_inventory

LINK = re.compile(r"(?<!!)(?P<text>\[[^][]*\])\((?P<path>[\w./-]+)(?P<anchor>#[\w-]+)?\)")


def link_repository_files(text: str, folder: Path, docs: Path, base: str) -> str:
    """Markdown whose relative links to files outside ``docs`` lead to the repository; pictures stay as they are.

    :param text: of a page
    :param folder: that the page's links start from
    :param docs: the site's sources
    :param base: address of the repository's files
    """

    def link(match: re.Match) -> str:
        target = (folder / match["path"]).resolve()
        inside = target.is_relative_to(docs) or not target.exists()
        place = f"{base}/{target.relative_to(docs.parent)}" if not inside else match["path"]
        return f"{match['text']}({place}{match['anchor'] or ''})"

    return LINK.sub(link, text)


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    docs = Path(app.srcdir)
    source[0] = link_repository_files(source[0], (docs / name).parent, docs, app.config.repository_files)


def read_included(app: Sphinx, path: Path, parent: str, source: list[str]) -> None:
    """A file of the repository that a page shows: its links into ``docs`` lead to the site's pages."""
    docs = Path(app.srcdir)
    text = link_repository_files(source[0], (docs / path).resolve().parent, docs, app.config.repository_files)
    source[0] = text.replace("](docs/", "](")


# Where a class is defined -> the name under which it is documented
DOCUMENTED = {
    "torch._tensor.Tensor": "torch.Tensor",
    "torch._C.Generator": "torch.Generator",
    "th.Tensor": "torch.Tensor",
    "th.Generator": "torch.Generator",
    "th.device": "torch.device",
    "np.ndarray": "numpy.ndarray",
    "np.random.Generator": "numpy.random.Generator",
    "gym.Env": "gymnasium.Env",
    "gymnasium.core.Env": "gymnasium.Env",
    "gymnasium.core.Wrapper": "gymnasium.Wrapper",
    "gymnasium.core.ActionWrapper": "gymnasium.ActionWrapper",
    "gymnasium.core.ObservationWrapper": "gymnasium.ObservationWrapper",
    "gymnasium.spaces.space.Space": "gymnasium.spaces.Space",
    "gymnasium.spaces.box.Box": "gymnasium.spaces.Box",
    "stable_baselines3.common.vec_env.base_vec_env.VecEnv": "stable_baselines3.common.vec_env.VecEnv",
    "torch.nn.modules.module.Module": "torch.nn.Module",
    "stable_baselines3.common.vec_env.dummy_vec_env.DummyVecEnv": "stable_baselines3.common.vec_env.DummyVecEnv",
    "numpy.random._generator.Generator": "numpy.random.Generator",
    "torch.nn.parameter.Parameter": "torch.nn.Parameter",
    "BaseCallback": "stable_baselines3.common.callbacks.BaseCallback",
    "VecEnv": "stable_baselines3.common.vec_env.VecEnv",
}


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    name = DOCUMENTED.get(node.get("reftarget", ""))
    if name is None:
        return None
    node["reftarget"] = name
    return resolve_reference_detect_inventory(env, node, content)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository_files", "", "env")
    app.connect("source-read", read_page)
    app.connect("include-read", read_included)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
