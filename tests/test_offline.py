"""No process of ours looks up a name or opens a connection, in Python or in machine code."""

from __future__ import annotations

from pathlib import Path

import pytest

from metier.core.models import ModelStore
from metier.tests.offline import KILLED, run_offline

LOOK_UP = "import ctypes; ctypes.CDLL(None).getaddrinfo(b'example.org', b'80', None, ctypes.byref(ctypes.c_void_p()))"

RUN_ENGINE = """
import sys
from pathlib import Path
from metier.specialists.engines import Sampling, open_engine
engine = open_engine(sys.argv[1], Path(sys.argv[2]), context=256, slots=1, threads=1)
chat = engine.chat(Sampling(max_tokens=2))
print(bool(chat.invoke("hi").content), bool(list(chat.stream("hi"))))
engine.close()
print([name for name in sys.modules if name.startswith(("openvino_telemetry.", "onnxruntime"))])
"""

ASK = """
import sys
from metier import Team
with Team.load(sys.argv[1]) as team:
    print(team.ask("Which network do guests use?", specialist="helpdesk").kind)
"""


CONNECT = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"


@pytest.mark.parametrize("code", [LOOK_UP, CONNECT, "import socket; socket.getaddrinfo('example.org', 80)"])
def test_whoever_asks_the_network_is_caught(code: str) -> None:
    assert run_offline(code).returncode == KILLED
    assert run_offline("import socket; socket.socketpair(); socket.socket(socket.AF_INET6)").returncode == 0


def test_where_connections_are_let_through_names_are_not() -> None:
    assert run_offline(CONNECT, connections=True).returncode == 0
    assert run_offline(LOOK_UP, connections=True).returncode == KILLED


@pytest.mark.parametrize("engine", ["openvino", "llama"])
def test_engines_are_silent(engine: str, models: ModelStore) -> None:
    """llama.cpp has its server on a loopback port of its own, and connects to it."""
    gguf = models.find("smollm2-135m").files["gguf"]
    done = run_offline(RUN_ENGINE, engine, str(gguf), connections=engine == "llama")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n[]\n", "")


def test_a_team_is_silent(office: Path) -> None:
    card = office / "team.yaml"
    card.write_text(card.read_text() + "\nengine: openvino\n")
    done = run_offline(ASK, str(office))
    assert (done.returncode, done.stdout.strip() != "", done.stderr) == (0, True, "")
