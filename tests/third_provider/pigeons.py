"""A small provider, declared as any other: a loft of pigeons behind HTTP, and a door that knows it by a secret.

A bird is `{"bird": <id>, "landed_at": <Unix seconds>}`; what the loft reports comes as `{"loft", "birds"}`.
"""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from campaign_engine.config import Config
from campaign_engine.errors import NotAuthenticated
from campaign_engine.providers.base import (
    Accepted,
    Failure,
    Health,
    Inbound,
    Notice,
    Outcome,
    Outgoing,
    Refused,
    Sender,
    StatusUpdate,
    Traits,
)
from campaign_engine.providers.direct import Answer
from campaign_engine.providers.doors import Door, Knock, KnownAccounts
from campaign_engine.providers.http import PooledHttp, json_object_of
from campaign_engine.providers.values import moment_of, object_in, objects_of, text_of
from campaign_engine.rules.failures import ErrorClass
from campaign_engine.rules.states import MessageStatus


def _unsuited(content: Mapping[str, Any]) -> str | None:
    return None if content["type"] == "text" else "A pigeon carries a text and nothing else."


def _senders(knock: Knock, accounts: KnownAccounts) -> Sequence[int]:
    loft = text_of((object_in(knock.body) or {}).get("loft")) or ""
    said = knock.headers.get("x-loft-secret", "").encode()
    sent = [
        account_id
        for account_id, secret in accounts.secrets("app_secret", numbers=[loft])
        if hmac.compare_digest(secret.encode(), said)
    ]
    if not sent:
        raise NotAuthenticated("This is the secret of no loft of ours.", code="loft_unknown")
    return sent


class Pigeons:
    """The loft, over HTTP."""

    traits: ClassVar[Traits] = Traits(
        name="pigeons",
        title="Pigeon Post",
        token_title="Seal",
        named_by="instance",
        needed_fields=("name", "access_token", "app_secret", "base_url", "instance"),
        foreign_fields=("phone_number_id", "verify_token"),
        most_in_flight=2,
        carries_our_id=False,
        has_pair_limit=False,
        unsuited=_unsuited,
        codes_of_refusal=frozenset({"has_a_cat"}),
        codes_of_shielding=frozenset({"feeds_today"}),
        notice="Pigeons rest at night.",
    )
    door: ClassVar[Door] = Door(path="pigeons", most_bytes=1000, known_by="app_secret", senders=_senders)

    def __init__(self, *, timeout_s: float) -> None:
        self._http = PooledHttp(timeout_s=timeout_s, pool_size=2)

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(timeout_s=config.provider_timeout_s)

    def send(self, sender: Sender, message: Outgoing, *, leaving: Callable[[], object] = lambda: None) -> Outcome:
        words = {"to": message.to, "text": message.content["text"]["body"]}
        answer = self._http.send(
            f"{sender.base_url}/{sender.number}/birds",
            headers={"Seal": sender.secret},
            body=json.dumps(words).encode(),
            leaving=leaving,
        )
        if not isinstance(answer, Answer):
            return answer
        said = json_object_of(answer)
        bird = text_of(said.get("bird"))
        if bird is None:
            code = text_of(said.get("no")) or "no_bird"
            return Refused(
                Failure(
                    ErrorClass.RECIPIENT, code, "No pigeon came back.", person_refuses_marketing=code == "has_a_cat"
                )
            )
        return Accepted(provider_message_id=bird, wa_id=None)

    def check_health(self, sender: Sender) -> Health:
        answer = self._http.exchange(
            "GET",
            f"{sender.base_url}/{sender.number}",
            headers={"Seal": sender.secret},
            body=None,
        )
        return Health(reachable=True, summary="the pigeons are well", details=json_object_of(answer))

    def parse_statuses(self, payload: Mapping[str, Any]) -> Sequence[StatusUpdate]:
        return [
            StatusUpdate(
                status=MessageStatus.DELIVERED,
                at=at,
                number=text_of(payload.get("loft")) or "",
                provider_message_id=text_of(bird.get("bird")),
                callback_data=None,
                recipient=None,
            )
            for bird in objects_of(payload.get("birds"))
            if (at := moment_of(bird.get("landed_at"))) is not None
        ]

    def parse_inbound(self, payload: Mapping[str, Any]) -> Sequence[Inbound]:  # noqa: ARG002
        return []

    def parse_notices(self, payload: Mapping[str, Any]) -> Sequence[Notice]:  # noqa: ARG002
        return []
