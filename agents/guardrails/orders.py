"""Sentences inside a document or a tool's result that give the reader, an assistant, something to do.

People write such sentences to assistants, hardly ever into the mails, reports and tables that an assistant is given:
orders about the answer itself ("end your reply with …"), orders to produce a text, and quiz questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ANSWER = (
    r"(?:your|the|this|each|every|my|its) (?:\w+ )?"
    r"(?:reply|replies|responses?|answers?|output|messages?|summary|text)"
)
_ANSWER_ORDER = re.compile(
    r"^(?:please |also |now |always |and |then |finally,? |instead,? |just )*"
    r"(?:(?:in|within|at the end of|throughout|before|after|when writing|to|for|with) (?:your|the) (?:\w+ "
    r")?(?:reply|response|"
    r"answer|output|summary)\b|"
    rf"(?:add|append|adapt|alter|anagram|answer|augment|combine|conclude|convert|craft|embed|encode|encrypt|end|"
    rf"enhance|enrich|"
    rf"express|finish|format|group|highlight|include|incorporate|infuse|insert|integrate|intersperse|introduce|"
    rf"jumble|make|"
    rf"mention|misspell|mix|modify|obfuscate|omit|output|place|prefix|present|print|promote|provide|put|rearrange|"
    rf"recommend|"
    rf"remove|render|repeat|replace|reply|respond|return|reverse|rewrite|rotate|scramble|shift|spell|start|"
    rf"substitute|suggest|"
    rf"swap|transform|translate|turn|use|utilize|weave|write)\b.{{0,140}}?"
    rf"(?:\b{_ANSWER}\b|\breply (?:only )?(?:with|in|using)\b|\brespond (?:only )?(?:with|in|using)\b)|"
    rf"(?:reply|respond|answer)(?: only)? (?:with|in|using|as)\b(?! (?:this|the) (?:e-?mail|mail|form)))",
    re.IGNORECASE,
)
_WRITING_ORDER = re.compile(
    r"^(?:please |now |also |instead,? |can you |could you |would you |i(?:'d| would) like you to |i want you to |"
    r"i need you to )*"
    r"(?:write (?:a|an|the|some|me|about|code|down)|compose (?:a|an)|draft (?:a|an)|develop a|generate (?:a|an|"
    r"the|some)|"
    r"create (?:a|an) (?:\w+ )?(?:list|poem|story|plan|table|summary|essay|script|function|program|report|outline|"
    r"schedule|chart|"
    r"slogan|dialogue)|"
    r"explain (?:the|how|what|why|in)|describe (?:the|a|how|what)|translate\b|summari[sz]e\b|paraphrase|rephrase|"
    r"classify|"
    r"categori[sz]e|analy[sz]e|break down the|outline (?:the|a)|compare (?:the|and)|contrast|calculate|compute|"
    r"solve|define|"
    r"identify (?:the|all)|name (?:the|a|three|five|some)|list (?:the|all|some|three|five|out)|tell me|show me|"
    r"give me|teach me|"
    r"provide (?:a|an|the|me|some)(?: \w+){0,3} (?:example|poem|equivalent|list|summary|overview|translation|"
    r"explanation|"
    r"definition|guide|code|recipe|script|analysis|breakdown)|recommend (?:a|some)|suggest (?:a|some)|compile a|"
    r"evaluate|"
    r"(?:replace|substitute|scramble|reverse|encode|shuffle|swap|jumble)\b.{0,40}\b(?:letters?|vowels?|"
    r"consonants?|words|spaces|"
    r"characters)\b|predict|determine|recite|imagine|pretend|act as|search for|look up)\b",
    re.IGNORECASE,
)
_QUIZ = re.compile(
    r"^(?:what(?:'s|’s)?|who|whom|whose|when|where|why|which|how|is|are|does|do|did|can|could)\b[^?]{8,160}\?$",
    re.IGNORECASE,
)
_PERSONAL = re.compile(r"\b(?:you|your|yours|we|our|us|ours|my|mine|i|me|this|these)\b", re.IGNORECASE)
_TEACH = re.compile(
    r"^(?:can|could|would|will) you (?:show|explain|tell|give|write|help|list|describe|translate)|^how do (?:you "
    r"say|i)\b",
    re.I,
)
_QUOTED = re.compile(r"['\"“‘].*?['\"”’](?!\w)")
_BREAK = re.compile(r"(?<=[.!?;:])\s+|\n+|\||<[^>]{1,80}>")


def sentences(text: str) -> Iterator[str]:
    """Sentences, lines and table cells, without the space around them."""
    for part in _BREAK.split(text):
        stripped = part.strip(" \t\r\n\"'“”‘’*-#>/")
        if stripped:
            yield stripped


def order_in(sentence: str, *, strict: bool) -> str | None:
    """What a sentence tells an assistant to do; None when it does not.

    Args:
        strict: count orders for texts and quiz questions too. Not for documents that are made of instructions, or of
            questions and answers.
    """
    if _ANSWER_ORDER.search(sentence):
        return "orders how to answer"
    if strict and _WRITING_ORDER.search(sentence):
        return "orders a text"
    if (
        strict
        and _QUIZ.search(sentence)
        and (_TEACH.search(sentence) or not _PERSONAL.search(_QUOTED.sub("", sentence)))
    ):
        return "asks a question of its own"
    return None
