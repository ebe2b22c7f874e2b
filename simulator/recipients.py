"""Phone numbers as the wire sees them: what was asked for, who is reached, and who is the same person.

Written from the published rules of thumb and not from any library: only the real network knows for certain.
"""

import re
from dataclasses import dataclass

# What Meta tolerates in `to`: a plus, spaces, hyphens, parentheses. Dots are added for pasted numbers.
_SPELLING = re.compile(r"\+?[0-9][0-9 ().\-]*|\+?\([0-9][0-9 ().\-]*", re.ASCII)
_NOT_DIGITS = re.compile(r"[^0-9]")
# Business-scoped user id (docs/wire.md, Sending).
_USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[0-9A-Za-z]{1,128}", re.ASCII)

# Brazilian area codes whose WhatsApp accounts keep the ninth digit (rule of thumb of Green API and whapi).
_BR_KEEPS_NINE = frozenset([*(str(code) for code in range(11, 20)), "21", "22", "24", "27", "28"])


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a message is for: as the sender wrote it, as WhatsApp names the person, and the key of equal spellings.

    A recipient known by user id alone has no `digits` and no `wa_id`.
    """

    asked: str
    digits: str
    wa_id: str
    key: str
    user_id: str | None = None


def from_phone(written: str, country_code_without_plus: str = "") -> Recipient | None:
    """Return the recipient of a phone number, or None when it cannot be one."""
    spelled = written.strip()
    if not _SPELLING.fullmatch(spelled):
        return None
    digits = _NOT_DIGITS.sub("", spelled)
    if country_code_without_plus and not spelled.startswith("+"):
        digits = country_code_without_plus + digits
    if not 7 <= len(digits) <= 15 or digits[0] == "0":
        return None
    return Recipient(asked=written, digits=digits, wa_id=wa_id_of(digits), key=key_of(digits))


def from_user_id(user_id: str) -> Recipient | None:
    """Return the recipient of a business-scoped user id, who has no phone number on the wire."""
    if not _USER_ID.fullmatch(user_id):
        return None
    return Recipient(asked=user_id, digits="", wa_id="", key=user_id, user_id=user_id)


def wa_id_of(digits: str) -> str:
    """Return the id under which WhatsApp knows a number; it differs from the number in Brazil and Mexico."""
    if digits.startswith("55"):
        return _brazilian_wa_id(digits)
    if digits.startswith("52") and len(digits) == 12:
        return "521" + digits[2:]
    return digits


def _brazilian_wa_id(digits: str) -> str:
    area, subscriber = digits[2:4], digits[4:]
    keeps_nine = area in _BR_KEEPS_NINE
    if len(subscriber) == 9 and subscriber[0] == "9" and not keeps_nine and subscriber[1] >= "6":
        return f"55{area}{subscriber[1:]}"
    if len(subscriber) == 8 and subscriber[0] >= "6" and keeps_nine:
        return f"55{area}9{subscriber}"
    return digits


def key_of(digits: str) -> str:
    """Return the key that all spellings of one person's number share (docs/wire.md, Phone numbers)."""
    if digits.startswith("55"):
        subscriber = digits[4:]
        if len(subscriber) == 9 and subscriber[0] == "9" and subscriber[1] >= "6":
            return digits[:4] + subscriber[1:]
    elif digits.startswith("521") and len(digits) == 13:
        return "52" + digits[3:]
    elif digits.startswith("549") and len(digits) == 13:
        return "54" + digits[3:]
    return digits
