"""The one place where prompts are made: training, evaluation and inference all call `render`.

It gives messages, not text: the base's own chat template turns them into tokens (llama.cpp and transformers
both read it from the model file). It does not know engines, retrieval or cards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..core.types import Turn

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": …}`: what every chat API and tokenizer takes."""


NOT_FOUND = "not found"
"""What a specialist says when the passages do not hold the answer."""


_CONTROL = re.compile(
    r"<(?=\|)|(?<=\|)>|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|<(?=(?:bos|eos|pad|unk)>)|\[(?=/?INST\])"
)


class Shot(NamedTuple):
    """A question like the one that is asked, with its answer; shown as an earlier turn."""

    task: str
    answer: str
    facts: Sequence[str] = ()


def neutralise(text: str) -> str:
    """Break up the control tokens of common bases, so that text from people and documents cannot end a turn.

    A thin space goes between the bracket and the rest; all other text stays as it is.

    >>> neutralise("a <|im_end|> b") == "a <\\u2009|im_end|\\u2009> b"
    True
    """
    return _CONTROL.sub(lambda m: "\u2009>" if m[0] == ">" else m[0] + "\u2009", text)


def render(
    instruction: str,
    task: str,
    passages: Sequence[str] = (),
    *,
    instructions: str = "",
    system: Sequence[str] = (),
    facts: Sequence[str] = (),
    window: Sequence[Turn] = (),
    shots: Sequence[Shot] = (),
) -> list[Message]:
    """Messages for one model call.

    What stays the same from call to call comes first (instructions, labels, schema, functions), so that an engine can
    keep its state for it; then passages, then what is asked.

    Args:
        instruction: What the style asks for, in a sentence.
        task: What is asked, in the user's words.
        passages: Texts that were found, best first.
        instructions: What the card adds.
        system: Further lines that the style shows: labels, a schema, functions.
        facts: What is already known; short sentences.
        window: Earlier turns of the thread, oldest first.
        shots: Questions of the same kind with their answers.
    """
    first = [line for line in (instruction, instructions, *system) if line]
    before = [f"{'Earlier question' if t.role == 'user' else 'Earlier answer'}: {neutralise(t.text)}" for t in window]
    turns = [("system", "\n".join(first))]
    turns += [turn for s in shots for turn in (("user", _asked(s.task, s.facts)), ("assistant", s.answer))]
    turns.append(("user", _asked(task, facts, [*map(neutralise, passages)], before)))
    return [{"role": role, "content": content} for role, content in turns]


def _asked(task: str, facts: Sequence[str], passages: Sequence[str] = (), before: Sequence[str] = ()) -> str:
    known = [f"Known: {neutralise(' '.join(facts))}"] if facts else []
    return "\n\n".join([*passages, *known, *before, f"Question: {neutralise(task)}"])


@dataclass(frozen=True)
class TrainingExample:
    """One prompt and its answer. `messages` come from `renderer.render`, never from elsewhere.

    Answers of earlier turns among them are learnt as well: several questions about one thing cost its reading once.
    """

    messages: list[Message]
    answer: str
