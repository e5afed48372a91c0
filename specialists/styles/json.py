"""Style `json`: fill the card's schema from the task and the passages."""

from __future__ import annotations

from json import JSONDecodeError, loads

from ..engines.engine import Json
from ..work import Draft, Work


def json(work: Work) -> Draft:
    """JSON that fits the schema. An answer that was cut off by `max_tokens` does not parse: not found."""
    schema = work.card.output_schema or {}
    reply = work.ask(work.prompt("json", schema=schema), Json(schema))
    try:
        data = loads(reply.text)
    except JSONDecodeError:
        return Draft(text=reply.text, found=False, certainty=reply.certainty)
    return Draft(text=reply.text, found=True, data=data, certainty=reply.certainty)
