"""A change of a campaign, checked against the database and against the campaign as it is.

One table says which fields each check is about. A check reads the values given, writes the values to store into the
change, and names what is wrong by field.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput
from campaign_engine.models import Account, AccountStatus, Campaign, ContactList
from campaign_engine.rules import recurrence as recurrence_rules
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.phone import InvalidPhone, parse_phone
from campaign_engine.rules.recurrence import RecurrenceError, RecurrenceValues
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.rules.texts import rendering
from campaign_engine.services.campaigns import reading, series
from campaign_engine.services.campaigns.audiences import Audience, known_variables
from campaign_engine.services.campaigns.draft_values import DraftValues
from campaign_engine.services.company import limits
from ratelimit import InvalidLimit

BUILT_IN_VARIABLES = frozenset({"name", "phone"})
CHANGEABLE_WHILE_OPEN = ("name", "pacing", "working_hours", "content", "frequency_cap")
_UNCHANGEABLE = {
    "rotation": "Its messages are dealt out to its accounts already; cancel and make a new campaign.",
    "recurrence": "This occurrence has started; change the series in the next one.",
}
_DECIDED_AT_THE_START = "This cannot change after the start; cancel and make a new campaign."


class RecipientRow(TypedDict):
    """An inline recipient as it is stored."""

    phone: str
    phone_key: str
    name: str | None
    variables: dict[str, str]


@dataclass(slots=True)
class Change:
    """The values given for a campaign, and what they become; None: it stays as it is.

    `weights` has every account of the campaign, with its share if there are shares.
    """

    session: Session
    campaign: Campaign
    values: DraftValues
    default_region: str
    now: datetime
    recurrence: RecurrenceValues | None
    scheduled_at: datetime | None
    account_ids: Sequence[int] | None = None
    weights: Mapping[int, int | None] | None = None
    recipients: Sequence[RecipientRow] | None = None
    faults: dict[str, list[str]] = field(default_factory=dict)


def checked(session: Session, campaign: Campaign, values: DraftValues, *, default_region: str, now: datetime) -> Change:
    """Return what `values` change about a campaign; nothing is written yet.

    Raises:
        InvalidInput: names every field that cannot be used, or may not change any more.
    """
    change = Change(
        session=session,
        campaign=campaign,
        values=values,
        default_region=default_region,
        now=now,
        recurrence=campaign.recurrence,
        scheduled_at=values.get("scheduled_at"),
    )
    if campaign.status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        for name in values:
            if name not in CHANGEABLE_WHILE_OPEN:
                change.faults[name] = [_UNCHANGEABLE.get(name, _DECIDED_AT_THE_START)]
    given = values.keys() - change.faults.keys()
    for names, check in _CHECKS:
        if not names.isdisjoint(given):
            check(change)
    if change.faults:
        raise InvalidInput(change.faults)
    return change


def _check_accounts(change: Change) -> None:
    change.account_ids = list(dict.fromkeys(change.values.get("account_ids", ())))
    if not change.account_ids:
        change.faults["account_ids"] = ["At least one account is needed."]
        return
    usable = select(Account.id).where(
        Account.company_id == change.campaign.company_id,
        Account.id.in_(change.account_ids),
        Account.status != AccountStatus.DELETED,
    )
    _require_known(change, "account_ids", "account", change.account_ids, usable)


def _check_weights(change: Change) -> None:
    """Give each account its share: null for all, or 1 for those that are not named; other accounts keep theirs."""
    present = reading.weights_of(change.session, [change.campaign.id])[change.campaign.id]
    senders = list(present) if change.account_ids is None else change.account_ids
    if "rotation" in change.values:
        given = (change.values["rotation"] or {}).get("weights") or {}
    else:
        given = {str(account_id): weight for account_id, weight in present.items() if weight and account_id in senders}
    strangers = [name for name in given if name not in {str(account_id) for account_id in senders}]
    if strangers:
        change.faults["rotation.weights"] = [f"The campaign does not send from account {', '.join(strangers)}."]
    change.weights = {account_id: given.get(str(account_id), 1) if given else None for account_id in senders}


def _check_audience(change: Change) -> None:
    audience = change.values.get("audience", {})
    given = audience.get("recipients") or ()
    if not (audience.get("list_ids") or audience.get("tags") or given):
        change.faults["audience"] = ["Name at least one list, tag or recipient."]
        return
    _check_lists(change, "list_ids", audience.get("list_ids") or ())
    _check_lists(change, "exclude_list_ids", audience.get("exclude_list_ids") or ())
    change.recipients = rows = []
    for at, recipient in enumerate(given):
        try:
            phone = parse_phone(recipient["phone"], default_region=change.default_region)
        except InvalidPhone as error:
            change.faults[f"audience.recipients.{at}.phone"] = [str(error)]
            continue
        variables = content_rules.named_variables(recipient.get("variables") or {})
        rows.append(
            RecipientRow(phone=phone.e164, phone_key=phone.key, name=recipient.get("name"), variables=variables)
        )


def _check_lists(change: Change, name: str, list_ids: Sequence[int]) -> None:
    usable = select(ContactList.id).where(
        ContactList.company_id == change.campaign.company_id, ContactList.id.in_(list_ids)
    )
    _require_known(change, f"audience.{name}", "list", list_ids, usable)


def _require_known(change: Change, field: str, noun: str, given: Sequence[int], found: Select[int]) -> None:
    known = set(change.session.scalars(found))
    missing = dict.fromkeys(str(each) for each in given if each not in known)
    if missing:
        change.faults[field] = [f"There is no {noun} {', '.join(missing)}."]


def _check_start(change: Change) -> None:
    """Find the recurrence to store, and when the campaign starts; None: at the time it had before.

    A series begins at `scheduled_at`, else at its first time from now. In another zone it comes at the same hour.
    """
    campaign, values = change.campaign, change.values
    zone = ZoneInfo(values.get("timezone") or campaign.timezone)
    if "recurrence" not in values:
        if campaign.recurrence is None or "timezone" not in values or change.scheduled_at is not None:
            return
        if series.is_moved(campaign):
            change.recurrence = series.in_zone(campaign, zone)
            return
    written = values.get("recurrence", campaign.recurrence)
    change.recurrence = None
    if written is None:
        return
    try:
        rule = recurrence_rules.parse(written)
    except RecurrenceError as error:
        change.faults[f"recurrence.{error.field}"] = [str(error)]
        return
    begun = _begun(rule, zone, scheduled_at=change.scheduled_at, now=change.now)
    if begun is None:
        change.faults["recurrence.until"] = ["It ends before it comes once."]
        return
    rule, change.scheduled_at = begun
    change.recurrence = series.stored(rule, at=change.scheduled_at)
    if campaign.recurrence is None and series.has_gone_on(change.session, campaign):
        change.faults["recurrence"] = ["Its series goes on in a later occurrence; change that one."]
    elif rule.count is not None and rule.count < campaign.occurrence:
        change.faults["recurrence.count"] = [f"This is occurrence {campaign.occurrence} already."]


def _begun(
    rule: recurrence_rules.Recurrence, zone: ZoneInfo, *, scheduled_at: datetime | None, now: datetime
) -> tuple[recurrence_rules.Recurrence, datetime] | None:
    """Return a recurrence with its first time, or None when it ends before that."""
    if scheduled_at is None:
        return recurrence_rules.begin(rule, zone, now)
    day = scheduled_at.astimezone(zone).date()
    return (rule.starting(day), scheduled_at) if rule.until is None or day <= rule.until else None


def _check_cap(change: Change) -> None:
    cap = change.values.get("frequency_cap")
    if cap is not None:
        try:
            limits.parse_cap(cap)
        except InvalidLimit as error:
            change.faults["frequency_cap"] = [str(error)]


def _check_hours(change: Change) -> None:
    hours = change.values.get("working_hours")
    if hours is not None:
        try:
            working_hours.parse(hours, default_zone="UTC")
        except working_hours.WorkingHoursError as error:
            change.faults[f"working_hours.{error.field}"] = [str(error)]


def _check_content(change: Change) -> None:
    """Check the content, and that somebody in the audience has each variable.

    A new audience may lack variables that the text uses, and replaced recipients do not count any more.
    """
    campaign = change.campaign
    content = change.values.get("content", campaign.content)
    found = content_rules.faults_of(content)
    if found:
        change.faults.update(found)
        return
    try:
        templates = list(content_rules.templates_of(content))
    except rendering.TemplateError as error:
        change.faults[content_rules.field_with_text(content)] = [str(error)]
        return
    if "audience" in change.faults or not any(template.variables for _, template in templates):
        return
    audience = Audience.of(change.values.get("audience", campaign.audience))
    stays = campaign.id if change.recipients is None else None
    known = known_variables(change.session, campaign.company_id, audience, campaign_id=stays) | BUILT_IN_VARIABLES
    for row in change.recipients or ():
        known |= set(row["variables"])
    for name, template in templates:
        try:
            template.check(known)
        except rendering.UnknownVariables as error:
            change.faults[name] = [str(error)]


def _check_suits(change: Change) -> None:
    """Check that one of the accounts can send the content, unless content or accounts have a fault already."""
    if any(name == "account_ids" or name.partition(".")[0] == "content" for name in change.faults):
        return
    campaign = change.campaign
    senders = change.account_ids or reading.account_ids_of(change.session, [campaign.id])[campaign.id]
    unsuited = reading.why_unsuited(change.session, senders, change.values.get("content", campaign.content))
    if unsuited is not None:
        change.faults["content"] = [unsuited]


# In this order: later checks use what earlier ones found.
_CHECKS: tuple[tuple[frozenset[str], Callable[[Change], None]], ...] = (
    (frozenset({"account_ids"}), _check_accounts),
    (frozenset({"account_ids", "rotation"}), _check_weights),
    (frozenset({"audience"}), _check_audience),
    (frozenset({"content", "audience"}), _check_content),
    (frozenset({"content", "account_ids"}), _check_suits),
    (frozenset({"working_hours"}), _check_hours),
    (frozenset({"frequency_cap"}), _check_cap),
    (frozenset({"recurrence", "timezone"}), _check_start),
)
