"""How much memory one update of a NatureCNN policy adds, by the number of frames.

    python -m benchmarks.update_memory

Each figure is the peak resident memory of a fresh process during ``train()``, less what it held before: the rollout of
84×84×4 frames is already there. Two conjugate-gradient iterations and one pass of the critic, for more repeat the same
at the same peak; sb3-contrib up to 2,048 frames, beyond which this would be a test of the machine.
"""

import argparse
import json
import subprocess
import sys
import warnings
from pathlib import Path

import torch as th

from benchmarks.environment import RESULTS, describe

FRAMES = {"sb3_contrib": (512, 1024, 2048), "sb3_trpo": (512, 1024, 2048, 4096, 16384)}


def status(field: str) -> float:
    """A field of this process's memory status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def measure(algo: str, n_frames: int) -> float:
    """MB added at the peak of an update."""
    from benchmarks.batches import frames_pair, give, silence

    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    source, (contrib, ours) = frames_pair(n_frames)
    model = silence(ours if algo == "sb3_trpo" else contrib)
    model.cg_max_steps, model.n_critic_updates = 2, 1
    give(model, source)
    source.rollout_buffer.reset()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status("VmRSS")
    model.train()
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("ALGO", "FRAMES"), help="measure in this process and print")
    args = parser.parse_args()
    if args.one:
        print(measure(args.one[0], int(args.one[1])))
        return
    rows = []
    for algo, sizes in FRAMES.items():
        for n_frames in sizes:
            command = [sys.executable, "-m", "benchmarks.update_memory", "--one", algo, str(n_frames)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append({"algo": algo, "frames": n_frames, "megabytes": round(float(output.split()[-1]), 1)})
            print(rows[-1], flush=True)
    sizes = FRAMES["sb3_trpo"]
    lines = [
        "| frames in the update | " + " | ".join(f"{n:,}" for n in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for algo in ("sb3_trpo", "sb3_contrib"):
        added = {row["frames"]: row["megabytes"] for row in rows if row["algo"] == algo}
        cells = (f"{added[n]:,.0f} MB" if n in added else "not run" for n in sizes)
        lines.append(f"| memory added, {algo} | " + " | ".join(cells) + " |")
    (RESULTS / "speed").mkdir(parents=True, exist_ok=True)
    result = {**describe(), "rows": rows, "table": "\n".join(lines)}
    (RESULTS / "speed" / "update_memory.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
