"""The registered business numbers: who may send, and where the webhooks of each go."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from simulator import checks
from simulator.errors import InvalidField
from simulator.fields import Fields, checked
from simulator.state.lines import Lines

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


class Numbers(Lines[Number]):
    """The registry of numbers, which also finds them by token and by WABA."""

    def knows_token(self, token: str) -> bool:
        return any(number.access_token == token for number in self._by_name.values())

    def of_waba(self, waba_id: str) -> list[Number]:
        return [number for number in self if number.waba_id == waba_id]


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
