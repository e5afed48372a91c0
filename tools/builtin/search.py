"""The tool `search_knowledge`: passages from the specialist's own documents."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from ...core.errors import ConfigError
from ..tool import ToolContext, shorten_text, tool


def search(context: ToolContext, *, sensitive: bool = False, untrusted: bool = True) -> list[BaseTool]:
    """The tool `search_knowledge`.

    Args:
        sensitive: whether the documents must not leave.
        untrusted: whether strangers may have written them.

    Raises:
        ConfigError: the specialist has no knowledge.
    """
    find = context.search
    if find is None:
        raise ConfigError("the tool 'search' needs knowledge", hint="add 'knowledge: {sources: [docs]}' to the card")

    @tool(effect="read", untrusted_output=untrusted, sensitive=sensitive)
    def search_knowledge(query: str) -> str:
        """Passages from the documents that answer a question.

        Args:
            query: what to look for.
        """
        passages = find(query)
        return "\n\n".join(f"[{p.source}] {shorten_text(p.text, 800)}" for p in passages) or "nothing found"

    return [search_knowledge]
