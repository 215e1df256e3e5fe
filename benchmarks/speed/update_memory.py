"""How much memory one update of a NatureCNN policy adds, by the number of frames.

Each figure is the peak resident memory of a fresh process during ``train()``, less what it held before: the rollout of
84×84×4 frames is already there. Two conjugate-gradient iterations and one pass of the critic, for more repeat the same
at the same peak; sb3-contrib up to 2,048 frames, beyond which this would be a test of the machine.
"""

from pathlib import Path

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.environment import memory
from benchmarks.speed.batches import frames_pair, give, silence

STORE = Rows("speed/update_memory")
FRAMES = {"512": 512, "1,024": 1024, "2,048": 2048, "4,096": 4096, "16,384": 16384}
LARGEST = {"sb3_trpo": 16384, "sb3_contrib": 2048}


def measure(cell: Cell) -> dict[str, float]:
    """MB added at the peak of an update."""
    source, (contrib, ours) = frames_pair(FRAMES[cell.task])
    model = silence(ours if cell.variant == "sb3_trpo" else contrib)
    model.cg_max_steps, model.n_critic_updates = 2, 1
    give(model, source)
    source.rollout_buffer.reset()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory("VmRSS")
    model.train()
    return {"megabytes": round(memory("VmHWM") - before, 1)}


def table() -> str:
    added = {(row["task"], row["variant"]): row["megabytes"] for row in STORE.rows()}
    rows = []
    for algo in LARGEST:
        cells = (f"{added[n, algo]:,.0f} MB" if (n, algo) in added else "not run" for n in FRAMES)
        rows.append([f"memory added, {algo}", *cells])
    return markdown.table(["frames in the update", *FRAMES], rows)


STUDY = Study(
    run=measure,
    store=STORE,
    tasks=FRAMES,
    variants=LARGEST,
    included=lambda cell: FRAMES[cell.task] <= LARGEST[cell.variant],
    fresh_process=True,
    tables={"update_memory": table},
)
