"""`hardware`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from move37.sections.base import Section


class Hardware(Section):
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0 is every core this process may use")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: float32 on a CPU, bfloat16 on a GPU"
    )
    kernels: Literal["auto", "native", "torch"] = Field(
        "auto",
        description="our kernels where they fit (compiled on a CPU, CUDA graphs on a GPU), demanded (native), or PyTorch alone",
    )
    cache: Literal["auto", "float16"] = Field(
        "auto",
        description="what sampling keeps keys and values in; auto: the dtype. float16: half the memory of float32 and more "
        "tokens per second, for the compiled CPU kernels; log-probs of sampler and learner then differ by about 1e-4",
    )
