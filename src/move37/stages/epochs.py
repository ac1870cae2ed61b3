"""The order in which a stage sees its rows: a function of (seed, name, epoch), so that a resumed run sees the same."""

from __future__ import annotations

import numpy as np

from move37.stages import watch


class Epochs:
    """The endless sequence of epochs over `size` rows, each a permutation of its own."""

    def __init__(self, size: int, seed: int, name: str) -> None:
        self.size, self.seed, self.name = size, seed, name
        self._last = -1, np.zeros(0, np.int64)  # the last epoch asked for, and its order

    def row(self, place: int) -> int:
        """Which row stands at a place of the sequence."""
        epoch, index = divmod(place, self.size)
        if epoch != self._last[0]:
            key = watch.mix(self.seed, self.name, "epoch", epoch)
            self._last = epoch, np.random.Generator(np.random.Philox(key=key)).permutation(self.size)
        return int(self._last[1][index])
