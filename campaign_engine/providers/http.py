"""One exchange with a provider over pooled connections, and what can go wrong on the way.

Messages go over connections of our own (`direct`), everything else through `requests`. Neither follows a redirect, so
that an account's base URL cannot lead a request elsewhere.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import LocationValueError

from campaign_engine.providers.base import Lost, NotSent
from campaign_engine.providers.direct import Answer, ConnectionFault, DirectHttp
from campaign_engine.providers.values import object_in

CONNECT_TIMEOUT_S = 5.0
LONGEST_RETRY_AFTER_S = 86_400.0  # a longer time is somebody's mistake, and may not stop a number for ever

# `requests` raises these as they are: for a bad address, or a missing file of CA certificates.
NETWORK_FAULTS = (requests.RequestException, LocationValueError, OSError)


AnyAnswer = Answer | requests.Response
"""An answer, whichever way it came."""


class PooledHttp:
    """The connections of one adapter: kept alive between messages and shared by the threads of its process."""

    def __init__(self, *, timeout_s: float, pool_size: int) -> None:
        self._timeout = (CONNECT_TIMEOUT_S, timeout_s)
        self._direct = DirectHttp(connect_timeout_s=CONNECT_TIMEOUT_S, timeout_s=timeout_s)
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=16, pool_maxsize=pool_size, max_retries=0))

    def send(
        self, url: str, *, headers: Mapping[str, str], body: bytes, leaving: Callable[[], object]
    ) -> Answer | NotSent | Lost:
        """Post a message, `body` being its JSON; say what the provider answered, or why nothing is known.

        Side effects: calls `leaving` just before the first byte leaves.
        """
        left = False

        def note() -> None:
            nonlocal left
            left = True
            leaving()

        try:
            return self._direct.post(url, headers=headers, body=body, leaving=note)
        except ConnectionFault as error:
            return Lost(str(error)) if left else NotSent(str(error))

    def exchange(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> requests.Response:
        """Send one request and return the whole answer; `body` is JSON.

        Raises:
            NETWORK_FAULTS: there is no answer; `reason_of` says why.
        """
        given = {**headers, "Accept": "application/json", "User-Agent": "campaign-engine"}
        if body is not None:
            given["Content-Type"] = "application/json"
        # Prepared without the session: no cookies, and no password from a `.netrc` or the address.
        request = requests.Request(method, url, headers=given, data=body, auth=lambda bare: bare).prepare()
        found = self._session.merge_environment_settings(url, {}, stream=False, verify=True, cert=None)
        # By the adapter, which follows no redirect and does not even read where one leads.
        response = self._session.get_adapter(url).send(
            request, timeout=self._timeout, verify=found["verify"] or True, proxies=found["proxies"]
        )
        response.content  # noqa: B018 - read here, where a connection that breaks inside the body is caught
        return response


def json_of(response: AnyAnswer) -> Any:
    """Return the value in the body, or None if it is no JSON."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def json_object_of(response: AnyAnswer) -> Mapping[str, Any]:
    """Return the JSON object in the body, empty if there is none."""
    return object_in(response.content) or {}


def retry_after_s(response: AnyAnswer) -> float | None:
    """Read `Retry-After`: seconds, or an HTTP date."""
    value = response.headers.get("retry-after")
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


def reason_of(error: Exception) -> str:
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
        "InvalidURL": "the address is not one",
        "OSError": "the certificates this machine trusts cannot be read",
        "SSLError": "the TLS certificate or handshake was refused",
    }
    return names.get(type(reason).__name__, type(reason).__name__)


def _cause_of(error: Exception) -> object:
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return getattr(cause, "reason", cause)
