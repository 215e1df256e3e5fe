"""Worker processes: each keeps an object, made there, and calls its methods when asked.

They are plain Python processes that read requests from their standard input and write replies to their standard output, so
they need no ``if __name__ == "__main__"`` around the user's script, work from notebooks, and end when this process does,
however it ends. ``owner`` starts, asks and ends them, ``worker`` is what they do, ``messages`` goes between the two, and
``surroundings`` is what a process has to itself. ``interpreter`` is how its Python is started.
"""

from sb3_trpo.processes.owner import Workers, parts

__all__ = ["Workers", "parts"]
