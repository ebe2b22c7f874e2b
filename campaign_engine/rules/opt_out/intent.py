"""What a reply means for further messages: stop, perhaps stop, start again, or nothing of the kind.

There are two levels, because both mistakes cost. A person who asks to be left alone and gets the next campaign blocks
the number. A person who asks for help (“tem como parar a dor?”) and is never written to again is a lost customer.
So CERTAIN means that the whole message says it. LIKELY means that it is said among other things, and a person decides.

The words stand in tables by language (`lexicon`), in the form that `normalised` gives a text: lower case, no accents,
no marks, no emoji, one space between words, the spellings of chats written out.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from campaign_engine.rules.opt_out import lexicon

LONGEST = 1_000  # characters that are looked at; a longer message has more to say than stop


class Intent(StrEnum):
    """What a message means for those that would follow."""

    CERTAIN = "certain"  # opted out at once
    LIKELY = "likely"  # nothing is sent until a person has decided
    RESUME = "resume"  # wants to be written to again
    NONE = "none"


_RANK: Final = {Intent.NONE: 0, Intent.LIKELY: 1, Intent.RESUME: 2, Intent.CERTAIN: 3}


@dataclass(frozen=True, slots=True)
class Reading:
    """An intent, and the language it was said in; None if several languages have the word."""

    intent: Intent
    language: str | None = None


NOTHING: Final = Reading(Intent.NONE)


def read(text: str | None) -> Reading:
    """Return what a message in somebody's own words means."""
    return _read(text[:LONGEST]) if text else NOTHING


def read_button(text: str | None, payload: str | None) -> Reading:
    """Return what pressing a button means, by its words and its payload: a company wrote both, so both are clear."""
    said = read(text)
    if said.intent is Intent.CERTAIN or not payload:
        return said
    tokens = _plain(payload[:LONGEST]).split()
    if tokens[:1] and (tokens[0] in lexicon.PAYLOADS or " ".join(tokens[:2]) in lexicon.PAYLOADS):
        return Reading(Intent.CERTAIN, said.language)
    return _surest(said, read(payload))


def confirmation(language: str | None, *, phone_key: str, otherwise: str) -> str:
    """Return the text that confirms an opt-out, in `language`; if that is None, in the language of the number's
    country, or else of the installation (`otherwise`, such as `pt_BR`).
    """
    if language is None:
        codes = (phone_key[:length] for length in (3, 2))
        language = next((lexicon.LANGUAGE_OF[code] for code in codes if code in lexicon.LANGUAGE_OF), otherwise[:2])
    return lexicon.CONFIRMATIONS[language]


def normalised(text: str) -> str:
    """Return a text as the tables spell it: lower case, plain letters, chat spellings written out, no manners."""
    bare = _joined(_without(_plain(text), _MANNERS))
    return _without(_spelled(bare), _MANNERS)


@lru_cache(maxsize=4096)
def _read(text: str) -> Reading:
    whole = normalised(text)
    found = _whole(whole)
    if "?" in text:
        if found.intent is Intent.RESUME:
            return NOTHING
        if found.intent is Intent.CERTAIN and _keyword(whole) is not NOTHING:
            return Reading(Intent.LIKELY, found.language)  # “Cancelar?” asks what that would do.
    if found.intent is not Intent.NONE:
        return found
    sentences = [sentence for sentence in map(normalised, _SENTENCE_END.split(text)) if sentence]
    said = [_whole(sentence) for sentence in sentences]
    if len(said) > 1 and all(reading.intent in (Intent.CERTAIN, Intent.LIKELY) for reading in said):
        return _surest(*said)
    for sentence, reading in zip(sentences, said, strict=True):
        # One word among several may be about anything: “Parar. Pensar.”
        if reading.intent in (Intent.CERTAIN, Intent.LIKELY) and " " in sentence:
            return Reading(Intent.LIKELY, reading.language)
    return _within(_spelled(_plain(text)))


def _whole(text: str) -> Reading:
    """Return what a normalised text means as a whole."""
    found = _keyword(text)
    if found is not NOTHING:
        return found
    # “Não me mande agora” is about now; “pare agora” is not.
    hurried = not _NEGATIONS.isdisjoint(text.split()[:2])
    for form in (text,) if hurried else (text, _without(text, _HURRY)):
        if (found := _keyword(form)) is not NOTHING:
            return found
        for language, sentence in _SENTENCES.items():
            if sentence.fullmatch(form):
                return Reading(Intent.CERTAIN, language)
    return NOTHING


def _keyword(text: str) -> Reading:
    return _KEYWORDS.get(text, NOTHING)


def _within(text: str) -> Reading:
    """Return LIKELY when a longer message asks somewhere to be left alone, in words that mean nothing else."""
    for language, pattern in _WITHIN.items():
        for match in pattern.finditer(text):
            if _REVERSALS.isdisjoint(text[: match.start()].split()[-3:]):
                return Reading(Intent.LIKELY, language)
    return NOTHING


def _surest(*readings: Reading) -> Reading:
    return max(readings, key=lambda reading: _RANK[reading.intent])


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    # An apostrophe joins: don't is one word.
    kept = "".join(char for char in decomposed if unicodedata.category(char) != "Mn" and char not in "'’`´")
    return _joined(_LETTERS_THRICE.sub(r"\1", _NO_WORD.sub(" ", kept)).strip())


def _joined(plain: str) -> str:
    """Return “s t o p” as “stop”."""
    return _LETTERS_THRICE.sub(r"\1", plain.replace(" ", "")) if _SPACED_OUT.fullmatch(plain) else plain


def _spelled(plain: str) -> str:
    return " ".join(_SPELLINGS.get(word, word) for word in plain.split())


def _without(text: str, phrases: re.Pattern[str]) -> str:
    """Take phrases off both ends, as long as something else is left."""
    while (shorter := phrases.sub("", text).strip()) != text and shorter:
        text = shorter
    return text


def _at_the_ends(phrases: Collection[str]) -> re.Pattern[str]:
    either = "|".join(sorted(map(re.escape, phrases), key=len, reverse=True))
    return re.compile(rf"^(?:{either})(?= |$)|(?:^|(?<= ))(?:{either})$")


def _choice(phrases: Collection[str]) -> str:
    return f"(?:{'|'.join(phrases)})"


def _by_keyword() -> Mapping[str, Reading]:
    found: dict[str, Reading] = {}
    for intent, by_language in (
        (Intent.CERTAIN, lexicon.CERTAIN),
        (Intent.LIKELY, lexicon.LIKELY),
        (Intent.RESUME, lexicon.RESUME),
    ):
        for language, phrases in by_language.items():
            for phrase in phrases:
                # The same word in two languages says nothing of the language; its surest meaning counts.
                known = found.setdefault(phrase, Reading(intent, language))
                if known.language != language and known.intent is intent:
                    found[phrase] = Reading(intent, None)
    return found


_LETTERS_THRICE: Final = re.compile(r"([a-z])\1{2,}")
_SPACED_OUT: Final = re.compile(r"[a-z](?: [a-z]){2,}")
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")
_SENTENCE_END: Final = re.compile(r"[.!?;,:\n…¿¡]+|\s[-–—]+\s")
_SPELLINGS: Final = {short: full for full, shorts in lexicon.SPELLINGS.items() for short in shorts.split()}
_MANNERS: Final = _at_the_ends(lexicon.MANNERS)
_HURRY: Final = _at_the_ends(lexicon.HURRY)
_NEGATIONS: Final = frozenset(lexicon.NEGATIONS)
_REVERSALS: Final = frozenset(lexicon.NEGATIONS + lexicon.QUESTIONS)
_KEYWORDS: Final = _by_keyword()
# At most three ways of asking, what is asked, and then only words that go with it.
_SENTENCES: Final = {
    language: re.compile(
        f"(?:{_choice(lexicon.LEADS[language])} ){{0,3}}{_choice(asked)}"
        f"(?: {_choice(lexicon.TAILS[language].split())})*"
    )
    for language, asked in lexicon.SENTENCES.items()
}
_WITHIN: Final = {language: re.compile(rf"\b{_choice(phrases)}\b") for language, phrases in lexicon.WITHIN.items()}
