"""The output layer, computed in one way by sampler and learner."""

from __future__ import annotations

import torch
from torch import Tensor


def logits(hidden: Tensor, head: Tensor) -> Tensor:
    """[n, D] states, [V, D] output matrix -> [n, V] float32, whatever the dtype of the model: log-probs need it.

    On a GPU states in half precision are multiplied as they are and summed in float32; elsewhere they are widened first.
    """
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        if hidden.is_cuda and hidden.dtype is not torch.float32:
            return torch.mm(hidden, head.to(hidden.dtype).T, out_dtype=torch.float32)
        return hidden.float() @ head.float().T


def numbers(hidden: Tensor, head: Tensor) -> Tensor:
    """[n, D] states, [1, D] of a scalar model -> [n] float32."""
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        return hidden.float() @ head.float()[0]
