"""Functions run on several ranks at once: processes forked from one that has imported everything already."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch as th

from sb3_trpo import TRPO

TIMEOUT = 60.0  # seconds until a test gives up

CONTEXT = multiprocessing.get_context("forkserver")
# What the ranks run, and what PyTorch imports when an optimizer first steps
CONTEXT.set_forkserver_preload(
    [*(f"tests.promises.test_ranks_{part}" for part in ("step", "learning", "faults", "variants")), "torch._dynamo"]
)

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 48, "device": "cpu", "seed": 0, "cg_max_steps": 8}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _run(rank: int, size: int, port: int, pipe: Connection, function: Callable[..., Any], arguments: tuple) -> None:
    """One rank, in the environment that torchrun would give it."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    try:
        result = function(*arguments)
    except BaseException:
        result = traceback.format_exc()
    pipe.send_bytes(pickle.dumps(result))  # whole: tensors would otherwise be passed by reference to a process that ends


def _answer(pipe: Connection) -> Any:
    try:
        return pickle.loads(pipe.recv_bytes()) if pipe.poll(TIMEOUT) else "no answer"
    except EOFError:
        return "ended"


def on_ranks(function: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """What the function returns on every rank, in order; where it raises the text of the traceback, where it ends "ended".

    :param function: of a module's top level
    :param arguments: for it
    :param size: ranks
    """
    port = free_port()
    pipes, processes = [], []
    for rank in range(size):
        here, there = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_run, args=(rank, size, port, there, function, arguments))
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        results = [_answer(pipe) for pipe in pipes]
        for process in processes:
            process.join(TIMEOUT)
    finally:
        for process in processes:
            process.kill()
    return results


def learned(model: TRPO) -> dict[str, th.Tensor]:
    """Everything that learning leaves in networks and optimizer, by name."""
    state = {name: value.clone() for name, value in model.policy.state_dict().items()}
    for index, moments in model.policy.optimizer.state_dict()["state"].items():
        state |= {f"{index}.{name}": value.clone() for name, value in moments.items()}
    return state


def identical(one: dict[str, th.Tensor], other: dict[str, th.Tensor]) -> bool:
    return one.keys() == other.keys() and all(th.equal(one[name], other[name]) for name in one)
