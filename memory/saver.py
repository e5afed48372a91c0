"""What metier needs of a place where threads are saved, beyond LangGraph's own interface."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.base import CheckpointTuple as Saved


class ThreadSaver(BaseCheckpointSaver[str]):
    """A LangGraph checkpointer that can do all that one can: prune, copy, delete by run; asynchronous callers too.

    The asynchronous half is the synchronous one in a thread, so that nothing is written twice.
    """

    @abstractmethod
    def thread_ids(self) -> list[str]:
        """All threads."""

    @abstractmethod
    def copy_thread(self, source_thread_id: str, target_thread_id: str, upto: str | None = None) -> None:
        """Copy a thread under another name.

        Args:
            source_thread_id: What to copy.
            target_thread_id: A thread that does not exist.
            upto: The last checkpoint to copy, without what was begun after it; None copies everything.
        """

    @abstractmethod
    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only the last checkpoint of each thread (`keep_latest`), or nothing (`delete`)."""

    @abstractmethod
    def scrub(self) -> None:
        """Take what was deleted out of the files as well.

        Raises:
            StateError: somebody else uses them.
        """

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    async def aget_tuple(self, config: RunnableConfig) -> Saved | None:
        """`get_tuple` in a thread."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, config: RunnableConfig | None, **more: Any) -> AsyncIterator[Saved]:
        """`list` in a thread."""
        for found in await asyncio.to_thread(lambda: list(self.list(config, **more))):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`put` in a thread."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """`put_writes` in a thread."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """`delete_thread` in a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """`delete_for_runs` in a thread."""
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """`copy_thread` in a thread."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """`prune` in a thread."""
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))
