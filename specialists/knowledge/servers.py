"""Vectors on a server: Qdrant, and PostgreSQL with pgvector, each through its llama-index store.

A collection or table belongs to one specialist. Several processes may share it, when one of them builds and the others
get a copy of the built index: words, texts and places stay beside the team.
"""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from typing import Any

from llama_index.core.vector_stores.types import BasePydanticVectorStore
from pydantic import Field, ValidationError

from ...core.errors import ConfigError, KnowledgeError, MissingExtra
from ...core.settings import secret_value
from ..card import Section
from .llama_index import StoreIndex


class _QdrantOptions(Section):
    collection: str = Field(min_length=1)
    url: str | None = None
    api_key: str | None = None
    path: Path | None = None


class _PgvectorOptions(Section):
    table: str = Field(pattern=r"^[a-z_][a-z0-9_]{0,50}$")
    url: str
    hnsw: dict[str, Any] | None = None


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
        try:
            from llama_index.vector_stores.qdrant import QdrantVectorStore
            from qdrant_client.models import Distance, VectorParams
        except ImportError as error:
            raise MissingExtra("llama-index-vector-stores-qdrant", "qdrant") from error
        given = _checked(_QdrantOptions, options)
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
    from qdrant_client import QdrantClient

    key = secret_value(api_key, "knowledge.backend_options.api_key") if api_key else None
    if url:
        return QdrantClient(url=url, api_key=key, check_compatibility=False)  # else a thread asks, and fails alone
    client = QdrantClient(path=str(path))
    atexit.register(client.close)  # when modules go, it is too late for it
    return client


class PgvectorIndex(StoreIndex):
    """A table of a PostgreSQL database with the extension `vector`: `url` (or `env:NAME`) and `table`.

    With `hnsw` (`{hnsw_m, hnsw_ef_construction, hnsw_ef_search}`) the search is approximate, and quick above some
    hundred thousand passages; without, every vector is compared.

    Raises:
        ConfigError: the options are wrong.
        KnowledgeError: the database cannot be reached, or has no such extension.
        MissingExtra: extra `pgvector`.
    """

    @classmethod
    def make(cls, options: dict[str, Any], dimension: int) -> BasePydanticVectorStore:
        """See `StoreIndex`."""
        try:
            from llama_index.vector_stores.postgres import PGVectorStore
        except ImportError as error:
            raise MissingExtra("llama-index-vector-stores-postgres", "pgvector") from error
        given = _checked(_PgvectorOptions, options)
        url = secret_value(given.url, "knowledge.backend_options.url")
        scheme, colon, place = url.partition("://")
        if scheme not in ("postgresql", "postgres") or not colon:
            raise ConfigError("a PostgreSQL address begins with postgresql://", field="knowledge.backend_options.url")
        hnsw = {"hnsw_dist_method": "vector_cosine_ops", **given.hnsw} if given.hnsw else None
        return PGVectorStore(
            connection_string=f"postgresql+psycopg2://{place}",
            async_connection_string=f"postgresql+asyncpg://{place}",
            table_name=given.table,
            schema_name="public",
            embed_dim=dimension,
            hnsw_kwargs=hnsw,
            initialization_fail_on_error=True,
        )


def _checked(kind: type[Any], options: dict[str, Any]) -> Any:
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("knowledge.backend_options", *first["loc"])))
        raise ConfigError(first["msg"], field=where, hint=f"it takes {', '.join(kind.model_fields)}") from None
