"""What decodes a model here: compiled kernels on a CPU, captured graphs on a GPU, or the model itself."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from move37.errors import RecipeError
from move37.models import native
from move37.models.decoder import Decoder
from move37.models.graphs import GraphDecoder, obstacle

QUICK = (native.NativeDecoder, GraphDecoder)  # they draw tokens too
Engine = nn.Module | native.NativeDecoder | GraphDecoder


def engine(model: nn.Module, autocast: torch.dtype, kernels: str, cache: str = "auto") -> Engine:
    """The quickest that fits and that `kernels` allows: torch asks for the model itself.

    A GPU that gets no graphs is told of in a warning. Raises RecipeError where `kernels` is native and nothing fits, or
    `cache` is float16 and it is not the compiled kernels that decode.
    """
    if model.head.device.type != "cuda":
        return native.engine(model, autocast, kernels, cache)
    if cache != "auto":
        raise RecipeError(f"hardware.cache={cache} is for the CPU kernels; on a GPU keys and values have hardware.dtype")
    if kernels == "torch":
        return model
    why = obstacle(model, autocast)
    if why is None:
        from move37.models import rows  # needs Triton

        assert isinstance(model, Decoder)
        return GraphDecoder(model, autocast, rows)
    if kernels == "native":
        raise RecipeError(f"hardware.kernels=native can not be had: {why}. hardware.kernels=auto takes PyTorch then")
    warnings.warn(f"decoding without CUDA graphs, many times slower: {why}", stacklevel=2)
    return model
