"""Meta's WhatsApp Cloud API over pooled connections.

A prepared request handed to a pooled adapter costs about 0.7 of `Session.post` in CPU, and follows no redirect, so
that an account's base URL cannot lead a request elsewhere.
"""

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import LocationValueError

from campaign_engine.providers.base import (
    Accepted,
    ErrorClass,
    Failure,
    Health,
    Inbound,
    Lost,
    Notice,
    NotSent,
    Outcome,
    Outgoing,
    Refused,
    Sender,
    StatusUpdate,
)
from campaign_engine.providers.cloud_api_errors import MAY_HAVE_LEFT, classify
from campaign_engine.providers.connections import NotingAdapter, noting
from campaign_engine.rules.states import MessageStatus

CONNECT_TIMEOUT_S = 5.0
LONGEST_RETRY_AFTER_S = 86_400.0  # what is more is a slip of whoever wrote it, and may not stop a number for ever
_LONGEST_TEXT = 500  # characters; more than any id of Meta's, less than an index of PostgreSQL takes
_NO_SUCH_OBJECT_SUBCODE = 33  # beside code 100: the number itself is gone (wire reference 3.1)
HEALTH_FIELDS = (
    "id,display_phone_number,verified_name,quality_rating,status,throughput,whatsapp_business_manager_messaging_limit"
)
_STATUSES = {
    "sent": MessageStatus.SENT,
    "delivered": MessageStatus.DELIVERED,
    "read": MessageStatus.READ,
    "played": MessageStatus.READ,  # a voice note that was listened to
    "failed": MessageStatus.FAILED,
}


class CloudApi:
    """The adapter of one process; its connections are kept alive between messages and shared by its threads."""

    def __init__(self, *, version: str, timeout_s: float, pool_size: int = 128) -> None:
        self._version = version
        self._timeout = (CONNECT_TIMEOUT_S, timeout_s)
        self._pool_size = pool_size
        self._session = requests.Session()
        self._surroundings_of: dict[str, tuple[bool | str, Mapping[str, str]]] = {}
        self._session.mount("https://", self._new_adapter())
        self._session.mount("http://", self._new_adapter())

    def _new_adapter(self) -> HTTPAdapter:
        return NotingAdapter(pool_connections=16, pool_maxsize=self._pool_size, max_retries=0)

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
        left = False

        def note() -> None:
            nonlocal left
            left = True
            leaving()

        try:
            with noting(note):
                response = self._exchange("POST", f"{self._node(sender)}/messages", sender, body)
        except _NETWORK_FAULTS as error:
            return Lost(_reason(error)) if left else NotSent(_reason(error))
        return _outcome(response, sender)

    def check_health(self, sender: Sender) -> Health:
        """Ask for the phone number's node."""
        try:
            response = self._exchange("GET", f"{self._node(sender)}?fields={HEALTH_FIELDS}", sender, None)
        except _NETWORK_FAULTS as error:
            return Health(reachable=False, summary=f"The provider cannot be reached: {_reason(error)}.", details={})
        payload = _json_object(response)
        if response.status_code == requests.codes.ok:
            return Health(reachable=True, summary="connected", details=payload)
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
        return list(_statuses(payload))

    def parse_inbound(self, payload: Mapping[str, Any]) -> Sequence[Inbound]:  # noqa: ARG002
        """Return the messages that people wrote."""
        return ()

    def parse_notices(self, payload: Mapping[str, Any]) -> Sequence[Notice]:  # noqa: ARG002
        """Return what Meta says of templates, accounts, limits and preferences."""
        return ()

    def _node(self, sender: Sender) -> str:
        return f"{sender.base_url}/{self._version}/{sender.number}"

    def _exchange(self, method: str, url: str, sender: Sender, body: bytes | None) -> requests.Response:
        request = requests.PreparedRequest()
        request.method = method
        request.url = url
        request.headers = CaseInsensitiveDict(
            {
                "Authorization": f"Bearer {sender.secret}",
                "Accept": "application/json",
                "User-Agent": "campaign-engine",
            }
        )
        if body is not None:
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(body))
            request.body = body
        verify, proxies = self._surroundings(sender.base_url)
        response = self._session.get_adapter(url).send(
            request, timeout=self._timeout, stream=False, verify=verify, cert=None, proxies=proxies
        )
        response.content  # noqa: B018 - read here, where a connection that breaks inside the body is caught
        return response

    def _surroundings(self, base_url: str) -> tuple[bool | str, Mapping[str, str]]:
        """Return the CA bundle and the proxies that the environment names for an address; looked up once.

        Looking them up for each message costs a tenth of the CPU of sending it.
        """
        known = self._surroundings_of.get(base_url)
        if known is None:
            found = self._session.merge_environment_settings(base_url, {}, stream=False, verify=True, cert=None)
            verify = found["verify"] if found["verify"] is not None else True
            known = self._surroundings_of[base_url] = (verify, dict(found["proxies"]))
        return known


def signature_of(secret: str, body: bytes) -> str:
    """Return the `X-Hub-Signature-256` that Meta sends for `body`: HMAC-SHA256 over the raw bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signature_matches(secret: str, body: bytes, signature: str) -> bool:
    """Say in constant time whether `signature` is ours for `body`."""
    return hmac.compare_digest(signature_of(secret, body).encode(), signature.encode())


def secrets_equal(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def numbers_in(payload: Mapping[str, Any]) -> set[str]:
    """Return the phone number ids a webhook body speaks of."""
    return {
        str(metadata["phone_number_id"])
        for value in _values(payload)
        if isinstance(metadata := value.get("metadata"), dict) and metadata.get("phone_number_id")
    }


def _values(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entry in _objects(payload.get("entry")):
        for change in _objects(entry.get("changes")):
            value = change.get("value")
            if isinstance(value, dict):
                yield value


def _objects(items: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))


def _statuses(payload: Mapping[str, Any]) -> Iterator[StatusUpdate]:
    for value in _values(payload):
        metadata = value.get("metadata")
        number = str(metadata.get("phone_number_id", "")) if isinstance(metadata, dict) else ""
        for item in _objects(value.get("statuses")):
            status = _STATUSES.get(str(item.get("status")))
            at = _moment(item.get("timestamp"))
            if status is None or at is None:
                continue
            error = next(_objects(item.get("errors")), {})
            data = error.get("error_data")
            detail = data.get("details") if isinstance(data, dict) else None
            code = error.get("code")
            yield StatusUpdate(
                status=status,
                at=at,
                number=number,
                provider_message_id=_text(item.get("id")),
                callback_data=_text(item.get("biz_opaque_callback_data")),
                recipient=_text(item.get("recipient_id")),
                error_class=classify(code) if isinstance(code, int) else None,
                error_code=_text(code),
                error_detail=_text(detail or error.get("message") or error.get("title")),
            )


def _text(value: Any) -> str | None:
    """Return a text that PostgreSQL can store and index: JSON may hold NUL and lone surrogates, PostgreSQL not."""
    if not isinstance(value, str | int) or value == "":
        return None
    text = str(value).replace("\0", "")
    return text.encode("utf-8", "replace").decode()[:_LONGEST_TEXT]


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _outcome(response: requests.Response, sender: Sender) -> Outcome:
    payload = _json_object(response)
    envelope = _envelope(payload)
    if envelope is None and 200 <= response.status_code < 300:
        message = next(_objects(payload.get("messages")), {})
        contact = next(_objects(payload.get("contacts")), {})
        identity = _text(message.get("id"))
        if identity is None:
            return Lost(f"The provider said {response.status_code} without a message id.")
        return Accepted(provider_message_id=identity, wa_id=_text(contact.get("wa_id")))
    if envelope is None and response.status_code in (502, 504):
        return Lost(f"A gateway answered {response.status_code}: the request may have been passed on.")
    return Refused(_failure(response, payload, sender))


def _envelope(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the error that Meta's envelope holds (wire reference 3.1), or None: a gateway's error is none."""
    error = payload.get("error")
    return error if isinstance(error, dict) and isinstance(error.get("code"), int) else None


def _no_such_object(error: Mapping[str, Any]) -> bool:
    return error["code"] == 100 and error.get("error_subcode") == _NO_SUCH_OBJECT_SUBCODE


def _failure(response: requests.Response, payload: Mapping[str, Any], sender: Sender) -> Failure:
    """Classify by the code of Meta's envelope; by the HTTP status only where there is no envelope."""
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    error = _envelope(payload)
    if error is not None:
        code: int = error["code"]
        data = error.get("error_data")
        detail = data.get("details") if isinstance(data, dict) else None
        explanation = str(detail or error.get("message") or "no explanation given")
        error_class = classify(code, is_transient=error.get("is_transient") is True)
        return Failure(
            error_class=ErrorClass.ACCOUNT if _no_such_object(error) else error_class,
            code=str(code),
            # Graph repeats a malformed token in full, and this is shown and logged.
            detail=_text(explanation.replace(sender.secret, "***")) or "no explanation given",
            retry_after_s=retry_after_s,
            may_have_left=code in MAY_HAVE_LEFT,
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
        retry_after_s=retry_after_s,
        may_have_left=status >= 500,
    )


def _json_object(response: requests.Response) -> dict[str, Any]:
    try:
        payload = response.json()
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _retry_after_s(value: str | None) -> float | None:
    """Read `Retry-After`: seconds, or an HTTP date."""
    if value is None:
        return None
    seconds = _seconds_of(value)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def _seconds_of(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return None if math.isnan(seconds) else seconds
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None


# What `requests` lets through undressed: an address that is none, a file of CA certificates that is not there.
_NETWORK_FAULTS = (requests.RequestException, LocationValueError, OSError)


def _cause_of(error: Exception) -> object:
    cause = error.args[0] if error.args else error
    return getattr(cause, "reason", cause)


def _reason(error: Exception) -> str:
    """Say what happened in a few words, without addresses or tokens."""
    reason = _cause_of(error) if isinstance(error, requests.RequestException) else error
    names = {
        "NewConnectionError": "connection refused or host unreachable",
        "NameResolutionError": "the host name cannot be resolved",
        "ConnectTimeoutError": "connecting timed out",
        "ReadTimeoutError": "no answer in time",
        "ProtocolError": "the connection broke",
        "IncompleteRead": "the connection broke",
        "LocationParseError": "the address is not one",
        "OSError": "the certificates this machine trusts cannot be read",
        "SSLError": "the TLS certificate or handshake was refused",
    }
    return names.get(type(reason).__name__, type(reason).__name__)
