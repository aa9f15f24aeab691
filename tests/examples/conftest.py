"""The examples are scripts beside each other, not a package: put their folder on the path as Python does."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "examples"), str(HERE)]
