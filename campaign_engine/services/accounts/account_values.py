"""The values of an account, as a face gives them; what is left out is absent."""

from collections.abc import Sequence
from typing import TypedDict


class WarmUpValues(TypedDict, total=False):
    """How a new number begins; `started_at` is RFC 3339."""

    started_at: str
    ladder: Sequence[Sequence[int]]
    ends_on_day: int


class AccountValues(TypedDict, total=False):
    """The fields of `POST /accounts` and `PATCH /accounts/{id}`, each in its range; null goes back to the default."""

    name: str
    provider: str
    base_url: str | None
    phone_number_id: str
    instance: str | None
    access_token: str
    app_secret: str | None
    verify_token: str | None
    rate_limit: str | None
    burst: int | None
    max_in_flight: int | None
    message_interval_s: float | None
    longer_interval_after: int | None
    greater_interval_s: float | None
    portfolio: str | None
    daily_recipient_limit: int | None
    warm_up: WarmUpValues | None
