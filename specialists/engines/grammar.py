"""Constraints as LLGuidance grammars (Lark form), which llama.cpp enforces token by token.

Syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolCall, ToolMessage, convert_to_messages
from langchain_core.messages.tool import tool_call
from langchain_core.utils.function_calling import convert_to_openai_tool

from ...core.errors import InputError, ToolError, unknown
from ..functions import call_schema, signature, write_call
from .engine import Quote

LARK = "%llguidance {}\n"


_NAMED = re.compile(r"<[^<>\s]+>")
"""How LLGuidance names a special token."""


_DENSE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, spaced as `json.dumps` does: a small model otherwise spends its tokens on white space."""


def one_of(options: Sequence[str], end: str = "") -> str:
    """Exactly one of the options.

    Args:
        end: The base's end-of-turn token, such as `<|im_end|>`. Without it llama.cpp ends the answer by whichever of
            its end tokens comes first, and tells that one's probability.

    Raises:
        ValueError: There are none.
    """
    if not options:
        raise ValueError("no options to choose from")
    return f"{LARK}start: ({_any(options)}){_stop(end)}\n"


def json_grammar(schema: Mapping[str, Any], *, lenient: bool = False) -> str:
    """JSON that fits a JSON Schema; see `json_rule`."""
    return f"{LARK}start: {json_rule(schema, lenient=lenient)}\n"


def json_rule(schema: Mapping[str, Any], *, lenient: bool = False) -> str:
    """The right-hand side of a rule: JSON, on one line, that fits a JSON Schema.

    Objects that list their properties get no others, unless the schema says `additionalProperties`: a model that
    may always add one more property does not come to an end.

    Args:
        lenient: Let keywords that LLGuidance does not know pass; otherwise such a schema is refused.
    """
    return "%json " + _literal(_closed(schema) | {"x-guidance": _DENSE | {"lenient": lenient}})


def quote_grammar(quote: Quote, end: str = "") -> str:
    """Runs of whole words from the texts, one a line, or one of the alternatives.

    Args:
        end: The base's end-of-turn token, such as `<|im_end|>`. Without it llama.cpp lets the model stop only where
            the text could not go on, so that every quote runs to the end of its passage.

    Raises:
        ValueError: There is nothing to say: all texts are blank and there are no alternatives.
    """
    full = [text for text in quote.texts if text.strip()]
    if not full:
        return one_of(quote.alternatives, end)
    openings = _any([line + "\n" for line in quote.openings])
    opening = f"({openings})? " if openings else ""
    more = f' ("\\n" quote){{0,{quote.most - 1}}}' if quote.most > 1 else ""
    other = f" | {_any(quote.alternatives)}" if quote.alternatives else ""
    names = " | ".join(f"QUOTE{number}" for number in range(len(full)))
    fit = f" & ~/(?i)({'|'.join(map(re.escape, quote.barred))})([^\\w](.|\\n)*)?/" if quote.barred else ""
    rules = [
        f"QUOTE{number}: RUN{number}{fit}\nRUN{number}: %regex {_literal({'substring_words': text})}\n"
        for number, text in enumerate(full)
    ]
    return f"{LARK}start: ({opening}quote{more}{other}){_stop(end)}\nquote: {names}\n{''.join(rules)}"


_SELECT = r"""
query: "SELECT " "DISTINCT "? values from? where? group? having? order? limit?
from: " FROM " table (JOIN table (" ON " column " = " column)?)*
where: " WHERE " conditions
group: " GROUP BY " values
having: " HAVING " conditions
order: " ORDER BY " value " DESC"? (", " value " DESC"?)*
limit: " LIMIT " /[1-9][0-9]{0,2}/
conditions: condition ((" AND "|" OR ") condition)*
condition: "NOT "? (value test? | "(" conditions ")" | "EXISTS(" query ")")
test: SIGN value | " LIKE " TEXT | " IS NULL" | " BETWEEN " value " AND " value | " IN (" (query | values) ")"
values: value (", " value)*
value: item ((" + "|" - "|" * "|" / ") item)*
item: column | NUMBER | TEXT | "TRUE" | "FALSE" | call | "(" query ")" | "(" value ")" | case
call: PEAK "(" "DISTINCT "? value ")" | count | NAME "(" values ")" | "CAST(" value " AS " KIND ")"
count: "COUNT(" ("*" | rows | "DISTINCT "? value) ")"
case: "CASE WHEN " conditions " THEN " value (" ELSE " value)? " END"
SIGN: " = " | " <> " | " > " | " >= " | " < " | " <= "
JOIN: " JOIN " | " LEFT JOIN " | " CROSS JOIN "
PEAK: "MAX" | "MIN" | "SUM" | "AVG"
NAME: MATHS | WORDS | "DATE" | "JULIANDAY" | "STRFTIME" | "COALESCE" | "NULLIF"
MATHS: "ROUND" | "ABS"
WORDS: "LENGTH" | "LOWER" | "UPPER" | "SUBSTRING"
KIND: "REAL" | "INTEGER" | "TEXT"
NUMBER: /[0-9]{1,12}(\.[0-9]{1,6})?/
TEXT: /'([^'\n]|''){0,100}'/
"""


def select_grammar(columns: Sequence[str], end: str = "") -> str:
    """One short SELECT over these columns, in the spelling of sqlglot's SQLite.

    Args:
        columns: `table.column` each.
        end: The base's end-of-turn token, as for `quote_grammar`.
    """
    tables = dict.fromkeys(column.partition(".")[0] for column in columns)
    rows = _any([f"{table}.*" for table in tables])
    return f"{LARK}start: query{_stop(end)}\ncolumn: {_any(columns)}\ntable: {_any([*tables])}\nrows: {rows}{_SELECT}"


def _stop(end: str) -> str:
    return f" {end}" if _NAMED.fullmatch(end) else ""


def _any(options: Sequence[str]) -> str:
    return " | ".join(_literal(option) for option in options)


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    # The parts of an `allOf` describe one object between them: closing each would leave nothing that fits.
    inner = {key: value if key in ("allOf", "enum", "const") else _closed(value) for key, value in schema.items()}
    lists = isinstance(schema.get("properties"), Mapping) and "type" in schema
    open_said = {"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf"} & schema.keys()
    return inner | {"additionalProperties": False} if lists and not open_said else inner


# Function calls of a base that was not made for them: described in the system message, and written as JSON.


_HOW = 'To call a function, answer with JSON: {"name": …, "arguments": …}. Otherwise answer in words. Functions:'


def functions_of(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """`{"name", "description", "parameters"}` of whatever LangChain takes for a tool."""
    return [convert_to_openai_tool(tool)["function"] for tool in tools]


def call_grammar(tools: Sequence[dict[str, Any]], choice: str | None, answer: Mapping[str, Any] | None = None) -> str:
    """A function call, or an answer: in words (which do not begin with a brace), or as JSON.

    Args:
        choice: None or `auto`: either; `none`: an answer; `any` or `required`: a call; a function's name: a call of it.
        answer: JSON Schema of an answer; left out: words.

    Raises:
        ToolError: `choice` is a name that no function has.
    """
    names = [tool["name"] for tool in tools]
    if choice not in (None, "auto", "none", "any", "required", *names):
        raise ToolError(unknown("function", str(choice), names))
    wanted = [tool for tool in tools if choice == tool["name"] or choice not in ("none", *names)]
    starts = {"call": json_rule(call_schema(wanted), lenient=True)} if wanted else {}
    if not wanted or choice in (None, "auto"):
        starts["answer"] = json_rule(answer, lenient=True) if answer else r"/[^{\s](?s:.*)/"
    rules = "".join(f"{name}: {rule}\n" for name, rule in starts.items())
    return f"{LARK}start: {' | '.join(starts)}\n{rules}"


def schema_of(response_format: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON Schema of OpenAI's `response_format`; `json_object` allows any object.

    Raises:
        InputError: it is of another type.
    """
    kind = response_format.get("type")
    schema = (response_format.get("json_schema") or {}).get("schema") if kind == "json_schema" else None
    if schema is None and kind != "json_object":
        raise InputError(f"response_format has type {kind!r}, known are json_schema and json_object")
    return schema or {"type": "object"}


def with_functions(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> list[BaseMessage]:
    """The messages with the functions' descriptions in the system message, and calls and results as plain turns."""
    system = "\n".join([_HOW, *map(signature, tools)])
    plain = [_plain(message) for message in messages]
    if plain and isinstance(plain[0], SystemMessage):
        return [SystemMessage(f"{plain[0].text}\n{system}"), *plain[1:]]
    return [SystemMessage(system), *plain]


def tool_call_of(text: str, number: int, tools: Sequence[dict[str, Any]]) -> ToolCall | None:
    """The call of one of these functions that a model wrote; None for other answers, and for JSON that was cut off."""
    try:
        call = json.loads(text)
        if not any(tool["name"] == call["name"] for tool in tools):
            return None
        return tool_call(name=call["name"], args=call["arguments"], id=f"call_{number}")
    except (ValueError, KeyError, TypeError):
        return None


def _plain(message: BaseMessage) -> BaseMessage:
    if isinstance(message, AIMessage) and message.tool_calls:
        return AIMessage("\n".join(write_call(c["name"], c["args"]) for c in message.tool_calls))
    if isinstance(message, ToolMessage):
        return convert_to_messages([("user", f"Result of {message.name or 'the call'}: {message.text}")])[0]
    return message
