"""Vectors on Qdrant (extra `qdrant`), through its llama-index store. A collection belongs to one specialist."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from typing import Any

from llama_index.core.vector_stores.types import BasePydanticVectorStore
from pydantic import Field

from ...core.errors import ConfigError, KnowledgeError, MissingExtra
from ...core.settings import secret_value
from ..card import Section
from .llama_index import StoreIndex, checked_options

try:
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams
except ImportError as error:
    raise MissingExtra("llama-index-vector-stores-qdrant", "qdrant") from error


class _QdrantOptions(Section):
    collection: str = Field(min_length=1)
    url: str | None = None
    api_key: str | None = None
    path: Path | None = None


class QdrantIndex(StoreIndex):
    """Qdrant: `url` and `collection`; or `path`, an absolute folder that one process at a time may use.

    Raises:
        ConfigError: the options are wrong.
        KnowledgeError: the server cannot be reached, or the collection holds vectors of another length.
        MissingExtra: extra `qdrant`.
    """

    @classmethod
    def make(cls, options: dict[str, Any], dimension: int) -> BasePydanticVectorStore:
        """See `StoreIndex`."""
        given = checked_options(_QdrantOptions, options)
        if (given.url is None) == (given.path is None) or (given.path and not given.path.is_absolute()):
            raise ConfigError("give the server's `url`, or an absolute `path`", field="knowledge.backend_options")
        client = _qdrant(given.url, given.api_key, given.path)
        if not client.collection_exists(given.collection):
            client.create_collection(given.collection, VectorParams(size=dimension, distance=Distance.COSINE))
        size = client.get_collection(given.collection).config.params.vectors.size
        if size != dimension:
            raise KnowledgeError(
                f"collection '{given.collection}' holds vectors of {size} numbers, the embedder's have {dimension}",
                hint="give it another `collection`",
            )
        return QdrantVectorStore(given.collection, client=client)


@cache
def _qdrant(url: str | None, api_key: str | None, path: Path | None) -> Any:
    """One client for each place: a folder can be opened only once, even by the same process."""
    key = secret_value(api_key, "knowledge.backend_options.api_key") if api_key else None
    if url:
        return QdrantClient(url=url, api_key=key, check_compatibility=False)  # else a thread asks, and fails alone
    client = QdrantClient(path=str(path))
    atexit.register(client.close)  # when modules go, it is too late for it
    return client
