"""What every provider offers, and the four things that can become of a send.

Accepted   the provider took the message (not yet: delivered)
Refused    the provider answered with an error; classified once, by its code
NotSent    the request certainly did not leave this machine
Lost       the request may have left and the answer did not arrive: only a person may resend it
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self

from campaign_engine.config import Config
from campaign_engine.providers.doors import Door
from campaign_engine.rules.failures import MEANING, NEVER_LEFT, ErrorClass, Meaning
from campaign_engine.rules.states import MessageStatus


@dataclass(frozen=True, slots=True)
class Failure:
    """A classified refusal; `code` is the provider's, or `http_<status>` if it gave none."""

    error_class: ErrorClass
    code: str
    detail: str
    retry_after_s: float | None = None
    may_have_left: bool = False  # the provider faulted after it may have passed the message on
    person_refuses_marketing: bool = False  # the person switched our marketing off in WhatsApp


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the message; `wa_id` is how it spells the recipient."""

    provider_message_id: str
    wa_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no."""

    failure: Failure

    @property
    def meaning(self) -> Meaning:
        """What follows from it, by its class."""
        return MEANING[self.failure.error_class]


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing left: the connection could not be made."""

    reason: str

    @property
    def failure(self) -> Failure:
        """It as a failure, in the form that a row keeps."""
        return Failure(ErrorClass.TEMPORARY, "not_sent", self.reason)

    @property
    def meaning(self) -> Meaning:
        """What follows from it."""
        return NEVER_LEFT


@dataclass(frozen=True, slots=True)
class Lost:
    """The answer was lost after the request may have left."""

    reason: str


Outcome = Accepted | Refused | NotSent | Lost


@dataclass(frozen=True, slots=True)
class Sender:
    """An account, as far as a provider needs to know it. `secret` never goes into a log."""

    account_id: int
    base_url: str
    number: str  # as the account's `named_by` says
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered message; `callback_data` comes back in every status webhook."""

    to: str  # E.164 with the plus sign: without it Meta may put the sender's country code in front
    content: Mapping[str, Any]  # {"type": "text", "text": {"body": ...}}: the part under the type's own key
    callback_data: str


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """One status out of a webhook."""

    status: MessageStatus
    at: datetime
    number: str  # which of our numbers it speaks of
    provider_message_id: str | None
    callback_data: str | None
    recipient: str | None
    error_class: ErrorClass | None = None
    error_code: str | None = None
    error_detail: str | None = None
    person_refuses_marketing: bool = False  # as of a `Failure`
    business: str | None = None  # the business account (WABA) of the number, where it says so


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message that a person wrote to one of our numbers."""

    number: str  # which of our numbers, as `named_by` says
    provider_message_id: str
    sender: str  # the person's number as the provider spells it, without the plus sign
    at: datetime
    kind: str  # text, button, interactive, image, ...; number_changed: no message, the person has another number
    text: str | None = None
    payload: str | None = None  # of a quick reply button; of number_changed, the new number
    answers: str | None = None  # the provider's id of the message it replies to


@dataclass(frozen=True, slots=True)
class Health:
    """What the provider says about an account. Informational: it never gates a send.

    `refused_field` is the field at fault if the provider answered that the credentials or the number are wrong.
    `details` are words and numbers of the provider, empty if it did not say how the account is. `warnings` are
    sentences for people about what may soon stop the account. `recipient_limit` is how many different people may be
    written to in 24 hours, None for no limit; it counts only if `tells_recipient_limit`.
    """

    reachable: bool
    summary: str
    details: Mapping[str, Any]
    refused_field: str | None = None
    warnings: Sequence[str] = ()
    tells_recipient_limit: bool = False
    recipient_limit: int | None = None

    @property
    def failed(self) -> bool:
        """Say whether the check learnt nothing: the provider was away, out of order, or refused to answer."""
        return not self.reachable or not self.details

    def stored(self, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the form that an account's row keeps; after a failed check it still holds what was known `before`."""
        kept: dict[str, Any] = {"reachable": self.reachable, "summary": self.summary}
        if self.refused_field is not None:
            kept["refused_field"] = self.refused_field
        if self.failed:
            own = ("reachable", "summary", "refused_field")
            return {**kept, **{name: value for name, value in (before or {}).items() if name not in own}}
        return {**kept, **self.details, **({"warnings": list(self.warnings)} if self.warnings else {})}


class NoticeKind(StrEnum):
    """What a provider may tell apart from statuses and messages."""

    TEMPLATE_STATUS = "template_status"  # approved, paused, disabled, rejected, ...
    TEMPLATE_CHANGED = "template_changed"  # its quality, category or components
    ACCOUNT_STOPPED = "account_stopped"  # banned, restricted, deleted: sending fails from now on
    ACCOUNT_RESTORED = "account_restored"
    ACCOUNT_ALERT = "account_alert"  # people should know it; the engine does nothing
    LIMIT_CHANGED = "limit_changed"  # the portfolio's recipients a day, or the throughput
    MARKETING_STOPPED = "marketing_stopped"  # a person switched our marketing off (or on again) in WhatsApp
    MARKETING_RESUMED = "marketing_resumed"
    CONNECTION = "connection"  # a phone session opened or closed


UNLIMITED = "unlimited"
"""The value of a notice that a limit has ended. A notice with neither a count nor this value says nothing."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a provider says about an account, a template or a person; `value` is its word for it."""

    kind: NoticeKind
    value: str
    detail: str = ""
    number: str | None = None  # which of our numbers, where it says so; +55... where it names the number, not its id
    business: str | None = None  # the business account (WABA), where it says so
    subject: str | None = None  # the template's name, or the person's number
    language: str | None = None
    aspect: str | None = None  # what has changed about a template: quality, category, components
    limit: int | None = None
    until: datetime | None = None
    at: datetime | None = None
    health: Health | None = None  # what a check of the account would find from now on, where it says so


@dataclass(frozen=True, slots=True)
class Traits:
    """What a provider says of itself, so that nobody outside its folder asks for it by name.

    Attributes:
        name: what its accounts have as their `provider`.
        title: what people call it.
        token_title: what people call its access token.
        named_by: the field of an account that says which number, to the provider and in its webhooks.
        needed_fields: without these there is no account.
        foreign_fields: no account has these.
        most_in_flight: calls at once of one account.
        carries_our_id: its statuses say which message of ours they speak of; else only its own ids tell.
        has_pair_limit: it refuses a second message to the same person within seconds.
        unsuited: returns in a sentence why its accounts cannot send a content; None when they can.
        codes_of_refusal: failures by which a person has switched our marketing off.
        codes_of_shielding: failures by which WhatsApp shields a person from marketing, for a day.
        notice: a sentence to show wherever its accounts are shown.
    """

    name: str
    title: str
    token_title: str
    named_by: str
    needed_fields: tuple[str, ...]
    foreign_fields: tuple[str, ...]
    most_in_flight: int
    carries_our_id: bool
    has_pair_limit: bool
    unsuited: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    codes_of_refusal: frozenset[str] = frozenset()
    codes_of_shielding: frozenset[str] = frozenset()
    notice: str | None = None

    @property
    def is_one_of_many(self) -> bool:
        """Whether people run it at addresses of their own: the same name is another number at each."""
        return "base_url" in self.needed_fields


class Provider(Protocol):
    """One way to WhatsApp."""

    traits: ClassVar[Traits]
    door: ClassVar[Door]

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the provider as a process has it; opens no connection."""
        ...

    def send(self, sender: Sender, message: Outgoing, *, leaving: Callable[[], object] = lambda: None) -> Outcome:
        """Send one message; never raises for what a network or a provider can do.

        Side effects: calls `leaving` as closely as possible before the first byte of the request leaves this process.
        If it was not called, nothing left.
        """
        ...

    def check_health(self, sender: Sender) -> Health:
        """Ask the provider about the account; never raises for what a network can do."""
        ...

    def parse_statuses(self, payload: Mapping[str, Any]) -> Sequence[StatusUpdate]:
        """Return every status in a webhook body, over all its entries; ignores what it does not know."""
        ...

    def parse_inbound(self, payload: Mapping[str, Any]) -> Sequence[Inbound]:
        """Return every message that people wrote, over all entries; ignores what it does not know."""
        ...

    def parse_notices(self, payload: Mapping[str, Any]) -> Sequence[Notice]:
        """Return everything else that a webhook body says and that the engine acts on or shows."""
        ...
