"""The registered business numbers: who may send, and where the webhooks of each go."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from simulator import checks
from simulator.errors import InvalidField
from simulator.fields import Fields, checked

DEFAULT_WABA_ID = "100000000000001"

QUALITY_RATINGS = ("GREEN", "YELLOW", "RED", "UNKNOWN", "NA")
STATUSES = (
    "CONNECTED", "PENDING", "DISCONNECTED", "FLAGGED", "RESTRICTED", "RATE_LIMITED", "BANNED", "DELETED",
    "MIGRATED", "UNLINKED", "LINKED",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """One business phone number. `quality_rating` and `status` are shown by its node and stop nothing."""

    phone_number_id: str
    access_token: str
    app_secret: str = ""
    webhook_url: str | None = None
    display_phone_number: str = ""
    verified_name: str = "Simulated Company"
    waba_id: str = DEFAULT_WABA_ID
    throughput_per_s: float | None = None
    quality_rating: str = "GREEN"
    status: str = "CONNECTED"
    refuse_code: int | None = None

    def public(self) -> dict[str, object]:
        """Return everything but the secrets."""
        shown = asdict(self)
        del shown["access_token"], shown["app_secret"]
        shown["has_app_secret"] = bool(self.app_secret)
        return shown


class Numbers:
    """The registry, by phone number id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Number] = {}
        self._tokens: set[str] = set()

    def __iter__(self) -> Iterator[Number]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, phone_number_id: str) -> Number | None:
        return self._by_id.get(phone_number_id)

    def knows_token(self, token: str) -> bool:
        return token in self._tokens

    def of_waba(self, waba_id: str) -> list[Number]:
        return [number for number in self if number.waba_id == waba_id]

    def put(self, number: Number) -> None:
        self._by_id[number.phone_number_id] = number
        self._tokens = {each.access_token for each in self._by_id.values()}

    def clear(self) -> None:
        self._by_id.clear()
        self._tokens.clear()

    def remove(self, phone_number_id: str) -> bool:
        removed = self._by_id.pop(phone_number_id, None) is not None
        self._tokens = {each.access_token for each in self._by_id.values()}
        return removed


def registered(known: Number | None, fields: Mapping[str, object]) -> Number:
    """Return the number of these fields, or a known one changed by them; a field that is absent keeps its value.

    Raises InvalidField.
    """
    needed = () if known else ("phone_number_id", "access_token")
    values = checked(fields, _FIELDS, owner="a number", needed=needed)
    number = replace(known, **values) if known else Number(**values)
    if number.webhook_url and not number.app_secret:
        raise InvalidField("app_secret", "is required with a webhook_url: webhooks are signed with it")
    if not number.display_phone_number:
        # A fictional number of the North American 555 range, different for each id.
        number = replace(number, display_phone_number="1555" + number.phone_number_id[-7:].zfill(7))
    return number


def restored(stored: Mapping[str, Any]) -> Number:
    """Return a number that the journal holds."""
    return Number(**stored)


_FIELDS: Fields = {
    "phone_number_id": (checks.digits, False),
    "access_token": (checks.text, False),
    "app_secret": (checks.text, False),
    "webhook_url": (checks.url, True),
    "display_phone_number": (checks.phone, False),
    "verified_name": (checks.text, False),
    "waba_id": (checks.digits, False),
    "throughput_per_s": (checks.number, True),
    "quality_rating": (checks.one_of(*QUALITY_RATINGS), False),
    "status": (checks.one_of(*STATUSES), False),
    "refuse_code": (checks.code, True),
}
