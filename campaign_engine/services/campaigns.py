"""Campaigns: drafted, started, paused, resumed, cancelled, completed. Every transition is a compare-and-set."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Text

from campaign_engine.clock import require_aware
from campaign_engine.errors import InvalidInput, NotFound, TransitionNotAllowed
from campaign_engine.logs import get_logger
from campaign_engine.models import (
    Account,
    AccountStatus,
    Campaign,
    CampaignAccount,
    CampaignRecipient,
    Contact,
    Message,
)
from campaign_engine.rules import content as content_rules
from campaign_engine.rules import rendering, working_hours
from campaign_engine.rules.phone import InvalidPhone, parse_phone
from campaign_engine.rules.states import CAMPAIGN_TRANSITIONS, CampaignStatus

log = get_logger(__name__)

MAX_INLINE_RECIPIENTS = 10_000
BUILT_IN_VARIABLES = frozenset({"name", "phone"})
CHANGEABLE_WHILE_OPEN = ("name", "pacing", "working_hours", "content")


@dataclass(frozen=True, slots=True)
class Audience:
    """Who gets a campaign: contacts on any of the lists or with any of the tags, less those on excluded lists."""

    list_ids: Sequence[int]
    tags: Sequence[str]
    exclude_list_ids: Sequence[int]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Audience":
        """Read it from a campaign's row."""
        return cls(
            list_ids=stored.get("list_ids") or [],
            tags=stored.get("tags") or [],
            exclude_list_ids=stored.get("exclude_list_ids") or [],
        )


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
    """Create a campaign, as a draft or, with `scheduled_at`, scheduled.

    `values` has the shape of `POST /campaigns` (contract), ids as integers.

    Raises:
        InvalidInput: names every field that cannot be used.
    """
    faults: dict[str, list[str]] = {}
    account_ids = _checked_accounts(session, company_id, values.get("account_ids") or [], faults)
    audience = values.get("audience") or {}
    recipients = _checked_audience(session, company_id, audience, default_region, faults)
    content = values.get("content") or {}
    _check_content(session, company_id, audience, recipients, content, faults)
    _check_hours(values.get("working_hours"), faults)
    scheduled_at = values.get("scheduled_at")
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
        timezone=values.get("timezone") or default_timezone,
        created_at=now,
    )
    session.add(campaign)
    session.flush()
    session.add_all(CampaignAccount(campaign_id=campaign.id, account_id=account_id) for account_id in account_ids)
    if recipients:
        session.execute(
            insert(CampaignRecipient),
            [{"campaign_id": campaign.id, "position": at, **row} for at, row in enumerate(recipients)],
        )
    session.flush()
    if scheduled_at is not None:
        schedule(session, campaign, at=scheduled_at)
    return campaign


def get(session: Session, company_id: int, campaign_id: int) -> Campaign:
    """Return a campaign of the company, as it is now; NotFound otherwise."""
    campaign = session.get(Campaign, campaign_id, populate_existing=True)
    if campaign is None or campaign.company_id != company_id:
        raise NotFound("campaign", campaign_id)
    return campaign


def of_company(
    session: Session, company_id: int, *, before_id: int | None = None, limit: int = 50
) -> Sequence[Campaign]:
    """Return the company's campaigns, newest first, from before `before_id`."""
    query = select(Campaign).where(Campaign.company_id == company_id)
    if before_id is not None:
        query = query.where(Campaign.id < before_id)
    return session.scalars(query.order_by(Campaign.id.desc()).limit(limit)).all()


def some_of_company(session: Session, company_id: int, campaign_ids: Sequence[int]) -> Sequence[Campaign]:
    """Return those of the given campaigns that are the company's, as they are now, in the order given."""
    found = {
        campaign.id: campaign
        for campaign in session.scalars(
            select(Campaign)
            .where(Campaign.company_id == company_id, Campaign.id.in_(campaign_ids))
            .execution_options(populate_existing=True)
        )
    }
    return [found[campaign_id] for campaign_id in campaign_ids if campaign_id in found]


def account_ids_of(session: Session, campaign_ids: Collection[int]) -> dict[int, list[int]]:
    """Return the accounts of each campaign, in one statement."""
    found: dict[int, list[int]] = {campaign_id: [] for campaign_id in campaign_ids}
    rows = session.execute(
        select(CampaignAccount.campaign_id, CampaignAccount.account_id)
        .where(CampaignAccount.campaign_id.in_(campaign_ids))
        .order_by(CampaignAccount.account_id)
    )
    for row in rows:
        found[row.campaign_id].append(row.account_id)
    return found


def recipient_counts_of(session: Session, campaign_ids: Collection[int]) -> dict[int, int]:
    """Return how many recipients each campaign names itself, in one statement; those with none are left out."""
    rows = session.execute(
        select(CampaignRecipient.campaign_id, func.count().label("recipients"))
        .where(CampaignRecipient.campaign_id.in_(campaign_ids))
        .group_by(CampaignRecipient.campaign_id)
    )
    return {row.campaign_id: row.recipients for row in rows}


def messages_of(session: Session, campaign: Campaign, *, after_key: str = "", limit: int = 100) -> Sequence[Message]:
    """Return a campaign's messages in the order of their equivalence keys, which no send changes."""
    return session.scalars(
        select(Message)
        .where(Message.campaign_id == campaign.id, Message.phone_key > after_key)
        .order_by(Message.phone_key)
        .limit(limit)
    ).all()


def messages_with_status(
    session: Session, campaign: Campaign, status: str, *, after_position: int = -1, limit: int = 100
) -> Sequence[Message]:
    """Return a campaign's messages that are in `status` now, in the order of sending."""
    return session.scalars(
        select(Message)
        .where(
            Message.campaign_id == campaign.id,
            Message.status == status,
            Message.position > after_position,
        )
        .order_by(Message.position)
        .limit(limit)
    ).all()


def export_of(session: Session, campaign_id: int) -> Iterator[Row[Message, str | None]]:
    """Yield every message of a campaign with the name of its contact, in the order of sending, a few at a time."""
    query = (
        select(Message, Contact.name)
        .outerjoin(Contact, Contact.id == Message.contact_id)
        .where(Message.campaign_id == campaign_id)
        .order_by(Message.position)
        .execution_options(yield_per=1000)
    )
    yield from session.execute(query)


def update(session: Session, campaign: Campaign, *, values: Mapping[str, Any], default_region: str) -> None:
    """Change a campaign that is not over; a change of text or pace takes effect at the next message.

    A draft may change in everything; once it has started, its audience and accounts stay.

    Raises:
        InvalidInput: a value cannot be used, or may not change any more.
        TransitionNotAllowed: the campaign is over.
    """
    # Locked, so that it cannot start while its audience is being replaced.
    session.refresh(campaign, with_for_update=True)
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
                faults[name] = ["This cannot change after the start; cancel and make a new campaign."]
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
    if "content" in values or recipients is not None:
        # Another audience may lack the variables of the same text, and the recipients it replaces count no more.
        content = values.get("content", campaign.content)
        stays = campaign.id if recipients is None else None
        _check_content(session, company_id, audience, recipients, content, faults, campaign_id=stays)
    if faults:
        raise InvalidInput(faults)

    for name in ("name", "content", "pacing", "working_hours", "timezone"):
        if name in values:
            setattr(campaign, name, values[name])
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
    if account_ids is not None:
        session.execute(delete(CampaignAccount).where(CampaignAccount.campaign_id == campaign.id))
        session.add_all(CampaignAccount(campaign_id=campaign.id, account_id=account_id) for account_id in account_ids)
    session.flush()
    if values.get("scheduled_at") is not None:
        schedule(session, campaign, at=values["scheduled_at"])


def delete_draft(session: Session, campaign: Campaign) -> None:
    """Delete a campaign that never started.

    Raises:
        TransitionNotAllowed: it has started; what was sent is kept.
    """
    result = session.execute(
        text("DELETE FROM campaigns WHERE id = :id AND status IN ('draft', 'scheduled')"), {"id": campaign.id}
    )
    if not result.rowcount:  # type: ignore[attr-defined]
        raise TransitionNotAllowed(kind="campaign", verb="be deleted", status=campaign.status)
    session.expunge(campaign)


def schedule(session: Session, campaign: Campaign, *, at: datetime) -> None:
    """Let the campaign start by itself at `at`.

    Raises:
        TransitionNotAllowed: it has started already.
    """
    _move(session, campaign, "schedule", scheduled_at=require_aware(at))
    log.info("campaign.scheduled", campaign_id=campaign.id, at=at.isoformat())


def start(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Start a campaign: from now on its audience is frozen and messages are written.

    Two starts at once start once; the other is refused.

    Raises:
        TransitionNotAllowed: it is not a draft or scheduled.
        InvalidInput: nobody would get it, or none of its accounts is active.
    """
    verb_starts_from, _ = CAMPAIGN_TRANSITIONS["start"]
    if campaign.status in verb_starts_from:
        _require_recipients(session, campaign)
        _require_active_account(session, campaign)
    last_contact = session.scalar(text("SELECT max(id) FROM contacts")) or 0
    _move(session, campaign, "start", started_at=now, frozen_through=int(last_contact))
    log.info("campaign.started", campaign_id=campaign.id, company_id=campaign.company_id)


def pause(session: Session, campaign: Campaign, *, reason: str = "paused by an operator") -> None:
    """Stop sending after the messages in flight."""
    _move(session, campaign, "pause", status_reason=reason)
    log.info("campaign.paused", campaign_id=campaign.id, reason=reason)


def resume(session: Session, campaign: Campaign) -> None:
    """Go on where a pause stopped."""
    _move(session, campaign, "resume", status_reason=None)
    log.info("campaign.resumed", campaign_id=campaign.id)


def cancel(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """End a campaign for good; what was not sent is never sent."""
    _move(session, campaign, "cancel", finished_at=now, status_reason=None)
    log.info("campaign.cancelled", campaign_id=campaign.id)


def mark_running(session: Session, campaign: Campaign) -> None:
    """Let a prepared campaign send; its first rows are written."""
    _move(session, campaign, "run")


def fail(session: Session, campaign: Campaign, *, reason: str, now: datetime) -> None:
    """End a campaign that could not be prepared."""
    _move(session, campaign, "fail", status_reason=reason, finished_at=now)
    log.error("campaign.failed", campaign_id=campaign.id, reason=reason)


def complete_finished(session: Session, campaign_ids: Collection[int] | None, *, now: datetime) -> list[int]:
    """Complete those campaigns (or all) that have no row pending or sending left; return which.

    Side effects: logs each once; the compare-and-set makes one caller the one who completed it.
    """
    if campaign_ids is not None and not campaign_ids:
        return []
    narrowed = "" if campaign_ids is None else "AND id = ANY(:ids)"
    rows = session.execute(
        text(
            f"""
            UPDATE campaigns SET status = 'completed', finished_at = :now
            WHERE status = 'running' AND prepared_at IS NOT NULL AND pending_count = 0 AND sending_count = 0 {narrowed}
            RETURNING id, total_count, funnel_sent_count, failed_count, unknown_count, skipped_count
            """  # noqa: S608 - the only inserted text is our own
        ).bindparams(*([bindparam("ids", type_=ARRAY(BigInteger))] if campaign_ids is not None else [])),
        {"now": now, **({"ids": list(campaign_ids)} if campaign_ids is not None else {})},
    ).all()
    for row in rows:
        log.info(
            "campaign.finished",
            campaign_id=row.id,
            total=row.total_count,
            sent=row.funnel_sent_count,
            failed=row.failed_count,
            unknown=row.unknown_count,
            skipped=row.skipped_count,
        )
    return [row.id for row in rows]


CONTENT_FAILURES = 3
"""Refusals of the content itself before a campaign stops: one may be an odd recipient, three are the text."""


def pause_where_content_fails(session: Session, campaign_ids: Collection[int]) -> None:
    """Pause those campaigns whose content the provider has refused a few times, with the provider's words."""
    for campaign_id in campaign_ids:
        details = session.scalars(
            text(
                "SELECT coalesce(error_code || ': ' || error_detail, error_code) FROM messages"
                " WHERE campaign_id = :id AND status = 'failed' AND error_class = 'campaign' LIMIT :few"
            ),
            {"id": campaign_id, "few": CONTENT_FAILURES},
        ).all()
        campaign = session.get_one(Campaign, campaign_id, populate_existing=True)
        if len(details) >= CONTENT_FAILURES and campaign.status == CampaignStatus.RUNNING:
            pause(session, campaign, reason=f"the provider refuses its content ({details[-1]})")


def pause_at_close(session: Session, campaign_id: int) -> None:
    """Pause a campaign whose hours are over and which is to stop then; harmless when it was paused meanwhile."""
    campaign = session.get_one(Campaign, campaign_id, populate_existing=True)
    if campaign.status == CampaignStatus.RUNNING:
        pause(session, campaign, reason="its working hours are over, and it stops at closing time")


def _move(session: Session, campaign: Campaign, verb: str, **values: Any) -> None:
    """Make a transition by guarded UPDATE; whoever comes second is refused."""
    starts_from, leads_to = CAMPAIGN_TRANSITIONS[verb]
    session.flush()
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    result = session.execute(
        text(
            f"UPDATE campaigns SET status = :to_status{', ' + assignments if assignments else ''}"  # noqa: S608
            " WHERE id = :id AND status = ANY(:from_statuses)"
        ).bindparams(bindparam("from_statuses", type_=ARRAY(Text))),
        {"id": campaign.id, "to_status": leads_to, "from_statuses": list(starts_from), **values},
    )
    session.refresh(campaign)
    if not result.rowcount:  # type: ignore[attr-defined]
        raise TransitionNotAllowed(
            kind="campaign", verb=verb, status=campaign.status, code=f"campaign_{campaign.status}"
        )


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
                text("SELECT id FROM contact_lists WHERE company_id = :company AND id = ANY(:ids)").bindparams(
                    bindparam("ids", type_=ARRAY(BigInteger))
                ),
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


def known_variables(
    session: Session, company_id: int, audience: Audience, *, campaign_id: int | None = None
) -> set[str]:
    """Return the names of the variables that some contact of the audience has."""
    rows = session.scalars(
        text(
            """
            SELECT DISTINCT jsonb_object_keys(c.variables) FROM contacts c
            WHERE c.company_id = :company_id AND c.variables <> '{}' AND (
              c.tags && :tags OR EXISTS (
                SELECT 1 FROM contact_list_members lm WHERE lm.contact_id = c.id AND lm.list_id = ANY(:list_ids)
              )
            )
            UNION SELECT DISTINCT jsonb_object_keys(r.variables) FROM campaign_recipients r
            WHERE r.campaign_id = :campaign_id
            """
        ).bindparams(bindparam("tags", type_=ARRAY(Text)), bindparam("list_ids", type_=ARRAY(BigInteger))),
        {
            "company_id": company_id,
            "tags": list(audience.tags),
            "list_ids": list(audience.list_ids),
            "campaign_id": campaign_id,
        },
    )
    return set(rows)


def _require_recipients(session: Session, campaign: Campaign) -> None:
    audience = Audience.of(campaign.audience)
    found = session.scalar(
        text(
            """
            SELECT EXISTS (SELECT 1 FROM campaign_recipients WHERE campaign_id = :campaign_id)
              OR EXISTS (SELECT 1 FROM contact_list_members WHERE list_id = ANY(:list_ids))
              OR EXISTS (SELECT 1 FROM contacts WHERE company_id = :company_id AND tags && :tags)
            """
        ).bindparams(bindparam("tags", type_=ARRAY(Text)), bindparam("list_ids", type_=ARRAY(BigInteger))),
        {
            "campaign_id": campaign.id,
            "list_ids": list(audience.list_ids),
            "company_id": campaign.company_id,
            "tags": list(audience.tags),
        },
    )
    if not found:
        raise InvalidInput.field(
            "audience",
            "Nobody would get this campaign: its lists, tags and recipients are empty.",
            code="no_recipients",
        )


def _require_active_account(session: Session, campaign: Campaign) -> None:
    rows = session.execute(
        select(Account.name, Account.status, Account.status_reason)
        .join(CampaignAccount, CampaignAccount.account_id == Account.id)
        .where(CampaignAccount.campaign_id == campaign.id)
    ).all()
    if not any(row.status == AccountStatus.ACTIVE for row in rows):
        names = "; ".join(f"{row.name}: {row.status_reason or row.status}" for row in rows)
        raise InvalidInput.field("account_ids", f"None of its accounts is active ({names}).", code="no_active_account")
