"""Known ways of taking over a model, as patterns. Each rule says what the text does, in words for people."""

from __future__ import annotations

import re

_SECRET = (
    r"(?:pass ?(?:words?|codes?|phrases?|keys?)|secret (?:codes?|keys?|words?|phrases?|strings?)|confidential "
    r"(?:string|code|"
    r"information|data|details)|access codes?|api keys?|private keys?|credentials|login details|security codes?)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directions?|directives?|commands?|orders?|constraints?|"
    r"restrictions?|"
    r"programming|polic(?:y|ies)|safeguards?|filters?)"
)
_OLD = (
    r"(?:previous|prior|above|earlier|preceding|former|existing|original|initial|system|your|these|those|all|any|the|"
    r"every)"
)
_ASIDE = (
    r"(?:ignore|ignoring|disregard\w*|forget|override|overrule|bypass\w*|circumvent|do not (?:follow|obey)|"
    r"don'?t (?:follow|obey)|stop (?:following|obeying)|set aside|pay no attention to)"
)
_ABROAD = (
    r"ignor(?:e|a|ez|ieren sie|iere|are|i|eer)\b[^.?!]{0,40}\b(?:instru\w+|anweisung\w*|istruzioni|opdracht\w*|"
    r"p[áa]gina|"
    r"funci[óo]n|fonction|funktion|tabla|tableau|tabelle|curr[íi]culum|correo)|игнорир\w+|αγνο[ήε]\w+|無視|忽略|忽视|무시|"
    r"تجاهل|अनदेखी|नज़रअंदाज़|abaikan|zignoruj|görmezden gel"
)
_SECRET_ABROAD = (
    r"contrase[ñn]a|mot de passe|passwort\b|senha\b|wachtwoord|пароль|κωδικ[όο]ς? πρόσβασης|パスワード|密码|비밀번호|"
    r"كلمة (?:ال)?مرور|पासवर्ड|kata sandi|hasło\b|qual è la password"
)

RULES: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "sets the instructions aside": (rf"\b{_ASIDE}\b(?:\W+\w+){{0,3}}?\W+{_OLD}\b(?:\W+\w+){{0,4}}?\W+{_ORDERS}\b"),
        "sets what it was given aside": (
            rf"\b{_ASIDE}\s+(?:everything|all (?:of )?(?:this|that|the above)|the above|what (?:i|you|was|is)\b)|"
            rf"\b(?:ignore|disregard|forget)\w* the (?:function|code|table|webpage|page|article|paper|resume|email|"
            rf"document|"
            rf"text|question|task)\b[^.?!]{{0,30}}\b(?:and|instead|we|state|say|output|print|tell|write|answer|"
            rf"result)"
        ),
        "says so in another language": _ABROAD,
        "gives new instructions": (
            rf"\b(?:new|updated|real|actual|revised)\s+(?:system\s+)?{_ORDERS}\s*(?:follow|are\b|:|from now)"
        ),
        "asks for the hidden prompt": (
            r"\b(?:reveal|show|print|repeat|output|display|tell|give|share|leak|dump|what (?:is|are|was|"
            r"were))\b(?:\W+\w+){0,4}?\W+"
            r"(?:system|hidden|initial|original|developer|your)\s+(?:prompts?|instructions?|messages?|rules|"
            r"guidelines)\b"
        ),
        "asks for a secret": (
            rf"\bwhat(?:'s|’s| is| was| are)\s+(?:the|your|our|their|his|her|\w+'s|"
            rf"system)\s+(?:\w+\s+)?{_SECRET}(?! reset)\b|"
            rf"\b(?:asked? for|know|guess)\s+(?:the|your|our|their|\w+'s)\s+(?:\w+\s+)?{_SECRET}\b|"
            rf"\b(?:tell|give|reveal|show|confirm|share|send|print|spell|encode|repeat|output|provide|say|write|"
            rf"disclose|guess|"
            rf"hint)\b[^.?!]{{0,60}}\b(?:the|your|our|their|his|her|\w+'s|system)\s+(?:\w+\s+)?{_SECRET}(?! reset| "
            rf"i (?:usually|always))\b|"
            rf"\b(?:passwords? for our|send|share|give)\b[^.?!]{{0,40}}\b(?:social security number|credit card "
            rf"information)|"
            rf"\bpasswords? for our\b"
        ),
        "asks for a secret in another language": _SECRET_ABROAD,
        "changes who the model is": (
            r"\b(?:you are now (?:a|an|in|the|my|no|free|going|to)\b|from now on,? you (?:are|will|must)|pretend "
            r"(?:to be|that you|"
            r"you(?:'re| are))|act as (?:if you|an? (?:unrestricted|unfiltered|evil|hacker|dan\b))|roleplay as|"
            r"you have no (?:rules|"
            r"restrictions|filters?|limits)|developer mode|jail ?break|do anything now|no (?:longer bound|"
            r"restrictions|special "
            r"filtering|ethical))\b"
        ),
        "claims to be the system": (
            r"\bsystem[ _-]?(?:override|mode|maintenance|update|alert|command|message|prompt)\b\s*[:=\]>)]|"
            r"(?:^|\n)\s*[\[<(#*]*\s*system\s*[\])>#*]*\s*:[ \t]*\S|"
            r"\b(?:enter(?:ing)?|switch(?:ing)? (?:to|into)|activat\w+|enabl\w+|initiat\w+|you are(?: now)? "
            r"in)\s+(?:\w+\s+){0,2}"
            r"(?:debug|developer|admin\w*|root|god|maintenance|diagnostic|override|system|unrestricted|test) "
            r"mode\b|"
            r"\b(?:admin|administrator|root|developer) (?:override|access granted|privileges)"
        ),
        "claims to be in charge": (
            r"\b(?:i am|i'm|this is|as) your (?:creator|owner|maker|master|boss)\b|\b(?:i am|i'm|this is|as) "
            r"(?:your|the) (?:developer|administrator|admin|programmer|system administrator|"
            r"engineer who (?:built|made))\b"
        ),
        "invents a scenario to be answered for": (
            r"\b(?:imagine|consider|suppose|pretend|in|hypothetical\w*)\b[^.?!]{0,30}\b(?:scenario|situation|"
            r"world|hypothetically)\b"
            r"[^.?!]{0,50}\b(?:ignore|state|say|claim|answer|output|no rules|anything)\b"
        ),
        "holds control tokens": r"<\|(?:im_start|im_end|endoftext|system|user|assistant|eot_id)\|>|\[/?INST\]|"
        "<</?SYS>>",
        "puts words together to hide them": (
            r"\b(?:combine|concatenate|interlace|join|merge)\b[^.?!]{0,40}\b(?:part|a, b|parts|"
            r"strings?)\b[^?!]{0,80}\b(?:answer|"
            r"question|respond|execute|follow|part ?2)|\bpart ?1\b.{0,80}\bpart ?2\b|\b\w = \w \+ "
            r"\w\b[^?!]{0,120}\b(?:return|answer|"
            r"respond|execute|follow|output)"
        ),
        "asks to decode something hidden": (
            r"\b(?:decode|decipher|decrypt|translate)\b[^.?!]{0,40}\b(?:morse|rot-?13|caesar|base-?64|hexadecimal|"
            r"hex|binary|cipher)\b"
        ),
        "asks for a crime": (
            r"\b(?:write|create|draft|compose|make|give me|how (?:to|do i|can i))\b[^.?!]{0,40}\b(?:phishing|"
            r"malware|ransomware|"
            r"keylogger|computer virus|bomb)\b"
        ),
        "orders how to answer": (
            r"\b(?:state|say|respond|reply|answer|output)(?: only)?(?: with| that)?:? ['\"“]?(?:your account has "
            r"been|i admit|i have "
            r"been (?:hacked|pwned))|your account has been (?:compromised|suspended|locked)[^.]{0,60}\b(?:follow|"
            r"click|visit|log ?in)"
        ),
    }.items()
}

_SHOTS = re.compile(
    r"(?:^|\s)(?:Q|Question|User|Human)\s?\d*:.{1,300}?\s(?:A|Answer|Assistant|AI|Bot)\s?\d*:", re.DOTALL
)
_REPEATED = re.compile(r"(\b\w[\w'-]{0,20}\W{1,3})\1{14,}")


def broken_rule(text: str) -> str | None:
    """What the text does that it should not; None when no rule matches."""
    for name, rule in RULES.items():
        if rule.search(text):
            return name
    if _REPEATED.search(text):
        return "repeats itself to wear the model down"
    return None


def brings_dialogue(text: str) -> str | None:
    """Three or more made-up questions with answers, as many-shot attacks have. For tasks: pages of FAQs are "
    "harmless."""
    return "brings its own dialogue" if text.count(":") > 5 and len(_SHOTS.findall(text)) >= 3 else None
