"""Passwords, PINs, keys, tokens and card numbers in what people say: they are neither noted nor said back.

A sentence that may give one away counts, in doubt: a fact that is not noted can be said again in other words, a secret
that was noted stays. The words for a password are those of the languages that people most often write in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..core.text import sentences

_PASSWORD = (
    r"pass-?\s?(?:word|code|phrase|key|wort|wd)s?|pwd|passwd|pw|kennw[oö]rt(?:er)?|mot de passe|contraseñas?|"
    r"palavra-passe|senha|wachtwoord|lösenord|adgangskode|passord|salasana|has[łl]o|hesl[oa]|jelsz[oó]|parol[aă]?|şifre|"
    r"парол\w*|κωδικ\w+|كلمة (?:ال)?(?:مرور|سر)|סיסמ\w+|पासवर्ड|mật khẩu"
)
_UNSPACED = r"密码|密碼|口令|パスワード|暗証番号|비밀번호|รหัสผ่าน"
_NUMBERED = (
    r"pins?|pin[- ]?(?:code|number|nummer)s?|puk|tan|otp|cvv2?|cvc2?|code secret|geheimzahl|geheimnummer|"
    r"(?:security|access|entry|door|gate|alarm|safe|unlock|lock|recovery|backup|one[- ]time|verification|2fa|mfa|"
    r"login|key ?pad|locker|vault|sim)[- ]?(?:codes?|numbers?|combinations?|pins?)"
)
_KEY = (
    r"(?:(?:api|access|secret|private|wi-?fi|wlan|network|encryption|ssh|licen[sc]e|product|activation|recovery|"
    r"signing|master|auth|bearer|bot|refresh|session|\w*ai|github|aws|azure|google)[- ]?)+(?:keys?|tokens?|secrets?)|"
    r"(?:client |shared )?secrets?|tokens?"
)
_NAME = re.compile(rf"(?<!\w)(?:{_PASSWORD}|{_NUMBERED}|{_KEY})(?!\w)|{_UNSPACED}", re.IGNORECASE)
"""What a secret is called."""
_ABOUT_ONE = re.compile(
    r"^[\s\w]{0,3}\b(?:manager|reset|policy|rules?|change|field|prompt|generator|hint|length|file|store|safe|vault|box|"
    r"card|machine|board|gives?|rings?)\b",
    re.IGNORECASE,
)
"""After the name: another thing of which it is only a part, such as a password manager."""
_GIVES = re.compile(
    r"^.{0,40}?(?:[:=]|\b(?:is|are|was|will be|ist|lautet|war|es|est|são|é|è|to|of)(?!\w)|['’]s\b|は|是|는|은)\s*\S",
    re.IGNORECASE | re.DOTALL,
)
"""After the name: it is said which one."""
_CODE_LIKE = re.compile(
    r"(?<![\w.-])(?=\S*\d)(?=\S*[^\W\d_]|\S*[-_#$%&*!@+])[\w#$%&*!@+/=.-]{4,}|(?<![\w.,-])\d{3,}(?![\w,%]|\.\d)|"
    r"(?<!\w)\w{3,}[#$%&*!@^]+(?=\W*$)|(?<!\w)\w+[#$%&*@^]\w+"
)
"""A word with digits or marks in it, or a number of three digits or more."""
_LOCKED = r"\b(?:safe|lock|locker|padlock|vault|alarm|door|gate|garage|phone|laptop|screen|cabinet|suitcase)\b"
_UNLOCKING = r"\b(?:opens?|unlocks?|disarms?|is unlocked|is opened|combination|combo|code)\b"
_OPENS = re.compile(
    rf"(?:{_LOCKED}.{{0,40}}?{_UNLOCKING}|{_UNLOCKING}.{{0,20}}?{_LOCKED})"
    r"(?:.{0,15}?\b(?:with|by|using|is|to)\b)?\W{0,3}\d[\d -]{2,}",
    re.IGNORECASE,
)
_CHOSEN = re.compile(r"\b(?:us(?:e|es|ed|ing)|take|took|have|chose|picked|set|user(?:name)?|login)\b", re.IGNORECASE)
_LAST_WORD = re.compile(
    r"^\W+(?!again|today|yesterday|now|too|twice|often|always|myself|once|here|there|yet)\w+\W*$", re.IGNORECASE
)
_LOGS_IN = re.compile(
    r"\b(?:log(?:ged|ging)? ?(?:in|on|into|onto)|sign(?:ed|ing)? ?(?:in|on|into)|logins?|credentials?|authenticate|"
    r"zugangsdaten|anmelde(?:n|daten))\b[^.?!]{0,60}?(?:\b(?:with|as|using|are|is|mit|sind)\b|[:=])\s*"
    r"\S+\s*(?:[/:|,]|\band\b|\bund\b)\s*\S+",
    re.IGNORECASE,
)
_TOKENS = re.compile(
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{12,}|\bgh[pousr]_\w{16,}|\bgithub_pat_\w+|\bgl(?:pat|dt)-[\w-]{12,}|"
    r"\bxox[abprs]-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}|\bAIza[\w-]{20,}|\bhf_\w{16,}|\bnpm_\w{20,}|"
    r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:ssh-(?:rsa|ed25519)) AAAA|"
    r"\w+://[^\s:/@]+:[^\s@/]+@|\b[Bb]earer [\w.~+/-]{12,}"
)
"""Forms that keys and tokens of well-known services have."""
_RANDOM = re.compile(r"(?<![\w/.-])[A-Za-z0-9+/_-]{24,}={0,2}(?![\w/.-])")
_CARD = re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){11,18}(?![\w-])")
_CARD_SAID = re.compile(
    r"\b(?:credit|debit|bank|visa|master|amex|karten?|kreditkarten?)[- ]?(?:card|nummer|number|no)?\b.{0,40}?"
    r"(?:\d[ -]?){12,19}",
    re.IGNORECASE,
)
_ALONE = re.compile(
    r"^\W*(?:(?:it|that|this|which|the same)\b.{0,12}?(?:\b(?:is|was)\b|['’]s\b)|\S+(?:\s\S+)?\W*$)", re.IGNORECASE
)
"""The sentence after one that names a secret: "It is …", or nothing but a word or two."""


def card_number(text: str) -> bool:
    """Do the digits of a text have the check digit of payment cards (ISO/IEC 7812)?"""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def holds_secret(text: str) -> bool:
    """May a text give a secret away?

    >>> holds_secret("My PIN for the gate is 4711."), holds_secret("My password expires in May.")
    (True, False)
    """
    return len([*without_secrets(text)]) < len(sentences(text))


def without_secrets(text: str) -> Iterator[str]:
    """The sentences of a text that give no secret away."""
    named = False
    for sentence in sentences(text):
        if not (_gives_away(sentence) or (named and _ALONE.search(sentence))):
            yield sentence
        named = any(_names(sentence))


def _gives_away(sentence: str) -> bool:
    if _TOKENS.search(sentence) or _OPENS.search(sentence) or _LOGS_IN.search(sentence) or _CARD_SAID.search(sentence):
        return True
    if any(card_number(found[0]) for found in _CARD.finditer(sentence)) or any(map(_random, _RANDOM.findall(sentence))):
        return True
    return any(_says_which(sentence, name) for name in _names(sentence))


def _names(sentence: str) -> Iterator[re.Match[str]]:
    for name in _NAME.finditer(sentence):
        if not _ABOUT_ONE.match(sentence[name.end() :]):
            yield name


def _says_which(sentence: str, name: re.Match[str]) -> bool:
    before, after = sentence[: name.start()], sentence[name.end() :]
    chosen = len(sentence.split()) <= 3 or _CHOSEN.search(before)
    last = _LAST_WORD.match(after) if chosen else None
    return bool(_GIVES.match(after) or _CODE_LIKE.search(after) or _CODE_LIKE.search(before) or last)


def _random(word: str) -> bool:
    """Letters of both kinds and digits, or a long hexadecimal number, as in a key; not a path or an identifier."""
    mixed = all(re.search(kind, word) for kind in ("[a-z]", "[A-Z]", "[0-9]")) and "/" not in word
    return mixed or re.fullmatch(r"[0-9a-fA-F]{32,}", word) is not None
