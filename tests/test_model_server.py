# pyright: reportOptionalSubscript=false
"""A specialist on vLLM, SGLang or another OpenAI server, which `model_server.py` stands for."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from metier.agents.build import build
from metier.agents.cards import Blueprint, MemoryCard, ServerCard, TeamCard
from metier.agents.team import Team
from metier.core.errors import ConfigError, EngineError
from metier.specialists.adapters.choose import find_skill
from metier.specialists.adapters.publish import note_published, publish, withdraw
from metier.specialists.card import ModelCard, SpecialistCard
from metier.specialists.engines import Sampling
from metier.specialists.engines.engine import Json, OneOf
from metier.specialists.engines.remote import RemoteEngine
from metier.tests.model_server import BASE, ModelServer, running
from metier.tests.patience import PATIENCE
from metier.tests.postgres import quiet_port

HELLO = [("user", "hello")]


def lora(folder: Path, seed: int = 0, **config: Any) -> Path:
    """An adapter in PEFT's layout; what its weights do does not matter here."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base", **plain}))
    weight = np.random.default_rng(seed).normal(size=(8, 4)).astype(np.float32)
    save_file(
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": weight}, folder / "adapter_model.safetensors"
    )
    return folder


@pytest.fixture(params=["vllm", "sglang"])
def server(request) -> ModelServer:
    return ModelServer(request.param)


def test_given_adapters_are_loaded_and_asked_for_by_name(server, tmp_path):
    paths = {name: lora(tmp_path / name, seed) for seed, name in enumerate(["law-1", "tax-2"])}
    with running(server) as address, closing(RemoteEngine(address, "else", paths)) as engine:
        assert set(engine.adapters) == set(server.adapters) == set(paths)
        assert engine.context == 2048, "as the server tells"
        said = {name: engine.chat(adapter=name).invoke(HELLO) for name in (None, *paths)}
        assert said[None].content == "base"
        assert {n: str(m.content).split()[0] for n, m in said.items() if n} == {n: n for n in paths}
        assert len({str(m.content).split()[-1] for m in said.values()}) == 3, "each with its own weights"
        assert said["law-1"].response_metadata["logprob"] == -0.5
        assert said["law-1"].usage_metadata["output_tokens"] == 1
        with closing(RemoteEngine(address, "else", paths)):
            pass
        assert [what for what, _ in server.calls] == ["load_lora_adapter"] * 2, "another process finds them there"
        engine.unload("law-1")
        engine.unload("law-1")
        assert list(server.adapters) == ["tax-2"]


def test_after_a_restart_of_the_server_an_adapter_is_loaded_again(server, tmp_path):
    with running(server) as address, closing(RemoteEngine(address, None, {"law-1": lora(tmp_path)})) as engine:
        chat = engine.chat(adapter="law-1")
        before = chat.invoke(HELLO).content
        for ask in (
            lambda: chat.invoke(HELLO).content,
            lambda: asyncio.run(chat.ainvoke(HELLO)).content,
            lambda: "".join(str(part.content) for part in chat.stream(HELLO)).strip(),
            lambda: asyncio.run(_streamed(chat)).strip(),
        ):
            server.restart()
            assert ask() == before
        server.restart()
        shutil.rmtree(tmp_path)
        with pytest.raises(EngineError, match=r"does not load adapter 'law-1'.*No adapter found") as error:
            chat.invoke(HELLO)
        assert "server.seen_as" in str(error.value)


async def _streamed(chat: Any) -> str:
    return "".join([str(part.content) async for part in chat.astream(HELLO)])


def test_a_server_that_is_away_for_a_moment_is_waited_for(server, tmp_path):
    port = quiet_port()
    with running(server, port) as address:
        engine = RemoteEngine(address, None, {"law-1": lora(tmp_path)}, patience=PATIENCE)
        server.busy = 2
        assert str(engine.chat(adapter="law-1").invoke(HELLO).content).startswith("law-1")
    server.restart()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(engine.chat(adapter="law-1").invoke(HELLO).content))
    asking.start()
    asking.join(0.5)
    assert not answers
    with running(server, port):
        asking.join(PATIENCE)
        assert answers[0].startswith("law-1")
        impatient = RemoteEngine(address, None, patience=0)
        server.busy = 1
        with pytest.raises(EngineError, match="the server refused the request: overloaded"):
            impatient.chat().invoke(HELLO)
    with pytest.raises(EngineError, match="the model server failed"):
        impatient.chat().invoke(HELLO)


def test_what_a_server_refuses_is_said_with_what_mends_it(tmp_path):
    wide, there = {"wide-1": lora(tmp_path / "wide", r=64)}, {"law-1": lora(tmp_path / "law")}
    with running(ModelServer()) as address, pytest.raises(EngineError, match="rank 64 is greater"):
        RemoteEngine(address, None, wide)
    with running(ModelServer(runtime_loading=False)) as address, pytest.raises(EngineError) as error:
        RemoteEngine(address, None, there)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in str(error.value)
    locked = ModelServer(key="secret")
    with running(locked) as address:
        with pytest.raises(EngineError, match="Unauthorized"):
            RemoteEngine(address, None)
        RemoteEngine(address, None, there, api_key="secret").close()
    plain = ModelServer()
    plain.kind = "somebody"  # type: ignore[assignment]
    with running(plain) as address, pytest.raises(EngineError, match="loads no adapters while it runs"):
        RemoteEngine(address, None, there)
    with running(ModelServer()) as address:
        engine = RemoteEngine(address, "base", there)
        unknown = engine.chat(adapter="law-1").model_copy(update={"model_name": "other", "adapter": None})
        with pytest.raises(EngineError, match="The model `other` does not exist"):
            unknown.invoke(HELLO)


@pytest.mark.parametrize("unknown", [(), ("response_format",), ("response_format", "structured_outputs")])
def test_a_schema_is_asked_for_in_the_form_that_the_server_takes(unknown):
    server, schema = ModelServer(unknown=unknown), {"type": "object", "properties": {"n": {"type": "integer"}}}
    with running(server) as address, closing(RemoteEngine(address, None)) as engine:
        for _ in range(2):
            said = engine.chat(Sampling(max_tokens=9)).invoke(HELLO, **engine.constrain(Json(schema)))
            assert json.loads(str(said.content)) == {"n": 1}
        assert engine.chat().invoke(HELLO, **engine.constrain(OneOf(["a", "b"]))).content == "b"
        form = ["response_format", "structured_outputs", "guided_json"][len(unknown)]
        assert [form in asked.body for asked in server.asked] == [True] * 3
    server.unknown = ("response_format", "structured_outputs", "guided_json")
    with running(server) as address, closing(RemoteEngine(address, None)) as engine:
        asked = engine.constrain(Json(schema))
        with pytest.raises(EngineError, match="not permitted: guided_json"):
            engine.chat().invoke(HELLO, **asked)


def test_control_tokens_in_a_text_reach_no_server():
    server = ModelServer()
    with running(server) as address, closing(RemoteEngine(address, None)) as engine:
        engine.chat().invoke([("user", "a <|im_end|> b")])
    assert "<|im_end|>" not in server.asked[0].prompt


# Publishing.


def test_a_name_stands_for_the_same_weights_for_ever(tmp_path):
    shelf = tmp_path / "shelf"
    first = publish(lora(tmp_path / "v" / "Law v1", 1), shelf)
    assert publish(tmp_path / "v" / "Law v1", shelf) == first
    second = publish(lora(tmp_path / "v" / "Law v1", 2), shelf)
    assert first != second
    assert first.startswith("law-v1-")
    assert {path.name for path in (shelf / first).iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    server = ModelServer()
    with running(server) as address:

        def ask(name: str) -> str:
            return str(RemoteEngine(address, None, {name: shelf / name}).chat(adapter=name).invoke(HELLO).content)

        answers = [ask(first).split()[1], ask(second).split()[1]]
        assert answers[0] != answers[1]
        server.load({"lora_name": first, "lora_path": str(shelf / second), "load_inplace": True})
        assert ask(first).split()[1] == answers[0], "the server's cache goes by the name, whatever is loaded under it"


def test_only_plain_loras_are_published(tmp_path):
    with pytest.raises(ConfigError, match="DoRA"):
        publish(lora(tmp_path / "d", use_dora=True), tmp_path / "shelf")
    with pytest.raises(ConfigError, match="PROMPT_TUNING"):
        publish(lora(tmp_path / "p", peft_type="PROMPT_TUNING"), tmp_path / "shelf")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="not GGUF"):
        publish(tmp_path / "x.gguf", tmp_path / "shelf")
    assert not (tmp_path / "shelf").exists()


def test_what_no_team_uses_any_more_is_given_up(tmp_path):
    shelf = tmp_path / "shelf"
    one, two, three = (publish(lora(tmp_path / str(n), n), shelf) for n in range(3))
    for name in (one, two, three):
        os.utime(shelf / name, (0, 0))
    fresh = publish(lora(tmp_path / "9", 9), shelf)
    assert note_published(shelf, "b", [one]) == sorted([two, three])
    assert note_published(shelf, "a", [two]) == [three]
    assert note_published(shelf, "b", [three]) == []
    assert note_published(shelf, "b", [three]) == [], "the same again is no change"
    assert note_published(shelf, "b", [two]) == [one]
    withdraw(shelf, [one])
    assert {p.name for p in shelf.iterdir() if (p / "adapter_config.json").exists()} == {two, three, fresh}


def test_a_team_runs_its_adapters_on_a_server(models, tmp_path):
    """The skill of its style, then the registry's champion; the server sees the folder elsewhere."""
    elsewhere = tmp_path / "machine" / "adapters"
    server = ModelServer(sees=lambda path: path.replace("/models", str(elsewhere)), max_rank=64)
    rows = "".join(json.dumps({"input": task, "answer": "red"}) + "\n" for task in ("a rose", "a fire"))
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "rows.jsonl").write_text(rows)
    card = SpecialistCard(
        name="sorter", description="Sorts things by colour.", style="label", labels=["blue", "red"],
        examples=["rows.jsonl", "what colour has a rose?", "and the sky?"], abstain_below=0.0,
    )  # fmt: skip
    with running(server) as address:
        served = ServerCard(publish=str(elsewhere), seen_as="/models", model=BASE)
        memory = MemoryCard(facts="none")
        team = TeamCard(name="sorters", engine=address, server=served, specialists=["sorter"], memory=memory,
                        guardrails=["length"])  # fmt: skip
        plan = Blueprint.of(team, [card], tmp_path / "team")
        build(plan, store=models)
        with Team.load(plan, store=models) as opened:
            answer = opened.ask("what colour has a rose?", specialist="sorter")
            assert answer.text == "red"
            skill = next(iter(server.adapters))
            assert skill.startswith("general-")
            assert server.asked[-1].adapter == skill
            assert server.adapters[skill] == f"/models/{skill}"
            mine = shutil.copytree(find_skill("general"), tmp_path / "mine")
            (mine / "metier.json").unlink()
            weights = bytearray((mine / "adapter_model.safetensors").read_bytes())
            weights[-1] ^= 1
            (mine / "adapter_model.safetensors").write_bytes(weights)
            plan.registry.add("sorter", mine, {}, "a test")
            plan.registry.promote("sorter")
            assert opened.refresh() == ("sorter",)
            opened.ask("what colour has the sky?", specialist="sorter")
            assert server.asked[-1].adapter not in (None, skill)
            assert server.asked[-1].weights == server.weights[server.asked[-1].adapter]
    assert json.loads((elsewhere / "teams" / "sorters.json").read_text())["before"] == [skill]


def test_a_server_of_an_engine_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`server` is for an engine at an address"):
        TeamCard(name="t", engine="llama", specialists=["a"], server=ServerCard(publish="x"))
    assert SpecialistCard(name="a", description="Does something.", model=ModelCard(adapter="x")).model.adapter == "x"
