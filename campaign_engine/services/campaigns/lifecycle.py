"""Campaigns: scheduled, started, paused, resumed, cancelled, completed. Every transition is a compare-and-set."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.clock import require_aware
from campaign_engine.db import affected
from campaign_engine.errors import InvalidInput, OutsideHours, TransitionNotAllowed
from campaign_engine.logs import get_logger
from campaign_engine.models import AccountStatus, Campaign, Company, Template
from campaign_engine.models.template import UNSENDABLE
from campaign_engine.rules.hours import working_hours
from campaign_engine.rules.states import CAMPAIGN_MAY_SEND_AGAIN, CAMPAIGN_TRANSITIONS, CampaignStatus
from campaign_engine.services.campaigns import reading, series
from campaign_engine.services.campaigns.audiences import Audience, has_anybody
from campaign_engine.services.company import audit, notifications

log = get_logger(__name__)

START_TOLERANCE = timedelta(minutes=1)
"""A start time may be this far in the past: clocks differ, and the request takes a while."""

_COMPLETED = "campaign_completed"
"""The `kind` of the notification of a completion."""


def schedule(session: Session, campaign: Campaign, *, at: datetime, now: datetime) -> None:
    """Let the campaign start by itself at `at`.

    Side effects: an entry in the audit log; its start follows the commit.

    Raises:
        InvalidInput: the time is past; a mistyped year would send to everybody at once.
        TransitionNotAllowed: it has started already.
    """
    if require_aware(at) < now - START_TOLERANCE:
        raise InvalidInput.field("scheduled_at", "This time is in the past; leave it out and start the campaign.")
    _move(session, campaign, "schedule", scheduled_at=require_aware(at), status_reason=None, status_code=None)
    arm(session, campaign)
    audit.record(
        session,
        "campaign.scheduled",
        company_id=campaign.company_id,
        subject=campaign.id,
        scheduled_at=at.astimezone(UTC).isoformat(),
    )
    log.info("campaign.scheduled", campaign_id=campaign.id, at=at.isoformat())


def arm(session: Session, campaign: Campaign) -> None:
    """Let the start of a scheduled campaign follow the commit; one that was lost is armed again by it."""
    if campaign.status == CampaignStatus.SCHEDULED and campaign.scheduled_at is not None:
        following.note(session, following.StartAt(campaign.id, campaign.scheduled_at))


def start(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Start a campaign because a person wants it; otherwise as `begin`.

    Side effects: an entry in the audit log; its preparation follows the commit.
    """
    begin(session, campaign, now=now)
    following.note(session, following.Prepare(campaign.id))
    audit.record(session, "campaign.started", company_id=campaign.company_id, subject=campaign.id)


def begin(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Begin a campaign: from now on its audience is frozen and messages may be written.

    Of two starts at once one is refused. The start also writes the next occurrence of a recurring campaign. Outside
    its hours the campaign waits for them to open, even if it stops when they close.

    Raises:
        TransitionNotAllowed: it is not a draft or scheduled.
        InvalidInput: nobody would get it, none of its accounts is active or can send its content, or Meta has stopped
            its template.
    """
    verb_starts_from, _ = CAMPAIGN_TRANSITIONS["start"]
    if campaign.status in verb_starts_from:
        _require_recipients(session, campaign)
        _require_active_account(session, campaign)
        _require_sendable_content(session, campaign)
    last_contact = session.scalar(text("SELECT max(id) FROM contacts")) or 0
    _move(
        session,
        campaign,
        "start",
        started_at=now,
        frozen_through=int(last_contact),
        status_reason=None,
        status_code=None,
    )
    series.write_next(session, campaign, after=now, now=now)
    log.info("campaign.started", campaign_id=campaign.id, company_id=campaign.company_id)


def miss(session: Session, campaign: Campaign, *, reason: str) -> None:
    """Make a draft of a scheduled campaign that missed its time, for a person to start or to schedule anew.

    It loses its recurrence: the series goes on with the next occurrence, or is over.
    """
    _move(session, campaign, "miss", status_reason=reason, status_code="missed_start", recurrence=None)
    log.warning("campaign.start_missed", campaign_id=campaign.id, reason=reason)


def pause(session: Session, campaign: Campaign) -> None:
    """Stop sending after the messages in flight, because a person wants it.

    Side effects: an entry in the audit log; its lanes are woken after the commit.
    """
    interrupt(session, campaign, reason="paused by an operator", code="operator")
    _wake(session, campaign)
    audit.record(session, "campaign.paused", company_id=campaign.company_id, subject=campaign.id)


def interrupt(session: Session, campaign: Campaign, *, reason: str, code: str) -> None:
    """Stop sending after the messages in flight; `reason` is the sentence for people, `code` the word for programs."""
    _move(session, campaign, "pause", status_reason=reason, status_code=code)
    log.info("campaign.paused", campaign_id=campaign.id, code=code, reason=reason)


def resume(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Go on where a pause stopped, because a person wants it.

    Side effects: an entry in the audit log; its lanes are woken after the commit.

    Raises:
        InvalidInput: none of its accounts is active; it goes on by itself when one is.
        OutsideHours: it stops at closing time, and its hours are over.
        TransitionNotAllowed: it is not paused.
    """
    if campaign.status == CampaignStatus.PAUSED:
        _require_active_account(session, campaign)
        _require_open_hours(session, campaign, now=now)
    go_on(session, campaign, now=now)
    _wake(session, campaign)
    audit.record(session, "campaign.resumed", company_id=campaign.company_id, subject=campaign.id)


def go_on(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Let a paused campaign run because what held it is over. If its hours are over by now, its next turn stops it.

    Raises:
        TransitionNotAllowed: it is not paused.
    """
    _move(session, campaign, "resume", status_reason=None, status_code=None, resumed_at=now)
    log.info("campaign.resumed", campaign_id=campaign.id)


def cancel(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """End a campaign for good, and its tests with it; what was not sent is never sent.

    Side effects: an entry in the audit log; its lanes are woken after the commit.
    """
    _move(session, campaign, "cancel", finished_at=now, status_reason=None, status_code=None)
    cancel_tests(session, campaign, now=now)
    _wake(session, campaign)
    audit.record(session, "campaign.cancelled", company_id=campaign.company_id, subject=campaign.id)
    log.info("campaign.cancelled", campaign_id=campaign.id)


def cancel_tests(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """End the tests of a campaign that still wait; a message whose call has begun is still settled."""
    # In the order of their ids, as the triggers count message rows, so that neither waits for the other in a ring.
    test_ids = session.scalars(
        text(
            "WITH waiting AS (SELECT id FROM campaigns WHERE parent_id = :id AND kind = 'test'"
            "   AND status = ANY(CAST(:from_statuses AS text[])) ORDER BY id FOR UPDATE)"
            " UPDATE campaigns c SET status = 'cancelled', finished_at = :now, status_reason = NULL, status_code = NULL"
            " FROM waiting WHERE c.id = waiting.id RETURNING c.id"
        ),
        {"id": campaign.id, "now": now, "from_statuses": list(CAMPAIGN_TRANSITIONS["cancel"][0])},
    ).all()
    if test_ids:
        log.info("campaign.tests_cancelled", campaign_id=campaign.id, test_ids=sorted(test_ids))


def reopen(session: Session, campaign: Campaign, *, verb: str, now: datetime) -> None:
    """Let a campaign send messages that a person has just put back; a completed one runs again.

    Call it after these rows are pending again: their counters keep the campaign in the state that is checked here.

    Side effects: its lanes are woken after the commit.

    Raises:
        OutsideHours: it is completed and stops at closing time, and its hours are over.
        TransitionNotAllowed: it was cancelled or could not be prepared; `verb` names the action that is refused.
    """
    session.refresh(campaign)
    if campaign.status not in CAMPAIGN_MAY_SEND_AGAIN:
        raise TransitionNotAllowed.by_status("campaign", campaign.status, verb=verb)
    if campaign.status == CampaignStatus.COMPLETED:
        _require_open_hours(session, campaign, now=now)
        _move(session, campaign, "reopen", finished_at=None)
        log.info("campaign.reopened", campaign_id=campaign.id)
    _wake(session, campaign)


def mark_running(session: Session, campaign: Campaign) -> None:
    """Let a prepared campaign send; its first rows are written."""
    _move(session, campaign, "run")


def fail(session: Session, campaign: Campaign, *, reason: str, now: datetime) -> None:
    """End a campaign that could not be prepared."""
    _move(session, campaign, "fail", status_reason=reason, finished_at=now)
    log.error("campaign.failed", campaign_id=campaign.id, reason=reason)


def complete_finished(session: Session, campaign_ids: Collection[int] | None, *, now: datetime) -> list[int]:
    """Complete the campaigns (among these, or all) with no row pending or sending left; return which.

    Side effects: logs each completion; by the compare-and-set only one caller completes a campaign. Only the first
    completion of a campaign is notified: later ones follow messages that a person has put back, and that person is
    looking.
    """
    if campaign_ids is not None and not campaign_ids:
        return []
    narrowed = "" if campaign_ids is None else "AND id = ANY(CAST(:ids AS bigint[]))"
    rows = session.execute(
        text(
            f"""
            UPDATE campaigns SET status = 'completed', finished_at = :now, status_reason = NULL,
              status_code = NULL
            WHERE status = 'running' AND prepared_at IS NOT NULL AND pending_count = 0 AND sending_count = 0 {narrowed}
            RETURNING id, company_id, kind, name, total_count, funnel_sent_count, failed_count, unknown_count,
              skipped_count, sent_count + delivered_count + read_count AS accepted_count,
              EXISTS (
                SELECT 1 FROM notifications n WHERE n.company_id = campaigns.company_id
                  AND n.kind = '{_COMPLETED}' AND n.subject_id = CAST(campaigns.id AS text)
              ) AS told
            """  # noqa: S608 - the only inserted texts are our own
        ),
        {"now": now, "ids": None if campaign_ids is None else list(campaign_ids)},
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
        if row.kind == "campaign" and not row.told:
            _notify_completed(session, row)
    return [row.id for row in rows]


def _notify_completed(session: Session, row: Row[Any]) -> None:
    parts = [f"{row.accepted_count} of {row.total_count} sent", f"{row.failed_count} failed"]
    if row.skipped_count:
        parts.append(f"{row.skipped_count} skipped")
    if row.unknown_count:
        parts.append(f"{row.unknown_count} unknown: look at them")
    notifications.notify(
        session,
        company_id=row.company_id,
        kind=_COMPLETED,
        severity="warning" if row.unknown_count else "info",
        text=f"The campaign {row.name} is completed: {', '.join(parts)}.",
        subject=("campaign", row.id),
    )


CONTENT_FAILURES = 3
"""How many refusals of the content pause a campaign: one may be an odd recipient, three mean the text."""


def pause_where_content_fails(session: Session, campaign_ids: Collection[int]) -> None:
    """Pause campaigns, among these, whose content the provider has refused a few times; give the provider's words."""
    for campaign_id in campaign_ids:
        campaign = session.get_one(Campaign, campaign_id, populate_existing=True, with_for_update=True)
        # Failures count since somebody last let it go on: that person knew of the earlier ones.
        details = session.scalars(
            text(
                "SELECT coalesce(error_code || ': ' || error_detail, error_code) FROM messages"
                " WHERE campaign_id = :id AND status = 'failed' AND error_class = 'campaign'"
                " AND failed_at > coalesce(CAST(:since AS timestamptz), '-infinity') ORDER BY failed_at DESC LIMIT :few"
            ),
            {"id": campaign_id, "few": CONTENT_FAILURES, "since": campaign.resumed_at},
        ).all()
        if len(details) >= CONTENT_FAILURES and campaign.status == CampaignStatus.RUNNING:
            interrupt(
                session, campaign, reason=f"the provider refuses its content ({details[0]})", code="content_refused"
            )


def pause_at_close(session: Session, campaign_id: int) -> None:
    """Pause a campaign that stops at closing time; harmless when it was paused meanwhile."""
    campaign = session.get_one(Campaign, campaign_id, populate_existing=True, with_for_update=True)
    if campaign.status == CampaignStatus.RUNNING:
        interrupt(
            session, campaign, reason="its working hours are over, and it stops at closing time", code="closing_time"
        )


def _wake(session: Session, campaign: Campaign) -> None:
    following.wake(session, reading.account_ids_of(session, [campaign.id])[campaign.id])


def _move(session: Session, campaign: Campaign, verb: str, **values: Any) -> None:
    """Make a transition by guarded UPDATE; the second of two callers is refused."""
    starts_from, leads_to = CAMPAIGN_TRANSITIONS[verb]
    session.flush()
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    result = session.execute(
        text(
            f"UPDATE campaigns SET status = :to_status{', ' + assignments if assignments else ''}"  # noqa: S608
            " WHERE id = :id AND status = ANY(CAST(:from_statuses AS text[]))"
        ),
        {"id": campaign.id, "to_status": leads_to, "from_statuses": list(starts_from), **values},
    )
    reading.reread(session, campaign)
    if not affected(result):
        raise TransitionNotAllowed.by_status("campaign", campaign.status, verb=verb)


def _require_recipients(session: Session, campaign: Campaign) -> None:
    audience = Audience.of(campaign.audience)
    if not has_anybody(session, campaign.company_id, audience, campaign_id=campaign.id):
        raise InvalidInput.field(
            "audience",
            "Nobody would get this campaign: its lists, tags and recipients are empty.",
            code="no_recipients",
        )


def _require_active_account(session: Session, campaign: Campaign) -> None:
    accounts = reading.accounts_of(session, campaign)
    if not any(account.status == AccountStatus.ACTIVE for account in accounts):
        said = f"None of its accounts is active ({reading.why_not_active(accounts)})."
        raise InvalidInput.field("account_ids", said, code="no_active_account")


def _require_open_hours(session: Session, campaign: Campaign, *, now: datetime) -> None:
    """Refuse to run a campaign that its next turn would stop at once: see `Candidate.stops_now`."""
    if campaign.working_hours is None or not campaign.funnel_sent_count:
        return
    company = session.get_one(Company, campaign.company_id)
    hours = working_hours.of_campaign(
        campaign.working_hours, timezone=campaign.timezone, company_timezone=company.timezone
    )
    if hours.stops_at_close and hours.open_until(now) is None:
        raise OutsideHours(status=campaign.status, opens_at=hours.opens_at(now), zone=hours.zone)


def _require_sendable_content(session: Session, campaign: Campaign) -> None:
    unsuited = reading.why_unsuited(
        session, reading.account_ids_of(session, [campaign.id])[campaign.id], campaign.content
    )
    if unsuited is not None:
        raise InvalidInput.field("content", unsuited, code="content_not_supported")
    if campaign.content["type"] != "template":
        return
    name, language = campaign.content["name"], campaign.content["language"]
    status = session.scalar(
        select(Template.status).where(
            Template.company_id == campaign.company_id, Template.name == name, Template.language == language
        )
    )
    if status is not None and status.upper() in UNSENDABLE:
        raise InvalidInput.field(
            "content",
            f"Its template {name} ({language}) is {status.lower()}: the provider refuses it.",
            code="template_paused",
        )
