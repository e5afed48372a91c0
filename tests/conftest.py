"""What all tests share: the real small models, found where `metier models pull` puts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from metier.core.errors import ModelError
from metier.core.models import ModelStore
from metier.core.onnx_embedder import OnnxEmbedder, load_embedder
from metier.tests.postgres import Postgres, installed

# A busy machine is no finding: times are measured in benchmarks.
settings.register_profile("metier", deadline=None)
settings.load_profile("metier")

NEEDED = ("smollm2-135m", "minilm")


@pytest.fixture(scope="session")
def models() -> ModelStore:
    """The default cache, with both built-in models in it (tests run offline, so they are pulled beforehand)."""
    store = ModelStore()
    try:
        for name in NEEDED:
            store.find(name)
    except ModelError as error:
        pytest.fail(f"{error}\nThese tests use the real models; `make test` pulls them first.", pytrace=False)
    return store


@pytest.fixture(scope="session")
def embedder(models: ModelStore) -> OnnxEmbedder:
    """The real MiniLM."""
    return load_embedder("minilm", models)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL; `postgres.database()` gives an empty database, `postgres.restart()` starts it anew."""
    if installed() is None:
        pytest.skip("PostgreSQL is not installed: pip install -e '.[dev]'")
    with Postgres() as server:
        yield server
