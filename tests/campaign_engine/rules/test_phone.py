"""Phone numbers: every spelling people use, every way to be none, and one identity per WhatsApp account."""

import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from campaign_engine.rules.phone import (
    FAULT_SENTENCES,
    InvalidPhone,
    PhoneFault,
    UnknownRegion,
    key_of,
    parse_phone,
)

AREA_CODES = [
    *(
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        18,
        19,
        21,
        22,
        24,
        27,
        28,
        31,
        32,
        33,
        34,
        35,
        37,
        38,
        41,
        42,
        43,
        44,
        45,
        46,
    ),
    *(
        47,
        48,
        49,
        51,
        53,
        54,
        55,
        61,
        62,
        63,
        64,
        65,
        66,
        67,
        68,
        69,
        71,
        73,
        74,
        75,
        77,
        79,
        81,
        82,
        83,
        84,
        85,
    ),
    *(86, 87, 88, 89, 91, 92, 93, 94, 95, 96, 97, 98, 99),
]
area_codes = st.sampled_from(AREA_CODES)
eight_digits = st.integers(0, 99_999_999).map(lambda number: f"{number:08}")


@pytest.mark.parametrize(
    ("text", "region", "e164"),
    [
        # As it should be written, and as it is.
        ("+5511900000001", None, "+5511900000001"),
        ("+55 11 90000-0001", None, "+5511900000001"),
        ("+55 (11) 90000-0001", "US", "+5511900000001"),
        ("(11) 90000-0001", "BR", "+5511900000001"),
        ("11 9 0000 0001", "BR", "+5511900000001"),
        ("11/90000-0001", "BR", "+5511900000001"),
        ("11.90000.0001", "BR", "+5511900000001"),
        ("  11900000001\t", "BR", "+5511900000001"),
        ("11900000001;", "BR", "+5511900000001"),
        # The country code without its plus sign; area code 55 is Santa Maria.
        ("5511900000001", "BR", "+5511900000001"),
        ("55900000001", "BR", "+5555900000001"),
        ("5555900000001", "BR", "+5555900000001"),
        ("551100000001", "BR", "+551100000001"),
        ("5491100000001", "AR", "+5491100000001"),
        ("12025550101", "US", "+12025550101"),
        ("4915123456789", "DE", "+4915123456789"),
        ("62812345678", "ID", "+62812345678"),
        # Trunk zero, carrier codes, prefixes for calls abroad.
        ("011 90000-0001", "BR", "+5511900000001"),
        ("(0xx11) 90000-0001", "BR", "+5511900000001"),
        ("0 15 11 90000-0001", "BR", "+5511900000001"),
        ("+55 (0) 11 90000-0001", None, "+5511900000001"),
        ("0055 11 90000-0001", None, "+5511900000001"),
        ("0055 11 90000-0001", "BR", "+5511900000001"),
        ("0055 11 90000-0001", "US", "+5511900000001"),
        ("0055 11 90000-0001", "CO", "+5511900000001"),
        ("+0055 11 90000-0001", None, "+5511900000001"),
        ("011 55 11 90000-0001", "US", "+5511900000001"),
        ("0011 55 11 90000-0001", "AU", "+5511900000001"),
        # What spreadsheets, browsers and telephones add.
        ("'+5511900000001", "BR", "+5511900000001"),
        ('="5511900000001"', "BR", "+5511900000001"),
        ("5511900000001.0", "BR", "+5511900000001"),
        ("5511900000001,00", "BR", "+5511900000001"),
        ("tel:+55-11-90000-0001", None, "+5511900000001"),
        ("whatsapp:+5511900000001", None, "+5511900000001"),
        ("https://wa.me/5511900000001?text=oi", None, "+5511900000001"),
        ("api.whatsapp.com/send?phone=5511900000001&text=oi", None, "+5511900000001"),
        ("+55\u00a011\u00a090000\u201100\u200b01", None, "+5511900000001"),
        ("\u202a+55 11 90000-0001\u202c", None, "+5511900000001"),
        (
            "+\uff15\uff15\u3000\uff08\uff11\uff11\uff09\uff19\uff10\uff10\uff10\uff10\uff0d\uff10001",
            "BR",
            "+5511900000001",
        ),
        ("\u0661\u0661\u0669\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661", "BR", "+5511900000001"),
        # Mexico: the mobile 1 and the trunk codes that ended in 2019 (docs/wire.md, Phone numbers).
        ("+52 55 0000 0001", None, "+525500000001"),
        ("+52 1 55 0000 0001", None, "+525500000001"),
        ("5215500000001", "MX", "+525500000001"),
        ("+52 044 55 0000 0001", None, "+525500000001"),
        ("045 55 0000 0001", "MX", "+525500000001"),
        ("01 55 0000 0001", "MX", "+525500000001"),
        # Argentina: 15 becomes 9, and a missing 9 cannot be guessed.
        ("011 15-2345-6789", "AR", "+5491123456789"),
        ("11 2345-6789", "AR", "+541123456789"),
        # Elsewhere.
        ("910 000 001", "PT", "+351910000001"),
        ("+1 (202) 555-0101", "BR", "+12025550101"),
        ("+39 06 698 12345", None, "+390669812345"),
        ("+800 1234 5678", None, "+80012345678"),
    ],
)
def test_a_number_is_understood_as_people_write_it(text: str, region: str | None, e164: str) -> None:
    assert parse_phone(text, default_region=region).e164 == e164


@pytest.mark.parametrize(
    ("text", "region", "reason"),
    [
        ("", "BR", "empty"),
        (" \u00a0\t", "BR", "empty"),
        ("'", "BR", "empty"),
        ("-", "BR", "empty"),
        ("a confirmar", "BR", "letters"),
        ("11 90000-0001 (Ana)", "BR", "letters"),
        ("11 90000-0001 ramal 12", "BR", "letters"),
        ("1-800-FLOWERS", "US", "letters"),
        ("#N/A", "BR", "letters"),
        ("#11900000001", "BR", "unexpected_characters"),
        ("11 90000-0001+", "BR", "unexpected_characters"),
        ("11\x00900000001", "BR", "unexpected_characters"),
        ("5,51198E+12", "BR", "scientific_notation"),
        ("5.51198e12", None, "scientific_notation"),
        ("11 90000-0001 / 11 90000-0002", "BR", "several_numbers"),
        ("11 90000-0001/0002", "BR", "several_numbers"),
        ("11900000001,11900000002", "BR", "several_numbers"),
        ("11900000001 11900000002", "BR", "several_numbers"),
        ("11 90000-0001 ou 90000-0002", "BR", "several_numbers"),
        ("+5511900000001 +5511900000002", None, "several_numbers"),
        ("+351910000001+351910000002", None, "several_numbers"),
        ("11900000001\n11900000002", "BR", "several_numbers"),
        ("11900000001", None, "no_country"),
        ("5511900000001", None, "no_country"),
        ("+999 123 456 789", None, "unknown_country"),
        ("+0 11 90000-0001", None, "unknown_country"),
        ("90000-0001", "BR", "area_code_missing"),
        ("98765-4321", "BR", "area_code_missing"),
        ("4004-1234", "BR", "area_code_missing"),
        ("555-0101", "US", "area_code_missing"),
        ("1", "BR", "too_short"),
        ("+", "BR", "too_short"),
        ("11 9000", "BR", "too_short"),
        ("+351 91", None, "too_short"),
        ("+55 11 90000-00011", None, "too_long"),
        ("351910000001", "BR", "too_long"),
        ("1" * 100, "BR", "too_long"),
        ("1" * 1_000_000, "BR", "too_long"),
        ("+800 1234 567", None, "too_short"),
        ("+65 8123 45678", None, "not_possible"),
    ],
)
def test_what_is_no_number_is_refused_with_its_reason(text: str, region: str | None, reason: str) -> None:
    with pytest.raises(InvalidPhone) as refusal:
        parse_phone(text, default_region=region)
    assert refusal.value.reason == reason
    assert FAULT_SENTENCES[PhoneFault(reason)] == str(refusal.value)


def test_every_fault_has_a_sentence_of_its_own() -> None:
    assert set(FAULT_SENTENCES) == set(PhoneFault)
    assert len(set(FAULT_SENTENCES.values())) == len(PhoneFault)


@pytest.mark.parametrize("region", ["", "XX", "br", "Brazil", "001"])
def test_a_default_region_that_does_not_exist_is_the_callers_mistake(region: str) -> None:
    with pytest.raises(UnknownRegion, match="ISO 3166") as refusal:
        parse_phone("+5511900000001", default_region=region)
    assert not isinstance(refusal.value, InvalidPhone)


@pytest.mark.parametrize(
    "text",
    [
        "+5511900000001",
        "+551198765432",  # without its ninth digit, as WhatsApp itself writes many Brazilian accounts
        "+551132000001",  # a land line
        "+551100000001",  # in no numbering plan, as the two that follow
        "+5510900000001",  # there is no area 10
        "+15550000101",
        "+390669812345",  # the Vatican, in Italy's plan
        "+80012345678",  # of no country
    ],
)
def test_a_possible_number_is_taken_whether_or_not_it_is_valid(text: str) -> None:
    assert parse_phone(text, default_region=None).e164 == text


# --- The short way for Brazilian mobiles is the library's way.


def by_the_library(text: str, region: str | None) -> tuple[str, bool]:
    number = phonenumbers.parse(text, region)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return e164, phonenumbers.is_valid_number(number)


@pytest.mark.parametrize("area", [str(area) for area in range(10, 100)])
def test_brazilian_mobiles_are_read_as_the_library_reads_them_in_every_area(area: str) -> None:
    is_assigned = int(area) in AREA_CODES
    for subscriber in ("900000001", "911111111", "923456789", "934567890", "987654321", "999999999"):
        text = f"+55{area}{subscriber}"
        try:
            phone = parse_phone(text, default_region=None)
        except InvalidPhone:
            assert not is_assigned
            continue
        assert (phone.e164, is_assigned) == by_the_library(text, None)


@given(area=area_codes, subscriber=eight_digits)
def test_the_short_way_agrees_with_the_library_in_each_spelling(area: int, subscriber: str) -> None:
    for text, region in (
        (f"+55{area}9{subscriber}", None),
        (f"+55{area}9{subscriber}", "US"),
        (f"55{area}9{subscriber}", "BR"),
        (f"{area}9{subscriber}", "BR"),
    ):
        assert (parse_phone(text, default_region=region).e164, True) == by_the_library(text, region)


def test_mobiles_of_all_countries_are_understood_in_each_spelling() -> None:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if number is None:
            continue
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        for form in (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.NATIONAL):
            spelling = phonenumbers.format_number(number, form)
            assert parse_phone(spelling, default_region=region).e164 == e164
        assert parse_phone(f"00{e164[1:]}", default_region=None).e164 == e164
        assert parse_phone(e164[1:], default_region=region).e164 == e164


# --- Properties.

phonelike = st.text(alphabet="0123456789+-() ./,;exEX\u00a0'\"=\uff11", max_size=30)


@given(
    text=st.one_of(st.text(max_size=40), phonelike),
    region=st.sampled_from([None, "BR", "MX", "AR", "US", "IT"]),
)
def test_any_text_is_a_number_or_refused_and_a_number_reads_as_itself(text: str, region: str | None) -> None:
    try:
        phone = parse_phone(text, default_region=region)
    except InvalidPhone as refusal:
        assert refusal.reason in PhoneFault
        return
    assert phone.e164.startswith("+") and phone.e164[1:].isdecimal() and phone.e164.isascii()
    assert parse_phone(phone.e164, default_region=region) == phone
    assert parse_phone(phone.e164, default_region=None) == phone
    assert phone.key == key_of(phone.e164) == key_of(phone.e164[1:])


@given(area=area_codes, subscriber=eight_digits)
def test_a_brazilian_mobile_has_one_key_with_and_without_its_ninth_digit(area: int, subscriber: str) -> None:
    with_ninth, without = f"+55{area}9{subscriber}", f"+55{area}{subscriber}"
    if subscriber[0] in "2345":
        # What is left without the 9 is a land line, another person's.
        assert key_of(with_ninth) != key_of(without)
    else:
        assert key_of(with_ninth) == key_of(without) == without[1:]


@given(area=area_codes, subscriber=eight_digits, other=eight_digits)
def test_two_brazilian_numbers_share_a_key_only_when_they_are_one_person(
    area: int, subscriber: str, other: str
) -> None:
    assume(subscriber != other)
    assert key_of(f"55{area}9{subscriber}") not in {key_of(f"55{area}9{other}"), key_of(f"55{area}{other}")}


@given(digits=st.from_regex(r"[0-9]{1,15}", fullmatch=True))
def test_the_key_of_a_key_is_itself(digits: str) -> None:
    assert key_of(key_of(digits)) == key_of(digits) == key_of(f"+{digits}")


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("+5511987654321", "551187654321"),
        ("551187654321", "551187654321"),  # how WhatsApp's wa_id often is
        ("+551132000001", "551132000001"),
        ("+5511932000001", "5511932000001"),
        ("+525500000001", "525500000001"),
        ("5215500000001", "525500000001"),
        ("+5491100000001", "541100000001"),
        ("541100000001", "541100000001"),
        ("+12025550101", "12025550101"),
        ("+5218", "5218"),
    ],
)
def test_all_spellings_of_a_number_have_one_key(spelling: str, key: str) -> None:
    assert key_of(spelling) == key


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("+", "empty"),
        ("BR.1234567890", "unexpected_characters"),  # a business-scoped user id
        ("5511987654321@s.whatsapp.net", "unexpected_characters"),
        ("\uff15\uff15", "unexpected_characters"),
        ("1" * 16, "too_long"),
    ],
)
def test_what_is_no_number_has_no_key(text: str, reason: str) -> None:
    with pytest.raises(InvalidPhone) as refusal:
        key_of(text)
    assert refusal.value.reason == reason
