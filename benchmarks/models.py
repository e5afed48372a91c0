"""The shipped models: how fast the base is in each format and with an adapter, what a format costs; the embedder.

    python benchmarks/models.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR]

Systems: `published` (Q4_1, as downloaded), `metier` (Q8_0, what `models pull` makes of it), `q4_0` (the other recipe).
`speed`: tokens a second of llama.cpp with METIER_THREADS threads, the formats in turn, so that other work on the
machine hits all alike; with METIER_THREADS=1 the figures per second of processor time hold on a busy machine, too
(several threads spin while they wait for each other). `merged`: the same for the base alone (`base`), with the skill
`quote` as an adapter, and with it merged in, and each round's share of the base's speed. Each SET: natural log-
likelihood lost per token against `published`, on the set's longer texts (needs `metier[train]`). `embedder`: seconds
for one short text, and texts of about 64 tokens a second.
"""

from __future__ import annotations

import random
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xllamacpp
from harness import Report, parser, progress, quantile, sample, say, wanted
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from metier.core.files import read_jsonl
from metier.core.models import ModelStore
from metier.core.models.gguf import requantise
from metier.core.onnx_embedder import OnnxEmbedder
from metier.core.settings import settings
from metier.specialists.adapters.choose import find_skill
from metier.specialists.adapters.convert import gguf_adapter
from metier.specialists.adapters.merge import merged_gguf

SETS = ("health_medquad", "multihop_hotpot", "law_cuad_clause", "grounded_mtragun")
PROMPT, ANSWER, ROUNDS = 512, 64, 5
"""Tokens read, tokens written, repetitions."""
WINDOW = 256
"""Tokens of a text that are scored."""
WORDS = (
    "pump bearing seal grease filler operator hour lithium check weekly replace gasket start shift line valve".split()
)


def main() -> None:
    args = parser("The shipped models: speed and cost of the base's formats, speed of the embedder.").parse_args()
    report = Report(args)
    torch.set_num_threads(settings().threads)
    store = ModelStore()
    with tempfile.TemporaryDirectory() as folder:
        base = store.find("smollm2-135m").files
        formats = {"published": base["original"], "metier": base["gguf"], "q4_0": Path(folder) / "q4_0.gguf"}
        requantise(base["original"], formats["q4_0"], "q4_0")
        for system, file in formats.items():
            report.add_value("speed", system, "bytes", file.stat().st_size)
        if not args.only or "speed" in args.only:
            measure_speed(report, "speed", {system: serve(file) for system, file in formats.items()})
        measure_loss(args, report, formats)
    if not args.only or "merged" in args.only:
        measure_merged(report, base["gguf"])
    if not args.only or "embedder" in args.only:
        measure_embedder(report, OnnxEmbedder.load(store.find("minilm"), remembered=0), args.seed)
    report.finish()


def measure_merged(report: Report, base: Path) -> None:
    """What an adapter costs beside the base, and merged into it."""
    skill = find_skill("quote")
    servers = {
        "base": serve(base),
        "adapter": serve(base, gguf_adapter(skill, base)),
        "merged": serve(merged_gguf(skill, base)),
    }
    found = measure_speed(report, "merged", servers)
    for (system, metric), values in found.items():
        if system != "base":
            report.add("merged", system, f"{metric}_of_base", np.divide(values, found["base", metric]), quantile(0.5))


def measure_speed(report: Report, name: str, servers: dict[str, Any]) -> dict[tuple[str, str], list[float]]:
    """Tokens read and written, by the engine's own clock and by the processor time of this process: each round's."""
    found: dict[tuple[str, str], list[float]] = {}
    for number in progress(range(ROUNDS), name):
        prompt = " ".join(random.Random(number).choices(WORDS, k=PROMPT))
        for system, server in servers.items():
            for work, text, count in (("prefill", prompt, 1), ("decode", "Grease", ANSWER)):
                asked = {
                    "prompt": text,
                    "n_predict": count,
                    "temperature": 0,
                    "ignore_eos": True,
                    "cache_prompt": False,
                }
                start = time.process_time()
                timings = server.handle_completions(asked)["timings"]
                cpu = time.process_time() - start
                kind, tokens = ("prompt", timings["prompt_n"]) if work == "prefill" else ("predicted", count)
                found.setdefault((system, f"{work}_tokens_per_s"), []).append(timings[f"{kind}_per_second"])
                found.setdefault((system, f"{work}_tokens_per_cpu_s"), []).append(tokens / cpu)
    for (system, metric), values in found.items():
        report.add(name, system, metric, values, quantile(0.5))
    return found


def serve(file: Path, *adapters: Path) -> Any:
    params = xllamacpp.CommonParams()  # pyright: ignore[reportAttributeAccessIssue]
    params.model.path = str(file)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 1.0) for path in adapters]  # pyright: ignore[reportAttributeAccessIssue]
    params.n_ctx, params.n_parallel, params.cache_ram_mib = 2048, 1, 0
    params.cpuparams.n_threads = settings().threads
    params.cpuparams_batch.n_threads = settings().threads
    return xllamacpp.Server(params)  # pyright: ignore[reportAttributeAccessIssue]


def measure_loss(args: Namespace, report: Report, formats: dict[str, Path]) -> None:
    """Log-likelihood per token that a format loses; the weights are unpacked and run in float32."""
    texts = {name: texts_of(args, name) for name in wanted(args, SETS)}
    sets = [name for name in texts if texts[name]]
    losses: dict[str, dict[str, NDArray[np.float64]]] = {}
    for system, file in formats.items():
        say(f"likelihood: {system}")
        losses[system] = {name: losses_of(file, texts[name]) for name in sets}
    for name in sets:
        for system in formats:
            report.add(name, system, "nats_per_token", losses[system][name])
            if system != "published":
                report.add(name, system, "nats_lost_per_token", losses[system][name] - losses["published"][name])


def texts_of(args: Namespace, name: str) -> list[str]:
    """Long texts of a set, `--limit` of them (8 unless told)."""
    rows = sample(read_jsonl(args.data / f"{name}.jsonl"), 200, args.seed)
    found = [text for row in rows for text in strings(row) if len(text) > 800]
    return random.Random(args.seed).sample(found, min(len(found), args.limit or 8))


def strings(value: Any) -> Iterator[str]:
    """Every text anywhere in a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def losses_of(file: Path, texts: list[str]) -> NDArray[np.float64]:
    """Negative log-likelihood of every token but the first, over the first WINDOW tokens of each text."""
    where = {"gguf_file": file.name, "pretrained_model_name_or_path": str(file.parent)}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    unpacked = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**where, quantization_config=unpacked, dtype=torch.float32)
    found: list[NDArray[np.float64]] = []
    with torch.inference_mode():
        for text in progress(texts, file.name):
            ids = torch.tensor([tokenizer(text).input_ids[:WINDOW]])  # (1, tokens)
            loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
            found.append(loss.double().numpy())
    return np.concatenate(found)


def measure_embedder(report: Report, embedder: OnnxEmbedder, seed: int) -> None:
    """Seconds for a question nobody asked before, and texts a second in bulk."""
    draw = random.Random(seed)
    questions = [f"How often must the {' '.join(draw.choices(WORDS, k=3))} be greased?" for _ in range(200)]
    alone = np.array([timed(embedder, [question]) for question in questions][20:])  # (questions, 2)
    report.add("embedder", "metier", "p50_s", alone[:, 0], quantile(0.5))
    report.add("embedder", "metier", "p95_s", alone[:, 0], quantile(0.95))
    report.add("embedder", "metier", "p50_cpu_s", alone[:, 1], quantile(0.5))
    passages = [[" ".join(draw.choices(WORDS, k=60)) for _ in range(64)] for _ in range(5)]
    bulk = 64 / np.array([timed(embedder, texts) for texts in passages])  # (rounds, 2)
    report.add("embedder", "metier", "texts_per_s", bulk[:, 0], quantile(0.5))
    report.add("embedder", "metier", "texts_per_cpu_s", bulk[:, 1], quantile(0.5))


def timed(embedder: OnnxEmbedder, texts: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time."""
    clock, cpu = time.perf_counter(), time.process_time()
    embedder.embed(texts)
    return time.perf_counter() - clock, time.process_time() - cpu


if __name__ == "__main__":
    main()
