"""The training kernels against what they stand for: PyTorch's attention and PEFT's layers, values and gradients."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from metier.specialists.training.kernels import ATTENTION, QUERY_BLOCK, causal_blocks, quicken


@pytest.mark.parametrize("tokens", [1, 7, QUERY_BLOCK, 2 * QUERY_BLOCK + 3])
def test_attention_in_blocks_is_causal_attention(tokens: int) -> None:
    torch.manual_seed(0)
    shapes = {"query": (2, 6, tokens, 8), "key": (2, 2, tokens, 8), "value": (2, 2, tokens, 8)}
    ours = {name: torch.randn(shape, dtype=torch.float64, requires_grad=True) for name, shape in shapes.items()}
    theirs = {name: tensor.detach().clone().requires_grad_() for name, tensor in ours.items()}
    mixed = causal_blocks(nn.Identity(), **ours)[0].transpose(1, 2)
    query, key, value = theirs.values()
    expected = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(mixed, expected)
    weights = torch.randn_like(mixed)
    (mixed * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.grad, theirs[name].grad)


@pytest.mark.parametrize(("adapter", "quick"), [({"use_rslora": True}, 14), ({"use_dora": True}, 0)])
def test_quick_layers_give_what_peft_gives(adapter: dict[str, Any], quick: int) -> None:
    """DoRA's layers keep PEFT's way; a model of both must still be the same model."""
    model = _adapted(**adapter)
    ids = torch.randint(0, 50, (2, 11))
    before = _gradients(model, ids)
    model.base_model.model.set_attn_implementation(ATTENTION)  # type: ignore[operator]
    assert quicken(model) == quick
    after = _gradients(model, ids)
    assert before.keys() == after.keys()
    for name, gradient in before.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(after[name], gradient, rtol=1e-4, atol=1e-6)


def _adapted(**adapter: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    lora = LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM", **adapter)
    with warnings.catch_warnings():
        # PEFT asks transformers for an attribute that has a new name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        model = get_peft_model(LlamaForCausalLM(config), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


def _gradients(model: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
