"""A base on OpenVINO: its GGUF as OpenVINO's own format, LoRA as inputs of the graph, and what was read so far.

OpenVINO GenAI reads the GGUF once and makes the tokenizer; the loop that writes is ours (`openvino.py`), because
GenAI's pipelines neither tell the model's own log-probabilities under a constraint nor keep what one adapter has read
from another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Format
from gguf import GGUFReader, TokenType
from numpy.typing import NDArray

from ...core.errors import EngineError
from ...core.files import replace_folder
from ...core.models.gguf import rewrite, weights
from ...core.openvino_library import openvino, openvino_genai
from ...core.openvino_library import opset as ops
from ..adapters.merge import lora_pairs
from .speed import openvino_folder

_ATTENDED, _AFTER = ("attn_q", "attn_k", "attn_v"), ("attn_output", "ffn_gate", "ffn_up", "ffn_down")
"""A layer's matrix products by GGUF's names: what its attention takes, in order, and what follows it, in order."""

_FACTS, _LAYERS, _HEAD, _ROWS, _SCALES = "facts.json", "layers.xml", "head.xml", "embeddings.npy", "scales.npy"
"""A converted base: facts, its layers, the product that scores the next token, the tokens' embeddings and scales."""

_DRAWN = "openvino_model.xml"
"""What GenAI calls the graph that it makes of a GGUF."""

_TABLE, _SCORING = "token_embd.weight", "output.weight"
"""GGUF's names for the embeddings, and for the head where that is a matrix of its own."""

_EMBEDDED = "embedded"
"""The input of the layers: tokens as their embeddings. As a part of the graph the table would be unpacked in memory."""

Loras = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""GGUF tensor to A (rank x in) and B (out x rank), the scale in B."""


def converted(gguf: Path, cache: Path | None = None) -> Path:
    """A folder with the base as OpenVINO loads it, its tokenizer, and `facts.json`; made once (seconds to a minute).

    Its matrices are written in 8 bits with one scale a row, for which OpenVINO has its fastest products: against blocks
    of 32, as GGUF has them, the 0.5B loses 0.001 nats a token, reads 1.3 times and writes 1.2 times as fast.

    Args:
        cache: Where such folders are kept; None means a folder in `settings().home`.

    Raises:
        EngineError: OpenVINO cannot read this GGUF.
    """
    if not gguf.is_file():
        raise EngineError(f"no such model file: {gguf}")
    target = openvino_folder(gguf, cache)
    if target.is_dir():
        return target
    try:
        with replace_folder(target) as fresh:
            _convert(gguf, fresh)
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise EngineError(
            f"OpenVINO cannot load {gguf}: {error}",
            hint="`engine: llama` runs every GGUF; this one needs llama or qwen",
        ) from error
    return target


def _convert(gguf: Path, folder: Path) -> None:
    reader = GGUFReader(gguf)
    facts = _facts(reader)
    _draw(reader, folder)
    matrices = {t.name: t for t in reader.tensors}

    def rows(name: str) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        return _eight_bits(_in_order(name, weights(matrices[name]), facts["interleaved"]))

    layers, head = _split(openvino.Core().read_model(folder / _DRAWN))
    table = rows(_TABLE)
    _set_weights(_products(head)[0], *(rows(_SCORING) if _SCORING in matrices else table))
    found = next(node for node in layers.get_ordered_ops() if node.get_type_name() == "Gather" and _is_table(node))
    states = _input(_EMBEDDED, [-1, -1, table[0].shape[1]])
    for user in found.output(0).get_target_inputs():
        user.replace_source_output(states.output(0))
    layers.add_parameters([states])
    for name, product in _named(layers).items():
        _set_weights(product, *rows(name))
        product.set_friendly_name(name)
    layers.validate_nodes_and_infer_types()
    openvino.save_model(layers, folder / _LAYERS, compress_to_fp16=False)
    openvino.save_model(head, folder / _HEAD, compress_to_fp16=False)
    np.save(folder / _ROWS, table[0])
    np.save(folder / _SCALES, table[1])
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
    for path in (folder / _DRAWN, (folder / _DRAWN).with_suffix(".bin")):
        path.unlink()


def _draw(reader: GGUFReader, folder: Path) -> None:
    """The graph and the tokenizer, as GenAI makes them of a GGUF: of a small copy, whose matrices are all zero."""
    source = folder / "drawn.gguf"
    formats = {t.name: Format.Q4_0 for t in reader.tensors if len(t.shape) > 1}
    rewrite(reader, source, formats, {}, written=lambda _, shape: np.zeros(shape, np.uint8))
    openvino_genai.LLMPipeline(source, "CPU", enable_save_ov_model=True)
    source.unlink()


def _eight_bits(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """(rows, columns) as whole numbers of -127 to 127, and the scale of each row (rows, 1)."""
    scales = (np.abs(matrix).max(axis=1, keepdims=True) / 127).astype(np.float16)
    scales[scales == 0] = 1
    return np.rint(matrix / scales.astype(np.float32)).clip(-127, 127).astype(np.int8), scales


def _set_weights(product: Any, rows: NDArray[np.int8], scales: NDArray[np.float16]) -> None:
    weights = ops.multiply(ops.convert(ops.constant(rows), "f16"), ops.constant(scales))
    product.input(1).replace_source_output(ops.convert(weights, "f32").output(0))


def _facts(reader: GGUFReader) -> dict[str, Any]:
    def value(key: str) -> Any:
        return reader.fields[key].contents()

    architecture = value("general.architecture")
    control = enumerate(value("tokenizer.ggml.token_type"))
    return {
        "context": value(f"{architecture}.context_length"),
        "shapes": {t.name: [int(n) for n in t.shape] for t in reader.tensors},
        "special": [number for number, kind in control if kind == TokenType.CONTROL],
        # In a GGUF of Llama the rows of a head are interleaved; OpenVINO puts them back in order.
        "interleaved": {
            "attn_q": value(f"{architecture}.attention.head_count"),
            "attn_k": value(f"{architecture}.attention.head_count_kv"),
        }
        if architecture == "llama"
        else {},
    }


class OpenVinoModel:
    """One base and its LoRA adapters, compiled for the CPU. Thread-safe; other Python threads run while it works.

    Args:
        loras: Name to LoRA in GGUF form.
        cache: As for `converted`.

    Raises:
        EngineError: a file is missing, or OpenVINO cannot load the base.
        ConfigError: an adapter is no plain LoRA, or one for another base.
    """

    def __init__(self, gguf: Path, loras: Mapping[str, Path], *, threads: int, cache: Path | None = None) -> None:
        for path in loras.values():
            if not path.is_file():
                raise EngineError(f"no such model file: {path}")
        folder = converted(gguf, cache)
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        self.context: int = facts["context"]
        self._read_tokens(folder, facts["special"])
        shapes = {name: tuple(shape) for name, shape in facts["shapes"].items()}
        pairs = {name: _plain(lora_pairs(path, shapes), facts["interleaved"]) for name, path in loras.items()}
        core = openvino.Core()
        body, head = core.read_model(folder / _LAYERS), core.read_model(folder / _HEAD)
        self._rows, self._scales = np.load(folder / _ROWS, mmap_mode="r"), np.load(folder / _SCALES)
        self._inputs = _add_loras(body, pairs.values())
        self._loras = {name: self._bound(lora) for name, lora in ((None, {}), *pairs.items())}
        plan = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
            # Shares of work that a thread takes as it comes to them: beside other processes one thread is often late,
            # and of fixed shares the other would wait for it at each of some hundred products a token.
            "TBB_PARTITIONER": "AUTO",
            # Of what is multiplied, 128 values share a scale: a whole row is no faster and costs 0.02 nats a token.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128,
        }
        self.body = core.compile_model(body, "CPU", plan)
        # What the model writes and how sure it is are read off these scores: in bf16 many would be equal.
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        self.head = core.compile_model(head, "CPU", plan | exact)

    def _read_tokens(self, folder: Path, special: Sequence[int]) -> None:
        self.tokenizer = openvino_genai.Tokenizer(folder)
        self.end: int = self.tokenizer.get_eos_token_id()
        vocabulary = self.tokenizer.get_vocab()
        self.tokens: list[bytes] = [b""] * (max(vocabulary.values()) + 1)
        """Each token's bytes, control tokens by their names."""
        for text, number in vocabulary.items():
            self.tokens[number] = text
        self.special = frozenset(special)

    def _bound(self, lora: Loras) -> list[tuple[str, Any]]:
        """Every LoRA input of the graph with its tensor; of rank 0 where this adapter leaves a matrix alone."""
        bound: list[tuple[str, Any]] = []
        for tensor, (rows, columns) in self._inputs.items():
            a, b = lora.get(tensor, (np.zeros((0, columns), np.float32), np.zeros((rows, 0), np.float32)))
            bound += [(f"{tensor}.a", openvino.Tensor(a)), (f"{tensor}.b", openvino.Tensor(b))]
        return bound

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self.tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()

    def embedded(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Tokens as the layers take them: (1, tokens, width)."""
        return (self._rows[ids] * self._scales[ids].astype(np.float32))[None]

    def lora(self, adapter: str | None) -> list[tuple[str, Any]]:
        """The graph's inputs for an adapter."""
        return self._loras[adapter]


class Reading:
    """What one request has read: the KV cache of one adapter. Used by one thread at a time.

    Tokens that are no longer wanted stay in the cache, masked: to cut them off, OpenVINO would have to copy all of it.
    """

    def __init__(self, model: OpenVinoModel) -> None:
        self._model = model
        self._body, self._head = model.body.create_infer_request(), model.head.create_infer_request()
        self.adapter: str | None = None
        self.tokens: list[int] = []
        """What the next token follows."""
        self._bind(None)

    def common(self, adapter: str | None, ids: Sequence[int]) -> int:
        """How many tokens of `ids`, but for the last, need not be read; 0 where less than half of the cache would stay.

        What another adapter has read is of no use, even for the same tokens.
        """
        if adapter != self.adapter:
            return 0
        most = min(len(self.tokens), len(ids) - 1)
        same = next((n for n in range(most) if self.tokens[n] != ids[n]), most)
        return same if 2 * same >= len(self._mask) else 0

    def start(self, adapter: str | None, ids: Sequence[int], *, fresh: bool = False) -> int:
        """Go on with what `common` says, forget the rest; how many tokens that is."""
        kept = 0 if fresh else self.common(adapter, ids)
        if kept:
            self._mask[np.flatnonzero(self._mask)[kept:]] = 0
            del self.tokens[kept:]
        elif adapter != self.adapter:
            self._bind(adapter)
        else:
            self._forget()
        return kept

    def read(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Scores (vocabulary) of the token that follows all that was read and `ids`."""
        mask = np.concatenate((self._mask, np.ones(len(ids), np.int64)))
        at = len(self.tokens)
        inputs = {
            "input_ids": np.array([ids], np.int64),  # Only their number counts.
            _EMBEDDED: self._model.embedded(ids),
            "attention_mask": mask[None],
            "position_ids": np.arange(at, at + len(ids))[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        try:
            self._body.infer(inputs)
            self._head.infer([self._body.get_output_tensor(0).data[0, -1:]])
        except BaseException:
            self._forget()
            raise
        self._mask = mask
        self.tokens += ids
        return self._head.get_output_tensor(0).data[0].copy()

    def _bind(self, adapter: str | None) -> None:
        self._forget()
        for name, tensor in self._model.lora(adapter):
            self._body.set_tensor(name, tensor)
        self.adapter = adapter

    def _forget(self) -> None:
        self._body.reset_state()
        self.tokens = []
        self._mask: NDArray[np.int64] = np.zeros(0, np.int64)


def _products(graph: Any) -> list[Any]:
    """The products with a matrix of weights, each after what it needs."""
    return [node for node in graph.get_ordered_ops() if _is_product(node)]


def _is_product(node: Any) -> bool:
    return node.get_type_name() == "MatMul" and node.input(1).get_partial_shape().is_static


def _is_table(gather: Any) -> bool:
    """Whether it takes a token's row: the others of a graph take one number of a shape, or a position's angles."""
    return gather.input(0).get_partial_shape().is_static and len(gather.input(0).get_shape()) == 2


def _split(graph: Any) -> tuple[Any, Any]:
    """The layers, which give the last one's (1, tokens, width), and the product that turns (1, width) into scores."""
    product = _products(graph)[-1]
    states, weights = product.input_value(0), product.input_value(1)
    asked = ops.parameter([-1, weights.get_shape()[1]], openvino.Type.f32)
    head = openvino.Model([ops.matmul(asked, weights, False, True)], [asked])  # type: ignore[misc]
    graph.outputs[0].get_node().input(0).replace_source_output(states)
    return graph, head


def _named(body: Any) -> dict[str, Any]:
    """GGUF tensor to the product with it. Their order in the graph says little: in a last layer, V may come first.

    Raises:
        EngineError: the graph has not the seven products of each layer that are known here.
    """
    attentions = [node for node in body.get_ordered_ops() if node.get_type_name() == "ScaledDotProductAttention"]
    named = {
        f"blk.{layer}.{kind}.weight": _source(attention.input_value(place).get_node())
        for layer, attention in enumerate(attentions)
        for place, kind in enumerate(_ATTENDED)
    }
    known = {node.get_friendly_name() for node in named.values()}
    after = [node for node in _products(body) if node.get_friendly_name() not in known]
    if len(known) != len(named) or len(after) != len(_AFTER) * len(attentions):
        raise EngineError(f"{len(after)} matrix products after {len(attentions)} attentions: not a plain decoder")
    for layer in range(len(attentions)):
        output, gate, up, down = after[len(_AFTER) * layer :][: len(_AFTER)]
        if not any(user.get_node().get_type_name() == "Swish" for user in gate.output(0).get_target_inputs()):
            gate, up = up, gate
        named |= {f"blk.{layer}.{k}.weight": node for k, node in zip(_AFTER, (output, gate, up, down), strict=True)}
    return named


def _source(node: Any) -> Any:
    """The nearest product that a node's values come from."""
    near, seen = [node], set[str]()
    for one in near:
        if _is_product(one):
            return one
        if one.get_friendly_name() not in seen and one.get_type_name() != "ShapeOf":
            seen.add(one.get_friendly_name())
            near += [value.get_node() for value in one.input_values()]
    raise EngineError(f"'{node.get_friendly_name()}' comes from no matrix product")


def _add_loras(body: Any, loras: Iterable[Loras]) -> dict[str, tuple[int, int]]:
    """Give each matrix that an adapter changes two inputs, A and B; those matrices and their (out, in)."""
    wanted = {tensor for lora in loras for tensor in lora}
    named = {node.get_friendly_name(): node for node in _products(body)}
    if missing := sorted(wanted - named.keys()):
        raise EngineError(f"OpenVINO puts no LoRA on {', '.join(missing)}", hint="use `engine: llama` in team.yaml")
    inputs: dict[str, tuple[int, int]] = {}
    added: list[Any] = []
    for tensor in sorted(wanted):
        product = named[tensor]
        rows, columns = product.input(1).get_shape()
        users = list(product.output(0).get_target_inputs())
        a, b = _input(f"{tensor}.a", [-1, columns]), _input(f"{tensor}.b", [rows, -1])
        changed = ops.add(product, ops.matmul(ops.matmul(product.input_value(0), a, False, True), b, False, True))
        for user in users:
            user.replace_source_output(changed.output(0))
        added += [a, b]
        inputs[tensor] = (rows, columns)
    body.add_parameters(added)
    body.validate_nodes_and_infer_types()
    return inputs


def _input(name: str, shape: list[int]) -> Any:
    node = ops.parameter(shape, openvino.Type.f32)
    node.output(0).set_names({name})
    return node


def _plain(lora: Loras, interleaved: Mapping[str, int]) -> Loras:
    """A LoRA as OpenVINO takes it: in float32, the rows of B in its order."""
    return {
        tensor: (
            np.ascontiguousarray(a, dtype=np.float32),
            np.ascontiguousarray(_in_order(tensor, b, interleaved), dtype=np.float32),
        )
        for tensor, (a, b) in lora.items()
    }


def _in_order(tensor: str, matrix: NDArray[Any], interleaved: Mapping[str, int]) -> NDArray[Any]:
    """Rows as OpenVINO has them: the halves of each head's rotary dimensions one after the other."""
    heads = interleaved.get(tensor.split(".")[-2])
    if heads is None:
        return matrix
    count, columns = matrix.shape
    return matrix.reshape(heads, count // heads // 2, 2, columns).swapaxes(1, 2).reshape(count, columns)
