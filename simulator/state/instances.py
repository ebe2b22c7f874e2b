"""The registered Evolution instances: phone sessions, what each shows of itself, and how its webhooks look."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from simulator import checks
from simulator.fields import Fields, checked

STATES = ("open", "connecting", "close")
CHANNELS = ("baileys", "business")
SHAPES = (
    "object",  # what Evolution 2.3 documents: an object with `keyId` and the word for the status
    "list",  # a list of `key` and `update`, the status as Baileys' number
    "flat",  # an object with `key.id`, the status in lower case
)
CONTACT_TYPES = ("contact", "group_member")


@dataclass(frozen=True, slots=True)
class Contact:
    """A person in the phone's address book."""

    number: str
    name: str = ""
    type: str = "contact"


@dataclass(frozen=True, slots=True)
class Instance:
    """One phone session. Nothing can be sent while its `state` is not `open`.

    On the `business` channel it only passes calls on to Meta: ids, errors and words of statuses are Meta's.
    """

    instance: str
    apikey: str
    webhook_url: str | None = None
    state: str = "open"
    channel: str = "baileys"
    update_shape: str = "object"
    refuse_code: int | None = None
    contacts: tuple[Contact, ...] = ()

    @property
    def phone_number_id(self) -> str:
        """Its name, under which the ledger has its messages."""
        return self.instance

    @property
    def is_business(self) -> bool:
        return self.channel == "business"

    def public(self) -> dict[str, object]:
        """Return everything but the apikey."""
        shown = asdict(self)
        del shown["apikey"]
        return shown


def registered(known: Instance | None, fields: Mapping[str, object]) -> Instance:
    """Return the instance of these fields, or a known one changed by them; a field that is absent keeps its value.

    Raises InvalidField.
    """
    needed = () if known else ("instance", "apikey")
    values = checked(fields, _FIELDS, owner="an instance", needed=needed)
    return replace(known, **values) if known else Instance(**values)


def restored(stored: Mapping[str, Any]) -> Instance:
    """Return an instance that the journal holds."""
    return Instance(**{**stored, "contacts": tuple(Contact(**contact) for contact in stored["contacts"])})


def _contacts(value: object) -> tuple[Contact, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, dict) for each in value):
        raise ValueError('must be a list like [{"number": "+5511910000001", "name": "Ana", "type": "contact"}]')
    check_type = checks.one_of(*CONTACT_TYPES)
    return tuple(
        Contact(
            number=checks.phone(each.get("number")),
            name=checks.text(each["name"]) if each.get("name") else "",
            type=check_type(each.get("type", "contact")),
        )
        for each in value
    )


_FIELDS: Fields = {
    "instance": (checks.text, False),
    "apikey": (checks.text, False),
    "webhook_url": (checks.url, True),
    "state": (checks.one_of(*STATES), False),
    "channel": (checks.one_of(*CHANNELS), False),
    "update_shape": (checks.one_of(*SHAPES), False),
    "refuse_code": (checks.code, True),
    "contacts": (_contacts, False),
}
