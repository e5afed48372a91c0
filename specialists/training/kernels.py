"""Faster steps on a CPU: causal attention in blocks, and adapted linear layers as one operation.

Both give what transformers and PEFT give, up to rounding; a test compares values and gradients. Measured in
docs/log-training.md.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface

ATTENTION = "causal-blocks"
"""Name under which transformers finds the attention of this module."""

QUERY_BLOCK = 256
"""Queries that are multiplied at once. Smaller blocks skip more of the upper half and cost more calls."""


def causal_blocks(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention without padding on the left, in transformers' form.

    PyTorch's own spends most of a short row's backward pass in preparations, whatever the row's length.

    Args:
        query: (rows, heads, tokens, width)
        key, value: (rows, heads or a divisor of it, tokens, width)
        attention_mask: (rows, 1, tokens, tokens), what is added to the scores; left out: what comes later is not seen.

    Returns:
        (rows, tokens, heads, width), and no weights.
    """
    rows, heads, tokens, width = query.shape
    repeat = heads // key.shape[1]
    queries = query.reshape(rows * heads, tokens, width)
    keys = key.repeat_interleave(repeat, 1).flatten(0, 1).transpose(1, 2)
    values = value.repeat_interleave(repeat, 1).flatten(0, 1)
    scale = more.get("scaling") or width**-0.5
    mixed: list[torch.Tensor] = []
    for start in range(0, tokens, QUERY_BLOCK):
        end = min(tokens, start + QUERY_BLOCK)
        if attention_mask is None:
            later = torch.full((end - start, end), float("-inf"), dtype=query.dtype).triu(start + 1)
            blind = later.expand(rows * heads, -1, -1)
        else:
            blind = attention_mask[:, :, start:end, :end].expand(-1, heads, -1, -1).flatten(0, 1)
        scores = torch.baddbmm(blind, queries[:, start:end], keys[..., :end], alpha=scale)
        mixed.append(torch.softmax(scores, -1) @ values[:, :end])
    return torch.cat(mixed, 1).view(rows, heads, tokens, width).transpose(1, 2), None


class _Adapted(torch.autograd.Function):
    """`x Wᵀ + s (x Aᵀ) Bᵀ` without keeping or scaling the wide tensors in between."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = (flat @ a.T).mul_(scale)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale, ctx.shape = scale, x.shape
        return (flat @ weight.T).addmm_(low, b.T).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        flat, weight, a, b, low = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        back = (grad @ b).mul_(ctx.scale)
        wanted = ctx.needs_input_grad[0]
        x = (grad @ weight).addmm_(back, a).view(ctx.shape) if wanted else None
        return x, None, back.T @ flat, grad.T @ low, None


def quicken(model: nn.Module) -> int:
    """Let the plain LoRA layers in `model` compute as one operation; returns how many there are.

    Others (DoRA, biases, dropout) keep PEFT's way.
    """
    layers = [m for m in model.modules() if isinstance(m, Linear) and _plain(m)]
    for layer in layers:
        layer.forward = _forward(layer)  # type: ignore[method-assign]
    return len(layers)


def _plain(layer: Linear) -> bool:
    names = layer.active_adapters
    return (
        len(names) == 1
        and not layer.use_dora.get(names[0])
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and layer.get_base_layer().bias is None
    )


def _forward(layer: Linear) -> Any:
    name = layer.active_adapters[0]

    def forward(x: torch.Tensor) -> torch.Tensor:
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        return _Adapted.apply(x, layer.get_base_layer().weight, a, b, layer.scaling[name])  # type: ignore[return-value]

    return forward


AttentionInterface.register(ATTENTION, causal_blocks)
