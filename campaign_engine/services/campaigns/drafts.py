"""Drafts: campaigns made, changed and deleted, with every value checked before it is stored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.models import Account, AccountStatus, Campaign, CampaignAccount, CampaignRecipient
from campaign_engine.rules import recurrence as recurrence_rules
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.phone import InvalidPhone, parse_phone
from campaign_engine.rules.recurrence import RecurrenceError
from campaign_engine.rules.states import CampaignStatus
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.rules.texts import rendering
from campaign_engine.services.campaigns import lifecycle, series
from campaign_engine.services.campaigns.audiences import MAX_INLINE_RECIPIENTS, Audience, known_variables
from campaign_engine.services.company import limits

BUILT_IN_VARIABLES = frozenset({"name", "phone"})
CHANGEABLE_WHILE_OPEN = ("name", "pacing", "working_hours", "content", "frequency_cap")
_UNCHANGEABLE = {
    "rotation": "Its messages are dealt out to its accounts already; cancel and make a new campaign.",
    "recurrence": "This occurrence has started; change the series in the next one.",
}
_DECIDED_AT_THE_START = "This cannot change after the start; cancel and make a new campaign."


def create(
    session: Session,
    *,
    company_id: int,
    owner_id: int,
    values: Mapping[str, Any],
    default_region: str,
    default_timezone: str,
    now: datetime,
) -> Campaign:
    """Create a campaign, as a draft or, with `scheduled_at` or `recurrence`, scheduled.

    `values` has the shape of `POST /campaigns`, ids as integers. A recurrence without `scheduled_at` begins
    at its first time from now.

    Raises:
        InvalidInput: names every field that cannot be used.
    """
    faults: dict[str, list[str]] = {}
    account_ids = _checked_accounts(session, company_id, values.get("account_ids") or [], faults)
    audience = values.get("audience") or {}
    recipients = _checked_audience(session, company_id, audience, default_region, faults)
    content = values.get("content") or {}
    _check_content(session, company_id, audience, recipients, content, faults)
    _check_suits(session, account_ids, content, faults)
    _check_hours(values.get("working_hours"), faults)
    _check_cap(values.get("frequency_cap"), faults)
    rotation = values.get("rotation") or {}
    weights = _checked_weights(rotation.get("weights") or {}, account_ids, faults)
    timezone = values.get("timezone") or default_timezone
    recurrence, scheduled_at = _checked_recurrence(
        values.get("recurrence"), ZoneInfo(timezone), scheduled_at=values.get("scheduled_at"), now=now, faults=faults
    )
    if faults:
        raise InvalidInput(faults)

    campaign = Campaign(
        company_id=company_id,
        owner_id=owner_id,
        name=values["name"],
        audience={key: audience[key] for key in ("list_ids", "tags", "exclude_list_ids") if audience.get(key)},
        content=dict(content),
        pacing={key: value for key, value in (values.get("pacing") or {}).items() if value is not None},
        working_hours=values.get("working_hours"),
        timezone=timezone,
        sticky=bool(rotation.get("sticky")),
        frequency_cap=values.get("frequency_cap"),
        start_late_s=values.get("start_late_s"),
        recurrence=recurrence,
        created_at=now,
    )
    session.add(campaign)
    session.flush()
    _write_accounts(session, campaign, weights)
    if recipients:
        session.execute(
            insert(CampaignRecipient),
            [{"campaign_id": campaign.id, "position": at, **row} for at, row in enumerate(recipients)],
        )
    session.flush()
    if scheduled_at is not None:
        lifecycle.schedule(session, campaign, at=scheduled_at, now=now)
    return campaign


def update(
    session: Session, campaign: Campaign, *, values: Mapping[str, Any], default_region: str, now: datetime
) -> None:
    """Change a campaign that is not over; a change of text or pace takes effect at the next message.

    A draft may change in everything; once it has started, its audience and accounts stay. A change of the scheduled
    occurrence of a series holds for those after it too, but for `scheduled_at`, which moves this one alone.

    Raises:
        InvalidInput: a value cannot be used, or may not change any more.
        TransitionNotAllowed: the campaign is over.
    """
    if "working_hours" in values:
        # Before the campaign is locked: whoever sends locks its rows first, and then counts them.
        _free_waiting(session, campaign)
    # Locked, so that it cannot start while its audience is being replaced.
    lifecycle.reread(session, campaign, locked=True)
    if campaign.status not in (
        CampaignStatus.DRAFT,
        CampaignStatus.SCHEDULED,
        CampaignStatus.PREPARING,
        CampaignStatus.RUNNING,
        CampaignStatus.PAUSED,
    ):
        raise TransitionNotAllowed(kind="campaign", verb="change", status=campaign.status)
    faults: dict[str, list[str]] = {}
    started = campaign.status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED)
    if started:
        for name in values:
            if name not in CHANGEABLE_WHILE_OPEN:
                faults[name] = [_UNCHANGEABLE.get(name, _DECIDED_AT_THE_START)]
    company_id = campaign.company_id
    audience = values.get("audience", campaign.audience)
    recipients: list[dict[str, Any]] | None = None
    if "audience" in values and not started:
        recipients = _checked_audience(session, company_id, audience, default_region, faults)
    account_ids = None
    if "account_ids" in values and not started:
        account_ids = _checked_accounts(session, company_id, values["account_ids"], faults)
    if "working_hours" in values:
        _check_hours(values["working_hours"], faults)
    if "frequency_cap" in values:
        _check_cap(values["frequency_cap"], faults)
    weights: dict[int, int | None] | None = None
    if not started and ("rotation" in values or account_ids is not None):
        weights = _changed_weights(session, campaign, values, account_ids, faults)
    scheduled_at = values.get("scheduled_at")
    recurrence = campaign.recurrence
    if not started and _moves_series(campaign, values):
        recurrence, scheduled_at = _changed_recurrence(session, campaign, values, now=now, faults=faults)
    if "content" in values or recipients is not None:
        # Another audience may lack the variables of the same text, and the recipients it replaces count no more.
        content = values.get("content", campaign.content)
        stays = campaign.id if recipients is None else None
        _check_content(session, company_id, audience, recipients, content, faults, campaign_id=stays)
    if "content" in values or account_ids is not None:
        senders = account_ids or lifecycle.account_ids_of(session, [campaign.id])[campaign.id]
        _check_suits(session, senders, values.get("content", campaign.content), faults)
    if faults:
        raise InvalidInput(faults)

    for name in ("name", "content", "pacing", "working_hours", "timezone", "frequency_cap", "start_late_s"):
        if name in values:
            setattr(campaign, name, values[name])
    if "rotation" in values:
        campaign.sticky = bool((values["rotation"] or {}).get("sticky"))
    campaign.recurrence = recurrence
    if recipients is not None:
        campaign.audience = {
            key: audience[key] for key in ("list_ids", "tags", "exclude_list_ids") if audience.get(key)
        }
        session.execute(delete(CampaignRecipient).where(CampaignRecipient.campaign_id == campaign.id))
        if recipients:
            session.execute(
                insert(CampaignRecipient),
                [{"campaign_id": campaign.id, "position": at, **row} for at, row in enumerate(recipients)],
            )
    if weights is not None:
        session.execute(delete(CampaignAccount).where(CampaignAccount.campaign_id == campaign.id))
        _write_accounts(session, campaign, weights)
    session.flush()
    if scheduled_at is not None:
        lifecycle.schedule(session, campaign, at=scheduled_at, now=now)


def _free_waiting(session: Session, campaign: Campaign) -> None:
    """Let the rows that wait for their recipients' hours be looked at again: other hours may be open."""
    session.execute(
        text(
            "UPDATE messages SET next_attempt_at = NULL"
            " WHERE campaign_id = :id AND status = 'pending' AND attempts = 0 AND next_attempt_at IS NOT NULL"
        ),
        {"id": campaign.id},
    )


def delete_draft(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Delete a campaign that never started; its tests that still wait end with it.

    Raises:
        NotFound: somebody else has just deleted it.
        TransitionNotAllowed: it has started; what was sent is kept.
    """
    identity = {"id": campaign.id}
    # Locked before its tests are looked for: one that is being asked for is there by then, or is refused.
    status = session.scalar(text("SELECT status FROM campaigns WHERE id = :id FOR UPDATE"), identity)
    if status is None:
        raise NotFound("campaign", campaign.id)
    if status not in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        raise TransitionNotAllowed(kind="campaign", verb="be deleted", status=status)
    lifecycle.cancel_tests(session, campaign, now=now)
    session.execute(text("DELETE FROM campaigns WHERE id = :id"), identity)
    session.expunge(campaign)


def _checked_accounts(
    session: Session, company_id: int, account_ids: Sequence[int], faults: dict[str, list[str]]
) -> list[int]:
    if not account_ids:
        faults["account_ids"] = ["At least one account is needed."]
        return []
    distinct = list(dict.fromkeys(account_ids))
    known = set(
        session.scalars(
            select(Account.id).where(
                Account.company_id == company_id,
                Account.id.in_(distinct),
                Account.status != AccountStatus.DELETED,
            )
        )
    )
    missing = [str(account_id) for account_id in distinct if account_id not in known]
    if missing:
        faults["account_ids"] = [f"There is no account {', '.join(missing)}."]
    return distinct


def _checked_audience(
    session: Session,
    company_id: int,
    audience: Mapping[str, Any],
    default_region: str,
    faults: dict[str, list[str]],
) -> list[dict[str, Any]]:
    """Check an audience; return its inline recipients as rows, in the order given."""
    recipients = audience.get("recipients") or []
    if not (audience.get("list_ids") or audience.get("tags") or recipients):
        faults["audience"] = ["Name at least one list, tag or recipient."]
        return []
    for name in ("list_ids", "exclude_list_ids"):
        wanted = list(dict.fromkeys(audience.get(name) or []))
        known = set(
            session.scalars(
                text("SELECT id FROM contact_lists WHERE company_id = :company AND id = ANY(CAST(:ids AS bigint[]))"),
                {"company": company_id, "ids": wanted},
            )
        )
        missing = [str(list_id) for list_id in wanted if list_id not in known]
        if missing:
            faults[f"audience.{name}"] = [f"There is no list {', '.join(missing)}."]
    if len(recipients) > MAX_INLINE_RECIPIENTS:
        faults["audience.recipients"] = [
            f"At most {MAX_INLINE_RECIPIENTS:,} recipients can be given inline; import a list instead."
        ]
        return []
    rows: list[dict[str, Any]] = []
    for at, recipient in enumerate(recipients):
        try:
            phone = parse_phone(recipient["phone"], default_region=default_region)
        except InvalidPhone as error:
            faults[f"audience.recipients.{at}.phone"] = [str(error)]
            continue
        rows.append(
            {
                "phone": phone.e164,
                "phone_key": phone.key,
                "name": recipient.get("name"),
                "variables": content_rules.named_variables(recipient.get("variables") or {}),
            }
        )
    return rows


def _checked_weights(
    given: Mapping[str, int], account_ids: Sequence[int], faults: dict[str, list[str]]
) -> dict[int, int | None]:
    """Return the weight of each account: none at all, or 1 for those that `given` does not name."""
    strangers = [name for name in given if name not in {str(account_id) for account_id in account_ids}]
    if strangers:
        faults["rotation.weights"] = [f"The campaign does not send from account {', '.join(strangers)}."]
    return {account_id: given.get(str(account_id), 1) if given else None for account_id in account_ids}


def _changed_weights(
    session: Session,
    campaign: Campaign,
    values: Mapping[str, Any],
    account_ids: Sequence[int] | None,
    faults: dict[str, list[str]],
) -> dict[int, int | None]:
    """Return the weight of each account after a change of the accounts, of the weights, or of both."""
    present = lifecycle.weights_of(session, [campaign.id])[campaign.id]
    senders = list(present) if account_ids is None else account_ids
    if "rotation" in values:
        return _checked_weights((values["rotation"] or {}).get("weights") or {}, senders, faults)
    kept = {str(account_id): weight for account_id, weight in present.items() if weight and account_id in senders}
    return _checked_weights(kept, senders, faults)


def _write_accounts(session: Session, campaign: Campaign, weights: Mapping[int, int | None]) -> None:
    session.add_all(
        CampaignAccount(campaign_id=campaign.id, account_id=account_id, weight=weight)
        for account_id, weight in weights.items()
    )


def _checked_recurrence(
    value: Mapping[str, Any] | None,
    zone: ZoneInfo,
    *,
    scheduled_at: datetime | None,
    now: datetime,
    faults: dict[str, list[str]],
) -> tuple[dict[str, Any] | None, datetime | None]:
    """Return a recurrence as it is stored, and when the campaign starts: at `scheduled_at`, else at its first time."""
    if value is None:
        return None, scheduled_at
    try:
        rule = recurrence_rules.parse(value)
    except RecurrenceError as error:
        faults[f"recurrence.{error.field}"] = [str(error)]
        return None, scheduled_at
    if scheduled_at is not None:
        day = scheduled_at.astimezone(zone).date()
        begun = (rule.starting(day), scheduled_at) if rule.until is None or day <= rule.until else None
    else:
        begun = recurrence_rules.begin(rule, zone, now)
    if begun is None:
        faults["recurrence.until"] = ["It ends before it comes once."]
        return None, scheduled_at
    rule, at = begun
    return series.stored(rule, at=at), at


def _moves_series(campaign: Campaign, values: Mapping[str, Any]) -> bool:
    elsewhere = "timezone" in values and campaign.recurrence is not None and values.get("scheduled_at") is None
    return "recurrence" in values or elsewhere


def _changed_recurrence(
    session: Session, campaign: Campaign, values: Mapping[str, Any], *, now: datetime, faults: dict[str, list[str]]
) -> tuple[dict[str, Any] | None, datetime | None]:
    """Return the new recurrence of a campaign that has not started, and when it starts (None: when it did before)."""
    if "recurrence" not in values and series.is_moved(campaign):
        return series.in_zone(campaign, ZoneInfo(values.get("timezone") or campaign.timezone)), None
    changed, at = _checked_recurrence(
        values.get("recurrence", campaign.recurrence),
        ZoneInfo(values.get("timezone") or campaign.timezone),
        scheduled_at=values.get("scheduled_at"),
        now=now,
        faults=faults,
    )
    if changed is not None and campaign.recurrence is None and series.has_gone_on(session, campaign):
        faults["recurrence"] = ["Its series goes on in a later occurrence; change that one."]
    elif changed is not None and changed.get("count", campaign.occurrence) < campaign.occurrence:
        faults["recurrence.count"] = [f"This is occurrence {campaign.occurrence} already."]
    return changed, at


def _check_cap(value: str | None, faults: dict[str, list[str]]) -> None:
    fault = limits.frequency_cap_fault(value) if value is not None else None
    if fault is not None:
        faults["frequency_cap"] = [fault]


def _check_hours(value: Mapping[str, Any] | None, faults: dict[str, list[str]]) -> None:
    if value is not None:
        try:
            working_hours.parse(value, default_zone="UTC")
        except working_hours.WorkingHoursError as error:
            faults[f"working_hours.{error.field}"] = [str(error)]


def _check_content(
    session: Session,
    company_id: int,
    audience: Mapping[str, Any],
    recipients: Sequence[Mapping[str, Any]] | None,
    content: Mapping[str, Any],
    faults: dict[str, list[str]],
    *,
    campaign_id: int | None = None,
) -> None:
    found = content_rules.faults_of(content)
    if found:
        faults.update(found)
        return
    try:
        templates = list(content_rules.templates_of(content))
    except rendering.TemplateError as error:
        faults[content_rules.field_with_text(content)] = [str(error)]
        return
    if "audience" in faults or not any(template.variables for _, template in templates):
        return
    known = known_variables(session, company_id, Audience.of(audience), campaign_id=campaign_id) | BUILT_IN_VARIABLES
    for row in recipients or ():
        known |= set(row["variables"])
    for name, template in templates:
        try:
            template.check(known)
        except rendering.UnknownVariables as error:
            faults[name] = [str(error)]


def _check_suits(
    session: Session, account_ids: Sequence[int], content: Mapping[str, Any], faults: dict[str, list[str]]
) -> None:
    if any(name == "account_ids" or name.partition(".")[0] == "content" for name in faults):
        return
    unsuited = lifecycle.why_unsuited(session, account_ids, content)
    if unsuited is not None:
        faults["content"] = [unsuited]
