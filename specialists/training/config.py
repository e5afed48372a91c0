"""How an adapter is trained, and what came of it."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from ...core.types import Value

Method = Literal["lora", "rslora", "dora", "prompt", "full"]
"""`lora` (arXiv 2106.09685), `rslora` (2312.03732), `dora` (2402.09353), `prompt`: embeddings before the first token
(2104.08691), `full`: all weights of the base."""

RATES: dict[Method, float] = {"lora": 1e-3, "rslora": 1e-3, "dora": 1e-3, "prompt": 3e-2, "full": 1e-4}
"""Learning rates that suit a method."""


class TrainConfig(Value):
    """The recipe. The defaults suit 100 to 2,000 examples and a 135M base on two cores."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    method: Method = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = 16.0
    virtual_tokens: int = Field(default=20, ge=1)
    """Embeddings that `prompt` learns. They come on top of each row's tokens, and of `batch_tokens`."""
    learning_rate: float = Field(default_factory=lambda known: RATES[known["method"]], gt=0)
    """Peak; left out, what suits the method."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the run in which the rate rises from 0; it falls to 0 in the rest."""
    epochs: float = Field(default=2.0, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    """Wall time for the training steps; the decay of the rate is fitted to it. None: only `epochs` count."""
    batch_tokens: int = Field(default=1024, ge=64)
    """Tokens of one step, padding included, as if each row were read by itself."""
    longest: int = Field(default=1024, ge=16)
    """Examples with more tokens than this are left out (and counted)."""
    validation: float = Field(default=0.05, ge=0, lt=0.5)
    """Share of the examples that is kept aside for early stopping; 0 turns it off."""
    checks: int = Field(default=8, ge=1)
    """How often in a run the kept-aside loss is measured."""
    patience: int = Field(default=3, ge=1)
    """Checks without improvement after which training stops."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    precision: Literal["auto", "bf16", "fp32", "nf4"] = "auto"
    """`auto` is bf16 on CUDA and where the CPU multiplies it (AMX, AVX512-BF16), fp32 elsewhere. `nf4` holds the base
    in 4 bits (QLoRA, arXiv 2305.14314): on CUDA, with bitsandbytes."""
    seed: int = 0

    @model_validator(mode="after")
    def _full_needs_whole_weights(self) -> TrainConfig:
        if self.method == "full" and self.precision == "nf4":
            raise ValueError("`full` learns the base's weights, which `nf4` freezes: change one of them")
        return self


class TrainReport(Value):
    """What a training run did."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    examples: int
    too_long: int
    """Examples left out because of `TrainConfig.longest`."""
    steps: int
    epochs: float
    tokens: int
    """Trained tokens, without padding; what rows of a step begin with alike is read once, and counted so."""
    seconds: float
    """Wall time of the training steps."""
    tokens_per_second: float
    losses: list[tuple[int, float]]
    """Step and mean training loss since the entry before."""
    validation: list[tuple[int, float]]
    """Step and loss on the kept-aside examples."""
    best_step: int
    """The step whose weights were kept."""
    stopped: Literal["epochs", "time", "no improvement"]
    """Only a run that ended by `epochs` or `no improvement` gives the same adapter again from the same seed."""
    parameters: int
    """Trained weights."""
    peak_memory: int
    """Highest memory of this process so far, in bytes."""
    precision: str
    resumed: bool = False
