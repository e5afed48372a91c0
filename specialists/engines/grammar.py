"""Constraints as LLGuidance grammars (Lark form), which llama.cpp enforces token by token.

Syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = "%llguidance {}\n"


def one_of(options: Sequence[str]) -> str:
    """Exactly one of the options."""
    return f"{_HEAD}start: {_alternatives(options)}\n"


def schema(schema: Mapping[str, Any]) -> str:
    """JSON that fits a JSON Schema."""
    return f"{_HEAD}start: %json {_literal(schema)}\n"


def quote(texts: Sequence[str], alternatives: Sequence[str] = ()) -> str:
    """A run of whole words from one of the texts, or one of the alternatives."""
    names, rules = [], []
    for number, text in enumerate(t for t in texts if t.strip()):
        names.append(f"quote{number}")
        rules.append(f"quote{number}: %regex {_literal({'substring_words': text})}\n")
    branches = " | ".join(filter(None, [" | ".join(names), _alternatives(alternatives)]))
    return f"{_HEAD}start: {branches}\n{''.join(rules)}"


def _alternatives(options: Sequence[str]) -> str:
    return " | ".join(_literal(option) for option in options)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
