"""Evolution API 2.3.6 over pooled connections: a phone's own session behind HTTP (docs/wire.md, Evolution API).

It sends none of our ids along. A message is matched with its webhooks by `key.id`, which only the answer to the send
gives. If that answer is lost, no webhook can settle the message, and it stays `unknown` until a person decides. For the
same reason a message that may have left is never tried again here (docs/adr/0006).

No message has a `delay`: it would hold the request open, and the pacing is ours. The session belongs to one phone, so
an account has one call in flight.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Self
from urllib.parse import quote

import requests

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.providers.address_book import AddressBookFault, KnownPerson, NumberCheck
from campaign_engine.providers.base import (
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
from campaign_engine.providers.direct import Answer
from campaign_engine.providers.doors import Door
from campaign_engine.providers.evolution import webhooks
from campaign_engine.providers.evolution.door import DOOR
from campaign_engine.providers.evolution.errors import NOTHING_SAID, failure_of
from campaign_engine.providers.evolution.session import health_of_session
from campaign_engine.providers.evolution.traits import NO_TEMPLATES, NO_UPLOADS, TRAITS
from campaign_engine.providers.evolution.webhooks import number_of
from campaign_engine.providers.http import NETWORK_FAULTS, AnyAnswer, PooledHttp, json_of, reason_of, retry_after_s
from campaign_engine.providers.values import object_of, objects_of, text_of
from campaign_engine.rules.failures import ErrorClass

NUMBERS_A_CHECK = 100
"""How many numbers are checked in one call: the phone asks WhatsApp about those that it does not remember."""

_MEDIA_TYPES = ("image", "video", "document", "audio")


class Evolution:
    """The adapter of one process; `now` gives statuses their time, since Evolution's webhooks have no reliable one."""

    traits: ClassVar[Traits] = TRAITS
    door: ClassVar[Door] = DOOR

    def __init__(self, *, timeout_s: float, now: Callable[[], datetime] = utc_now) -> None:
        self._http = PooledHttp(timeout_s=timeout_s, pool_size=16)
        self._now = now

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the adapter as the configuration describes it."""
        return cls(timeout_s=config.provider_timeout_s)

    def send(self, sender: Sender, message: Outgoing, *, leaving: Callable[[], object] = lambda: None) -> Outcome:
        """Send one text, picture, film, sound, document or sticker; a template is refused without a call."""
        request = _request_for(message)
        if isinstance(request, Failure):
            return Refused(request)
        path, body = request
        answer = self._http.send(
            _address(path, sender), headers=_authorized(sender), body=json.dumps(body).encode(), leaving=leaving
        )
        return _outcome(answer, sender) if isinstance(answer, Answer) else answer

    def check_health(self, sender: Sender) -> Health:
        """Ask for the state of the instance's session: `GET /instance/connectionState/{instance}`."""
        try:
            response = self._exchange("GET", "instance/connectionState", sender, None)
        except NETWORK_FAULTS as error:
            return Health(reachable=False, summary=f"The provider cannot be reached: {reason_of(error)}", details={})
        payload = json_of(response)
        state = text_of(object_of(object_of(payload).get("instance")).get("state"))
        if response.status_code == requests.codes.ok and state is not None:
            return health_of_session(state)
        failure = failure_of(response.status_code, payload)
        refused_field = None
        if failure is not None and "response" in object_of(payload):
            # Only Evolution's own envelope counts: a gateway in between knows nothing of the instance or its key.
            refused_field = {401: "access_token", 403: "access_token", 404: "instance"}.get(response.status_code)
        return Health(reachable=True, summary=_said(failure, response, sender), details={}, refused_field=refused_field)

    def check_numbers(self, sender: Sender, numbers: Sequence[str]) -> Sequence[NumberCheck]:
        """Say which numbers are on WhatsApp: `POST /chat/whatsappNumbers/{instance}`, in calls of a hundred.

        Raises:
            AddressBookFault: there is no answer.
        """
        found: list[NumberCheck] = []
        for start in range(0, len(numbers), NUMBERS_A_CHECK):
            asked = [number.removeprefix("+") for number in numbers[start : start + NUMBERS_A_CHECK]]
            said = self._list("chat/whatsappNumbers", sender, {"numbers": asked})
            answers = {answer.get("number"): answer for answer in said}
            found += (
                NumberCheck(f"+{number}", answer.get("exists") is True, number_of(answer.get("jid")))
                for number in asked
                if (answer := answers.get(number)) is not None
            )
        return found

    def list_contacts(self, sender: Sender) -> Sequence[KnownPerson]:
        """Return the people in the phone's address book and chats: `POST /chat/findContacts/{instance}`.

        Evolution's documentation says that the body is an object `where`, which may be empty
        (docs/wire.md, Evolution checks). The answer is known from the source of its channel service: `fetchContacts`
        returns a plain list of rows with `remoteJid`, `pushName` and, in newer versions, `type`: `contact`, `group`, or
        `group_member`. The last are people whom the phone only met in a group; they never gave it their
        number and are left out.

        Raises:
            AddressBookFault: there is no answer.
        """
        rows = self._list("chat/findContacts", sender, {"where": {}})
        return [
            KnownPerson(wa_id=wa_id, name=text_of(row.get("pushName")))
            for row in rows
            if row.get("type", "contact") == "contact" and (wa_id := number_of(row.get("remoteJid"))) is not None
        ]

    def parse_statuses(self, payload: Mapping[str, Any]) -> Sequence[StatusUpdate]:
        """Return the statuses of a webhook body, in every shape that is known."""
        return list(webhooks.statuses_in(payload, now=self._now()))

    def parse_inbound(self, payload: Mapping[str, Any]) -> Sequence[Inbound]:
        """Return the messages that people wrote to the number; not those of groups."""
        return list(webhooks.inbound_in(payload, now=self._now()))

    def parse_notices(self, payload: Mapping[str, Any]) -> Sequence[Notice]:
        """Return what a webhook body says of the phone session."""
        return list(webhooks.notices_in(payload))

    def _list(self, path: str, sender: Sender, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        try:
            response = self._exchange("POST", path, sender, json.dumps(body).encode())
        except NETWORK_FAULTS as error:
            raise AddressBookFault(f"The provider cannot be reached: {reason_of(error)}.", passes=True) from None
        payload = json_of(response)
        if not response.ok or not isinstance(payload, list):
            failure = failure_of(response.status_code, payload)
            passes = failure is None or failure.error_class in (ErrorClass.TEMPORARY, ErrorClass.THROTTLED)
            raise AddressBookFault(_said(failure, response, sender), passes=passes)
        return list(objects_of(payload))

    def _exchange(self, method: str, path: str, sender: Sender, body: bytes | None) -> requests.Response:
        return self._http.exchange(method, _address(path, sender), headers=_authorized(sender), body=body)


def _address(path: str, sender: Sender) -> str:
    return f"{sender.base_url}/{path}/{quote(sender.number, safe='')}"


def _authorized(sender: Sender) -> dict[str, str]:
    return {"apikey": sender.secret}


def _request_for(message: Outgoing) -> tuple[str, dict[str, Any]] | Failure:
    """Return the path and the body that send a message, or why Evolution cannot send its content."""
    kind = message.content["type"]
    part = message.content[kind]
    number = message.to.removeprefix("+")
    if kind == "text":
        return "message/sendText", {"number": number, "text": part["body"]}
    if kind == "template":
        return _unsuited("template_not_supported", NO_TEMPLATES)
    if not part.get("link"):
        return _unsuited("media_id_not_supported", NO_UPLOADS)
    if kind == "sticker":
        return "message/sendSticker", {"number": number, "sticker": part["link"]}
    if kind not in _MEDIA_TYPES:
        return _unsuited("type_not_supported", f"Evolution API sends no messages of the type {kind}.")
    optional = {"caption": part.get("caption"), "fileName": part.get("filename")}
    return "message/sendMedia", {
        "number": number,
        "mediatype": kind,
        "media": part["link"],
        **{name: value for name, value in optional.items() if value},
    }


def _unsuited(code: str, detail: str) -> Failure:
    return Failure(ErrorClass.CAMPAIGN, code, detail)


def _outcome(answer: Answer, sender: Sender) -> Outcome:
    payload = json_of(answer)
    key = object_of(object_of(payload).get("key"))
    if answer.status_code < 300 and (identity := text_of(key.get("id"))) is not None:
        return Accepted(provider_message_id=identity, wa_id=number_of(key.get("remoteJid")))
    failure = failure_of(answer.status_code, payload, retry_after_s=retry_after_s(answer))
    if failure is None:
        return Lost(f"Evolution API answered {answer.status_code} without saying whether it sent the message.")
    return Refused(replace(failure, detail=_without(sender.secret, failure.detail)))


def _said(failure: Failure | None, response: AnyAnswer, sender: Sender) -> str:
    if failure is None or failure.detail == NOTHING_SAID:
        return f"Evolution API answered {response.status_code} without saying why."
    return _without(sender.secret, failure.detail)


def _without(secret: str, detail: str) -> str:
    # The words of a foreign server are shown and logged.
    return detail.replace(secret, "***")
