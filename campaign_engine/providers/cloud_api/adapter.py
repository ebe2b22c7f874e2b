"""Meta's WhatsApp Cloud API over pooled connections."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import requests

from campaign_engine.config import Config
from campaign_engine.providers.base import (
    UNLIMITED,
    Accepted,
    Failure,
    Health,
    Inbound,
    Lost,
    Notice,
    Outcome,
    Outgoing,
    Refused,
    Sender,
    StatusUpdate,
    Traits,
)
from campaign_engine.providers.cloud_api import webhooks
from campaign_engine.providers.cloud_api.door import DOOR
from campaign_engine.providers.cloud_api.errors import MARKETING_REFUSED, MAY_HAVE_LEFT, classify
from campaign_engine.providers.cloud_api.traits import TRAITS
from campaign_engine.providers.direct import Answer
from campaign_engine.providers.doors import Door
from campaign_engine.providers.http import (
    NETWORK_FAULTS,
    AnyAnswer,
    PooledHttp,
    json_object_of,
    reason_of,
    retry_after_s,
)
from campaign_engine.providers.values import object_of, objects_of, text_of
from campaign_engine.rules.failures import ErrorClass

_NO_SUCH_OBJECT_SUBCODE = 33  # beside code 100: the number itself is gone (docs/wire.md, Errors)
HEALTH_FIELDS = (
    "id,display_phone_number,verified_name,quality_rating,status,throughput,whatsapp_business_manager_messaging_limit,"
    "health_status"
)


class CloudApi:
    """The adapter of one process; its connections are kept alive between messages and shared by its threads.

    `base_url` is where accounts without an address of their own send.
    """

    traits: ClassVar[Traits] = TRAITS
    door: ClassVar[Door] = DOOR

    def __init__(self, *, version: str, timeout_s: float, base_url: str = "") -> None:
        self._version = version
        self._base_url = base_url.rstrip("/")
        self._http = PooledHttp(timeout_s=timeout_s, pool_size=128)

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the adapter as the configuration describes it."""
        return cls(version=config.cloud_api_version, timeout_s=config.provider_timeout_s, base_url=config.cloud_api_url)

    def send(self, sender: Sender, message: Outgoing, *, leaving: Callable[[], object] = lambda: None) -> Outcome:
        """Send one message: `POST /{version}/{phone-number-id}/messages`."""
        body = json.dumps(
            {
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": message.to,
                **message.content,
                "biz_opaque_callback_data": message.callback_data,
            }
        ).encode()
        answer = self._http.send(
            f"{self._node(sender)}/messages", headers=_authorized(sender), body=body, leaving=leaving
        )
        return _outcome(answer, sender) if isinstance(answer, Answer) else answer

    def check_health(self, sender: Sender) -> Health:
        """Ask for the phone number's node."""
        try:
            url = f"{self._node(sender)}?fields={HEALTH_FIELDS}"
            response = self._http.exchange("GET", url, headers=_authorized(sender), body=None)
        except NETWORK_FAULTS as error:
            return Health(reachable=False, summary=f"The provider cannot be reached: {reason_of(error)}", details={})
        payload = json_object_of(response)
        if response.status_code == requests.codes.ok:
            details = _health_details(payload)
            summary = "connected" if details else "The provider's answer cannot be read."
            word, recipient_limit = webhooks.tier_of(details.get("tier"))
            return Health(
                reachable=True,
                summary=summary,
                details=details,
                warnings=_health_warnings(details),
                tells_recipient_limit=recipient_limit is not None or word == UNLIMITED,
                recipient_limit=recipient_limit,
            )
        failure = _failure(response, payload, sender)
        refused_field = None
        envelope = _envelope(payload)
        if envelope is not None:
            if failure.code in ("190", "104", "0") or response.status_code == requests.codes.unauthorized:
                refused_field = "access_token"
            elif failure.code in ("33", "803") or _no_such_object(envelope):
                refused_field = "phone_number_id"
        return Health(reachable=True, summary=failure.detail, details={}, refused_field=refused_field)

    def parse_statuses(self, payload: Mapping[str, Any]) -> Sequence[StatusUpdate]:
        """Return the statuses over every entry and change of a webhook body (up to 1,000 of them)."""
        return list(webhooks.statuses_in(payload))

    def parse_inbound(self, payload: Mapping[str, Any]) -> Sequence[Inbound]:
        """Return the messages that people wrote."""
        return list(webhooks.inbound_in(payload))

    def parse_notices(self, payload: Mapping[str, Any]) -> Sequence[Notice]:
        """Return what Meta says of templates, accounts, limits and preferences."""
        return list(webhooks.notices_in(payload))

    def _node(self, sender: Sender) -> str:
        return f"{sender.base_url or self._base_url}/{self._version}/{sender.number}"


def _authorized(sender: Sender) -> dict[str, str]:
    return {"Authorization": f"Bearer {sender.secret}"}


def _health_details(node: Mapping[str, Any]) -> dict[str, str]:
    """Return what a phone number's node says (docs/wire.md, Health), each as one word or name."""
    said = {
        "display_phone_number": node.get("display_phone_number"),
        "verified_name": node.get("verified_name"),
        "quality_rating": node.get("quality_rating"),
        "status": node.get("status"),
        "throughput": object_of(node.get("throughput")).get("level"),
        "tier": node.get("whatsapp_business_manager_messaging_limit"),
        "can_send_message": object_of(node.get("health_status")).get("can_send_message"),
    }
    return {name: text for name, value in said.items() if (text := text_of(value)) is not None}


def _health_warnings(details: Mapping[str, str]) -> list[str]:
    warnings = []
    if details.get("quality_rating") == "RED":
        warnings.append(
            "Meta rates the quality of this number RED: people block or report its messages. Send less, and only to"
            " people who expect it."
        )
    status = details.get("status", "CONNECTED")
    if status != "CONNECTED":
        warnings.append(f"Meta shows this number as {status}, not as CONNECTED.")
    elif details.get("can_send_message") == "BLOCKED":
        warnings.append("Meta says that this number cannot send now; its WhatsApp Manager shows the reason.")
    return warnings


def _outcome(response: AnyAnswer, sender: Sender) -> Outcome:
    payload = json_object_of(response)
    envelope = _envelope(payload)
    if envelope is None and 200 <= response.status_code < 300:
        message = next(objects_of(payload.get("messages")), {})
        contact = next(objects_of(payload.get("contacts")), {})
        identity = text_of(message.get("id"))
        if identity is None:
            return Lost(f"The provider said {response.status_code} without a message id.")
        return Accepted(provider_message_id=identity, wa_id=text_of(contact.get("wa_id")))
    if envelope is None and response.status_code in (502, 504):
        return Lost(f"A gateway answered {response.status_code}: the request may have been passed on.")
    return Refused(_failure(response, payload, sender))


def _envelope(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the error in Meta's envelope (docs/wire.md, Errors), or None: a gateway's error has no envelope."""
    error = payload.get("error")
    return error if isinstance(error, dict) and isinstance(error.get("code"), int) else None


def _no_such_object(error: Mapping[str, Any]) -> bool:
    return error["code"] == 100 and error.get("error_subcode") == _NO_SUCH_OBJECT_SUBCODE


def _failure(response: AnyAnswer, payload: Mapping[str, Any], sender: Sender) -> Failure:
    """Classify by the code of Meta's envelope; by the HTTP status only where there is no envelope."""
    error = _envelope(payload)
    if error is not None:
        code: int = error["code"]
        detail = object_of(error.get("error_data")).get("details")
        explanation = str(detail or error.get("message") or "no explanation given")
        error_class = classify(code, is_transient=error.get("is_transient") is True)
        return Failure(
            error_class=ErrorClass.ACCOUNT if _no_such_object(error) else error_class,
            code=str(code),
            # Graph repeats a malformed token in full, and this is shown and logged.
            detail=text_of(explanation.replace(sender.secret, "***")) or "no explanation given",
            retry_after_s=retry_after_s(response),
            may_have_left=code in MAY_HAVE_LEFT,
            person_refuses_marketing=code == MARKETING_REFUSED,
        )
    status = response.status_code
    if status == requests.codes.too_many_requests:
        error_class = ErrorClass.THROTTLED
    elif status in (requests.codes.unauthorized, requests.codes.forbidden) or 300 <= status < 400:
        error_class = ErrorClass.ACCOUNT
    elif status >= 500 or status == requests.codes.request_timeout:
        error_class = ErrorClass.TEMPORARY
    else:
        error_class = ErrorClass.ACCOUNT if status == requests.codes.not_found else ErrorClass.CAMPAIGN
    return Failure(
        error_class=error_class,
        code=f"http_{status}",
        detail=f"The provider answered {status} without saying why.",
        retry_after_s=retry_after_s(response),
        may_have_left=status >= 500,
    )
