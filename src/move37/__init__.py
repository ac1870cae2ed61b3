"""Move37 turns a base language model into a reasoning model. Start with `move37 --help` or the README.

Importing this package imports neither torch nor NumPy. The records are in `move37.types`, recipes in `move37.recipe`,
runs in `move37.runs`; user rewards need `move37.types` and `move37.rewards.scope`.
"""

from __future__ import annotations

from move37.errors import Move37Error

__version__ = "0.1.0"

__all__ = ["Move37Error", "__version__"]
