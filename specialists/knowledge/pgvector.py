"""Vectors in PostgreSQL with pgvector (extra `pgvector`), through its llama-index store. One table a specialist."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores.types import BasePydanticVectorStore
from pydantic import Field

from ...core.errors import ConfigError, MissingExtra
from ...core.settings import secret_value
from ..card import Section
from .llama_index import StoreIndex, checked_options

try:
    from llama_index.vector_stores.postgres import PGVectorStore
except ImportError as error:
    raise MissingExtra("llama-index-vector-stores-postgres", "pgvector") from error


class _PgvectorOptions(Section):
    table: str = Field(pattern=r"^[a-z_][a-z0-9_]{0,50}$")
    url: str
    hnsw: dict[str, Any] | None = None


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
        given = checked_options(_PgvectorOptions, options)
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
