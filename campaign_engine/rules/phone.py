"""Phone numbers as people and spreadsheets write them, made into one form and one identity.

    InvalidPhone(ValueError)      the text is not a number to send to; `reason` is a PhoneFault
    UnknownRegion(ValueError)     the default region is not an ISO 3166 code that `phonenumbers` knows

The rules (docs/wire.md, Phone numbers) were tried with `phonenumbers` 9.0.43: being *possible* is the gate, not being
*valid*, because WhatsApp still knows Brazilians by eight digits that the numbering plan has retired. No sentence
repeats the number: it may reach a log.
"""

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberType, ValidationResult


class PhoneFault(StrEnum):
    """Why a text is not a number; stable values, said to a person by `FAULT_SENTENCES`."""

    EMPTY = "empty"
    LETTERS = "letters"
    UNEXPECTED_CHARACTERS = "unexpected_characters"
    SCIENTIFIC_NOTATION = "scientific_notation"  # a spreadsheet rounded it; the lost digits cannot be known
    SEVERAL_NUMBERS = "several_numbers"  # choosing one of them would be a guess
    NO_COUNTRY = "no_country"  # neither a country code in the text nor a default region
    UNKNOWN_COUNTRY = "unknown_country"
    AREA_CODE_MISSING = "area_code_missing"  # complete only for a neighbour: 98765-4321
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NOT_POSSIBLE = "not_possible"  # a length that lies between two that exist in that country


FAULT_SENTENCES: Final[dict[PhoneFault, str]] = {
    PhoneFault.EMPTY: "The phone number is empty.",
    PhoneFault.LETTERS: "The phone number contains letters.",
    PhoneFault.UNEXPECTED_CHARACTERS: "The phone number contains characters that do not belong in one.",
    PhoneFault.SCIENTIFIC_NOTATION: (
        "The spreadsheet turned the phone number into scientific notation (such as 5,51198E+12) and its "
        "digits are lost: format the column as text, fill in the numbers again and save the file again."
    ),
    PhoneFault.SEVERAL_NUMBERS: "Several phone numbers in one cell: leave one, or give each its own row.",
    PhoneFault.NO_COUNTRY: (
        "The phone number has no country code: begin it with + and that code, or choose a default country."
    ),
    PhoneFault.UNKNOWN_COUNTRY: "The phone number begins with a country code that does not exist.",
    PhoneFault.AREA_CODE_MISSING: "The area code of the phone number is missing.",
    PhoneFault.TOO_SHORT: "The phone number is too short for its country.",
    PhoneFault.TOO_LONG: (
        "The phone number is too long for its country; if it belongs to another country, begin it with +."
    ),
    PhoneFault.NOT_POSSIBLE: "No phone number of its country has this many digits.",
}


class InvalidPhone(ValueError):
    """The text is not a number that a message can be sent to."""

    def __init__(self, reason: PhoneFault) -> None:
        super().__init__(FAULT_SENTENCES[reason])
        self.reason = reason


class UnknownRegion(ValueError):
    """The default region is not one that `phonenumbers` knows; the caller's mistake, not the row's."""

    def __init__(self, region: str) -> None:
        super().__init__(f"{region!r} is no region: give two capital letters as in ISO 3166, such as BR.")


@dataclass(frozen=True, slots=True)
class Phone:
    """One number: where to send (`e164`, with the plus sign) and whom it reaches (`key`, see `key_of`)."""

    e164: str
    key: str


# A Brazilian mobile number in full, with or without its country code: most rows we see. This reads it 17 times faster
# than the library. The area codes are those of the library's metadata; a test holds that both ways read alike.
_BRAZILIAN_MOBILE: Final = re.compile(r"(?:\+?55)?((?:[14689][1-9]|2[12478]|3[1-578]|5[13-5]|7[13-579])9[0-9]{8})")

# What spreadsheets put around a number to keep it a text: '5511..., ="5511..."
_WRAPPING: Final = " \t\r\n\f\v'\"`´‘’“”="
_PUNCTUATION: Final = re.compile(r"[\s\-‐-―−().\[\]/,;|·•_~]+")
_SEPARATOR: Final = re.compile(r"[/,;|\n]|\s(?:e|y|o|u|ou|or|and|&)\s", re.I)
_NOT_A_DIGIT: Final = re.compile(r"[^0-9]+")

_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9](?:[.,][0-9]*)?e\+?[0-9]+", re.I)
_SCHEME: Final = re.compile(r"^(?:tel|whatsapp):", re.I)
_LINK: Final = re.compile(
    r"(?:https?://)?(?:www\.)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)\+?([0-9]+)(?:[/?&#].*)?",
    re.I | re.S,
)
# A number column exported as 5511987654321.0, and the Brazilian habit (0xx11) 98765-4321.
_FLOAT_TAIL: Final = re.compile(r"(\+?[0-9]{7,})[.,]0{1,2}")
_CARRIER_PLACEHOLDER: Final = re.compile(r"^\(?0?xx\s*(?=\(?[0-9]{2})", re.I)

# Mexico's mobile 1 after 52 and its trunk codes, abolished in 2019.
_OLD_MEXICAN: Final = re.compile(r"\+52(?:1|01|04[45])([0-9]{10})")
_OLD_MEXICAN_IN_MEXICO: Final = re.compile(r"(?:521|(?:52)?(?:01|04[45]))([0-9]{10})")

_LONGEST_NUMBER: Final = 15  # digits; ITU-T E.164 (11/2010), 6.1
_SUBSCRIBER_DIGITS: Final = 7  # fewer before a separator are an area or country code: 11/98765-4321


def parse_phone(text: str, *, default_region: str | None) -> Phone:
    """Read one number as a person or a spreadsheet wrote it.

    `default_region` ("BR") is the country of numbers without a country code; None makes the code compulsory.
    Understood: +, 00, punctuation, spaces and digits of any script, a leading apostrophe, ="...", tel:, wa.me
    links, a Brazilian carrier code, the default region's country code without +, Mexico's old prefixes.

    Raises InvalidPhone, and UnknownRegion for a default region that does not exist.
    """
    if default_region is not None and default_region not in phonenumbers.SUPPORTED_REGIONS:
        raise UnknownRegion(default_region)
    if phone := _quickly(text, default_region):
        return phone
    digits = _respell(_compact(_unwrap(text)), default_region)
    if default_region is None and not digits.startswith("+"):
        raise InvalidPhone(PhoneFault.NO_COUNTRY)
    return _quickly(digits, default_region) or _by_the_library(digits, default_region)


def key_of(e164_or_wa_id: str) -> str:
    """Return the identity that all spellings of one WhatsApp account share: digits, without a plus sign.

    As in docs/wire.md, Phone numbers: Brazil without the ninth digit of mobiles, Mexico without the 1 after 52,
    Argentina without the 9 after 54. The ninth digit stays where the other eight would be a Brazilian land
    line (first digit 2 to 5), which is another person's.

    Raises InvalidPhone when the text is not 1 to 15 digits with an optional plus sign.
    """
    digits = e164_or_wa_id.removeprefix("+")
    if not digits:
        raise InvalidPhone(PhoneFault.EMPTY)
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidPhone(PhoneFault.UNEXPECTED_CHARACTERS)
    if len(digits) > _LONGEST_NUMBER:
        raise InvalidPhone(PhoneFault.TOO_LONG)
    if len(digits) == 13:
        if digits.startswith("55") and digits[4] == "9" and digits[5] not in "2345":
            return digits[:4] + digits[5:]
        if digits.startswith(("521", "549")):
            return digits[:2] + digits[3:]
    return digits


def key_or_none(e164_or_wa_id: str) -> str | None:
    """Return what `key_of` returns, or None where it raises: for the id of a person who hides the number."""
    with suppress(InvalidPhone):
        return key_of(e164_or_wa_id)
    return None


def _quickly(digits: str, region: str | None) -> Phone | None:
    mobile = _BRAZILIAN_MOBILE.fullmatch(digits)
    if mobile is None or not (region == "BR" or digits.startswith("+")):
        return None
    e164 = f"+55{mobile[1]}"
    return Phone(e164, key_of(e164))


def _unwrap(text: str) -> str:
    """Take the number out of quotes, a link or a scheme; refuse a text that certainly is no number."""
    if not text.isascii():
        # Full-width forms become plain; marks of writing direction, joiners and BOMs (category Cf) disappear;
        # the digits of other scripts become ours.
        text = "".join(
            str(unicodedata.decimal(char)) if char.isdecimal() else char
            for char in unicodedata.normalize("NFKC", text)
            if unicodedata.category(char) != "Cf"
        )
    text = text.strip(_WRAPPING)
    if not text:
        raise InvalidPhone(PhoneFault.EMPTY)
    if _SCIENTIFIC.fullmatch(text):
        raise InvalidPhone(PhoneFault.SCIENTIFIC_NOTATION)
    if link := _LINK.fullmatch(text):
        return f"+{link[1]}"
    if plain := _FLOAT_TAIL.fullmatch(text):
        return plain[1]
    return _CARRIER_PLACEHOLDER.sub("0", _SCHEME.sub("", text))


def _compact(text: str) -> str:
    """Reduce to digits with at most one plus sign in front."""
    if _holds_several(text):
        raise InvalidPhone(PhoneFault.SEVERAL_NUMBERS)
    compact = _PUNCTUATION.sub("", text)
    if not compact:
        raise InvalidPhone(PhoneFault.EMPTY)
    digits = compact.removeprefix("+")
    if digits.isdecimal():
        return compact
    if any(char.isalpha() for char in compact):
        raise InvalidPhone(PhoneFault.LETTERS)
    raise InvalidPhone(PhoneFault.TOO_SHORT if not digits else PhoneFault.UNEXPECTED_CHARACTERS)


def _holds_several(text: str) -> bool:
    if text.count("+") > 1:
        return True
    counts = [count for part in _SEPARATOR.split(text) if (count := len(_NOT_A_DIGIT.sub("", part)))]
    if any(count >= _SUBSCRIBER_DIGITS for count in counts[:-1]):
        return True
    return sum(len(_NOT_A_DIGIT.sub("", part)) >= 10 for part in text.split()) > 1


def _respell(digits: str, region: str | None) -> str:
    """Rewrite what the library does not understand any more, or understands wrongly."""
    if digits.startswith("+00"):
        digits = "+" + digits[3:]
    elif digits.startswith("00") and _double_zero_is_plus(region):
        digits = "+" + digits[2:]
    spelling = _OLD_MEXICAN_IN_MEXICO if region == "MX" and not digits.startswith("+") else _OLD_MEXICAN
    old = spelling.fullmatch(digits)
    return f"+52{old[1]}" if old else digits


@lru_cache(maxsize=256)
def _double_zero_is_plus(region: str | None) -> bool:
    """Say whether 00 means + in numbers written in `region`.

    It does nearly everywhere. Where a carrier code follows it (Brazil, Colombia) people still write the plain
    00, and the library takes the country code for the carrier's. Where 00 only begins a longer prefix (0011
    in Australia, 001 in Thailand) the library knows better.
    """
    if region is None or region in ("BR", "CO"):
        return True
    metadata = PhoneMetadata.metadata_for_region(region)
    prefix = (metadata.international_prefix if metadata else None) or "00"
    return not prefix.startswith("00") or re.fullmatch(prefix, "00") is not None


_FAULT_OF_PARSING: Final = {
    NumberParseException.INVALID_COUNTRY_CODE: PhoneFault.UNKNOWN_COUNTRY,
    NumberParseException.NOT_A_NUMBER: PhoneFault.TOO_SHORT,  # letters are gone by now: it is a digit or two
    NumberParseException.TOO_SHORT_AFTER_IDD: PhoneFault.TOO_SHORT,
    NumberParseException.TOO_SHORT_NSN: PhoneFault.TOO_SHORT,
    NumberParseException.TOO_LONG: PhoneFault.TOO_LONG,
}
_FAULT_OF_LENGTH: Final = {
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: PhoneFault.AREA_CODE_MISSING,
    ValidationResult.INVALID_COUNTRY_CODE: PhoneFault.UNKNOWN_COUNTRY,
    ValidationResult.TOO_SHORT: PhoneFault.TOO_SHORT,
    ValidationResult.TOO_LONG: PhoneFault.TOO_LONG,
    ValidationResult.INVALID_LENGTH: PhoneFault.NOT_POSSIBLE,
}


def _by_the_library(digits: str, region: str | None) -> Phone:
    number = _possible_number(digits, region)
    if region and digits.startswith(str(phonenumbers.country_code_for_region(region))):
        number = _mobile_of_the_two(number, digits)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Phone(e164, key_of(e164))


def _possible_number(digits: str, region: str | None) -> phonenumbers.PhoneNumber:
    try:
        number = phonenumbers.parse(digits, region)
    except NumberParseException as failure:
        raise InvalidPhone(_FAULT_OF_PARSING[failure.error_type]) from None
    length = phonenumbers.is_possible_number_with_reason(number)
    if length != ValidationResult.IS_POSSIBLE:
        raise InvalidPhone(_FAULT_OF_LENGTH[length])
    if _is_local_only(number):
        raise InvalidPhone(PhoneFault.AREA_CODE_MISSING)
    return number


def _mobile_of_the_two(national: phonenumbers.PhoneNumber, digits: str) -> phonenumbers.PhoneNumber:
    """Choose between two readings of digits without a plus: a national number, or one that begins with its code.

    In Indonesia 62812345678 may be a land line of area 62 or the mobile +62 812345678, which has WhatsApp.
    """
    if phonenumbers.number_type(national) == PhoneNumberType.MOBILE:
        return national
    try:
        international = _possible_number(f"+{digits}", None)
    except InvalidPhone:
        return national
    is_mobile = phonenumbers.number_type(international) == PhoneNumberType.MOBILE
    return international if is_mobile else national


def _is_local_only(number: phonenumbers.PhoneNumber) -> bool:
    """Say whether a number of this length is complete only within one area.

    To the library +55 98765-4321 is possible, and +55 90000-0001 even valid, because Brazil has service
    numbers of eight and nine digits (4004-1234, 0900). Among contacts they lack their area code.
    """
    lengths = {
        phonenumbers.is_possible_number_for_type_with_reason(number, kind)
        for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE)
    }
    return ValidationResult.IS_POSSIBLE not in lengths and ValidationResult.IS_POSSIBLE_LOCAL_ONLY in lengths
