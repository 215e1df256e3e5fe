"""Run what there is not yet of the study of the vine.

    python -m benchmarks.vine_study
    python -m benchmarks.vine_study --task Hopper-v5 --variant GAE "shadows, 8 × 1" --seeds 0 1

Equal simulator steps, branches included; five seeds; five deterministic episodes from the task's own starts every tenth of a
run, which is scored by its mean over steps. One CSV and one JSON for each run, which is not made again; options choose some
of the runs. ``python -m benchmarks.report`` draws them.
"""

import argparse
import warnings

import torch as th

from benchmarks.vine_study.runs import SEEDS, make
from benchmarks.vine_study.tasks import TASKS
from benchmarks.vine_study.variants import VARIANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS), nargs="+", default=list(TASKS))
    parser.add_argument("--variant", choices=list(VARIANTS), nargs="+", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    for seed in args.seeds:  # all with one seed before the next, so that a part of the runs is a fair comparison
        for task in args.task:
            for variant in args.variant:
                make(task, variant, seed)


if __name__ == "__main__":
    main()
