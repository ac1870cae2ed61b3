"""The output layer, computed in one way by sampler and learner."""

from __future__ import annotations

import torch
from torch import Tensor


def logits(hidden: Tensor, head: Tensor) -> Tensor:
    """[n, D] states, [V, D] output matrix -> [n, V] float32, whatever the dtype of the model: log-probs need it."""
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        return hidden.float() @ head.float().T
