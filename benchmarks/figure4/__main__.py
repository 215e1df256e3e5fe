"""Run what there is not yet of the paper's Figure 4.

    python -m benchmarks.figure4
    python -m benchmarks.figure4 --task Hopper --method vine "single path" --seeds 0

One CSV and one JSON for each run, which is not made again; options choose some of the runs. Of the step sizes that are swept,
seed 0 decides which one the others take. ``python -m benchmarks.report`` draws them.
"""

import argparse
import warnings

import torch as th

from benchmarks.figure4.methods import METHODS
from benchmarks.figure4.runs import SEEDS, methods_of, write_run
from benchmarks.figure4.tasks import TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS), nargs="+", default=list(TASKS))
    parser.add_argument("--method", choices=list(METHODS), nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, choices=SEEDS, nargs="+", default=SEEDS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    for seed in args.seeds:  # all with one seed before the next, so that a part of the runs is a fair comparison
        for task in args.task:
            for method in methods_of(task, seed):
                if method in args.method:
                    write_run(task, method, seed)


if __name__ == "__main__":
    main()
