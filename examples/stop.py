"""`make stop`: ends the server that the quickstart left running."""

from __future__ import annotations

from quickstart_server import DATA, stop

if __name__ == "__main__":
    print(stop(DATA))
