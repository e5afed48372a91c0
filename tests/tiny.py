"""A base that is made in no time, for what only needs some model: mechanics of training and of engines."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from metier.core.files import sha256
from metier.specialists.engines.unpack import UNPACKING

END = "<end>"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} "
    + END
    + " {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


def tiny_base(folder: Path, words: list[str], width: int = 32, *, spaced: bool = True) -> tuple[Path, Path]:
    """A random llama of two layers that knows `words`: what stands for its GGUF, and the cache with it unpacked.

    Args:
        spaced: Answers are words with blanks between them. Grammars need a base without: LLGuidance asks which bytes
            each token stands for.
    """
    gguf, cache = folder / "tiny.gguf", folder / "cache"
    gguf.write_bytes(b"stands for a base")
    unpacked = cache / f"{sha256(gguf)[:24]}-{UNPACKING}"
    special = ["<unk>", END, "<system>", "<user>", "<assistant>"]
    known = {word: number for number, word in enumerate(dict.fromkeys([*special, *words]))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if not spaced:
        tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=TEMPLATE, unk_token="<unk>", eos_token=END, pad_token=END
    ).save_pretrained(unpacked)
    torch.manual_seed(1)
    shape = LlamaConfig(
        vocab_size=len(known),
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=known[END],
        bos_token_id=None,
        pad_token_id=known[END],
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(shape).save_pretrained(unpacked)
    return gguf, cache
