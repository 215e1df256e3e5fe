"""What pages show that is made of other files: statuses and options of the command line as tables, pictures of agents."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class MarkdownDirective(SphinxDirective):
    """Puts Markdown in its own place.

    What is written is parsed as if it stood in the page.
    """

    def markdown(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList(self.markdown().splitlines(), source="generated"), 0, container)
        return container.children


class Statuses(MarkdownDirective):
    """Every status: its code in the log, its name, what it means, what to do."""

    def markdown(self) -> str:
        from sb3_trpo.trust_region import Status

        rows = [f"| {status.code} | `{status.value}` | {status.meaning} | {status.remedy} |" for status in Status]
        return "\n".join(["| code | status | meaning | what to do |", "|---|---|---|---|", *rows])


class Agents(MarkdownDirective):
    """Moving pictures of the trained agents, as many as there are; for a page in ``docs`` itself."""

    def markdown(self) -> str:
        folder = Path("..", "benchmarks", "results", "agents")
        pictures = sorted((Path(__file__).parents[1] / folder).glob("*.webp"))
        return " ".join(f"![{picture.stem}]({folder / picture.name})" for picture in pictures)


class CommandLine(MarkdownDirective):
    """Every option of a script of ``python -m sb3_trpo``, with its default and the parser's own help."""

    required_arguments = 1

    def markdown(self) -> str:
        rows = [option_row(action) for action in options_of(self.arguments[0]) if action.dest != "help"]
        return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def options_of(script: str) -> Sequence[argparse.Action]:
    """What the parser of a script knows, after this package has added and changed what it does."""
    from importlib import import_module

    from sb3_trpo.__main__ import SCRIPTS
    from sb3_trpo.zoo.command_line import ScriptParser, run_script

    found: list[argparse.Action] = []
    arguments, original = sys.argv, (argparse.ArgumentParser, ScriptParser.print_help)
    ScriptParser.print_help = lambda parser, file=None: found.extend(parser._actions)  # type: ignore[method-assign]
    try:
        run_script(import_module(f"sb3_trpo.zoo.{SCRIPTS[script].module}").SCRIPTS[script], script, ["--help"])
    except SystemExit:
        pass
    finally:
        sys.argv = arguments
        argparse.ArgumentParser, ScriptParser.print_help = original  # type: ignore[misc, method-assign]
    return found


def option_row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    given = action.default not in (None, "", False, argparse.SUPPRESS)
    default = "required" if action.required else f"`{action.default}`" if given else ""
    meaning = " ".join((action.help or "").replace("%%", "%").split()).replace("|", "\\|").replace("<", "\\<")
    if action.choices:
        meaning = f"{meaning.rstrip('.')}. One of {', '.join(f'`{choice}`' for choice in action.choices)}."
    return f"| {names} | {default} | {meaning} |"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("statuses", Statuses)
    app.add_directive("command-line", CommandLine)
    app.add_directive("agents", Agents)
    return {"parallel_read_safe": True}
