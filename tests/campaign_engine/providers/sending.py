"""Sending by the Cloud API's adapter, and what holds for every outcome."""

from collections.abc import Mapping
from typing import Any

from campaign_engine.providers.base import Outcome, Outgoing, Refused, Sender
from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.rules.failures import ErrorClass
from tests.campaign_engine.providers.wire import Behaviour, serving
from tests.simulator import running

TOKEN = running.TOKEN
NUMBER = running.PHONE_NUMBER_ID
TEXT = {"type": "text", "text": {"body": "Olá, Conceição 🎉"}}


def outgoing(to: str = "+5511900000001", content: Mapping[str, Any] = TEXT, callback_data: str = "m-1") -> Outgoing:
    return Outgoing(to=to, content=content, callback_data=callback_data)


def sender(base_url: str, *, number: str = NUMBER, secret: str = TOKEN) -> Sender:
    return Sender(account_id=7, base_url=base_url, number=number, secret=secret)


def send(api: CloudApi, to: Sender, message: Outgoing | None = None) -> Outcome:
    """Send, and check what holds for every outcome: it can be shown to anybody."""
    outcome = api.send(to, message or outgoing())
    assert to.secret not in repr(outcome)
    assert "127.0.0.1" not in repr(outcome)
    return outcome


def sent_to(behave: Behaviour, *, timeout_s: float = 60, reads: bool = True) -> Outcome:
    with serving(behave, reads=reads) as server:
        outcome = send(CloudApi(version="v26.0", timeout_s=timeout_s), sender(server.url))
        assert len(server.requests) == 1, "nothing is ever sent twice"
        return outcome


def refusal(outcome: Outcome) -> tuple[ErrorClass, str]:
    assert isinstance(outcome, Refused), outcome
    return outcome.failure.error_class, outcome.failure.code
