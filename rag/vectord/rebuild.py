"""The rebuild child: builds the indexes of one shard folder, then exits. Run as a file, imports nothing
of this package, so that it starts at once and shares no state with the server.

Prints `optimized` or `nothing to do`. Exit status 0 means that the folder is whole.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks Linux to kill this process when the server dies; elsewhere it ends by itself, into a folder
    that nothing refers to."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(path: str) -> None:
    die_with_parent()
    os.nice(10)
    import qdrant_edge as edge

    shard = edge.EdgeShard.load(path)
    optimized = shard.optimize()
    shard.flush()
    shard.close()
    sys.stdout.write("optimized" if optimized else "nothing to do")


if __name__ == "__main__":
    main(sys.argv[1])
