"""Measure what a study has not measured yet.

    python -m benchmarks                          # the studies
    python -m benchmarks comparison               # every cell of one that is not there, one after the other
    python -m benchmarks comparison --task Hopper-v5 --variant sb3_trpo --seed 0 1
    python -m benchmarks candidates --task Hopper-v5 --label bolder --set target_kl=0.06

Results are files in benchmarks/results, written as soon as they are there; ``python -m benchmarks.report`` makes tables and
pictures of them.
"""

import argparse
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch as th
import yaml

from benchmarks.catalogue import STUDIES, about_of, load
from benchmarks.common import environment
from benchmarks.common.study import TEMPORARY, Study, cells, make


def assignment(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as YAML reads it."""
    name, _, value = text.partition("=")
    return name, yaml.safe_load(value)


def parser_of(name: str, study: Study, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        f"python -m benchmarks {name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", nargs="+", choices=study.tasks, metavar="TASK", help="of: " + " | ".join(study.tasks))
    if study.variants != ("",):
        names = " | ".join(study.variants).replace("%", "%%")
        parser.add_argument("--variant", nargs="+", choices=study.variants, metavar="VARIANT", help="of: " + names)
    parser.add_argument("--seed", nargs="+", type=int, help="seeds, or numbers of rounds")
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    if study.changeable:
        parser.add_argument("--label", help="name in the results of a variant with other settings")
        parser.add_argument("--set", nargs="+", type=assignment, metavar="NAME=VALUE", help="these settings")
    parser.set_defaults(task=(), variant=(), seed=(), label="", set=())
    parser.add_argument("--results", type=Path, help="write to this folder")
    parser.add_argument(TEMPORARY, action="store_true", dest="temporary", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(__doc__)
        print("\n".join(f"  {each:18} {about_of(each)}" for each in STUDIES))
        return
    if name not in STUDIES:
        sys.exit(f"There is no study {name}. The studies are {', '.join(STUDIES)}.")
    study, about = load(name)
    parser = parser_of(name, study, about)
    args = parser.parse_args(sys.argv[2:])
    if bool(args.set) != bool(args.label):
        parser.error("--set and --label belong together: other settings are another variant")
    if args.label and len(args.variant or study.variants) > 1:
        parser.error("--label names one variant: choose it with --variant")
    environment.RESULTS = args.results or environment.RESULTS
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    chosen = cells(study, args.task, args.variant, args.seed)
    if args.temporary:
        print(json.dumps(study.run(next(chosen))))
        return
    make(name, study, (replace(cell, label=args.label, changes=dict(args.set)) for cell in chosen), args.again)


if __name__ == "__main__":
    main()
