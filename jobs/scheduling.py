"""Starting, preparing and verifying campaigns. Each job may run twice, at any time, in any order."""

import time
from collections.abc import Callable
from datetime import timedelta

from campaign_engine.clock import utc_now
from campaign_engine.logs import bound, get_logger
from campaign_engine.services.accounts import activation
from campaign_engine.services.campaigns import lifecycle, preparing, reading, schedules
from campaign_engine.services.messages import planning, resending, settling
from campaign_engine.services.messages.planning import Line
from campaign_engine.services.people import confirmations, imports
from campaign_engine.services.webhooks import deliveries
from jobs import enqueueing, health_checks, lease, start_times, waking
from jobs.runtime import Runtime, runtime, transaction

log = get_logger(__name__)

LOOK_AHEAD = timedelta(hours=1)
STALE_CLAIM = timedelta(seconds=lease.LEASE_TTL_S + 3)
"""If a claim is this old and its turn holds no lease, its worker is dead: a living one renews every few seconds."""

HANDOVER_S = 0.3
"""Between its queue and its lease a turn is for a moment in neither; it takes less time than this."""


def start_campaign(campaign_id: int) -> None:
    """RQ job: start a scheduled campaign if its time has come, or say why it does not start."""
    current = runtime()
    with current.app.app_context(), bound(campaign_id=campaign_id), transaction() as session:
        schedules.start_due(session, campaign_id, config=current.config, now=utc_now())


def prepare_campaign(campaign_id: int) -> None:
    """RQ job: write the messages of a started campaign, chunk by chunk; sending starts with the first."""
    current = runtime()
    with current.app.app_context(), bound(campaign_id=campaign_id):
        while True:
            with transaction() as session:
                campaign = preparing.prepare_chunk(session, campaign_id, now=utc_now())
                if campaign is None:
                    return
                if campaign.prepared_at is not None:
                    log.info("campaign.prepared", total=campaign.total_count, skipped=campaign.skipped_count)
                    lifecycle.complete_finished(session, [campaign_id], now=utc_now())
                account_ids = reading.account_ids_of(session, [campaign_id])[campaign_id]
            enqueueing.enqueue_lanes(current.redis, account_ids)
            if current.stopping.is_set():
                enqueueing.enqueue_prepare(current.redis, campaign_id)
                return


def verify_campaigns() -> None:
    """RQ job, every `VERIFY_INTERVAL_S`: find what was lost or missed and put it right. Idempotent."""
    current = runtime()
    with current.app.app_context():
        # Recovery comes first, so that a campaign that cannot be prepared holds up nobody's.
        _expire_stale_claims(current)
        _follow_accounts()
        _rearm_lanes(current)
        _resume_side_work(current)
        _start_what_is_due(current)
        _prepare_what_is_unprepared()
        with transaction() as session:
            lifecycle.complete_finished(session, None, now=utc_now())
            resending.notify_undecided(session, grace_s=current.config.unknown_grace_s, now=utc_now())
        health_checks.watch_accounts(current)


def _start_what_is_due(current: Runtime) -> None:
    now = utc_now()
    with transaction() as session:
        due = schedules.due(session, now=now)
        ahead = schedules.due_within(session, now=now, until=now + LOOK_AHEAD)
    for campaign_id in due:
        start_campaign(campaign_id)
    start_times.ensure(current.redis, ahead)


def _prepare_what_is_unprepared() -> None:
    with transaction() as session:
        unprepared = preparing.unprepared(session)
    for campaign_id in unprepared:
        prepare_campaign(campaign_id)


def _expire_stale_claims(current: Runtime) -> None:
    """Declare the claims of vanished turns unknown: their calls may have left."""
    with transaction() as session:
        claims = settling.claims_older_than(session, utc_now() - STALE_CLAIM)
    holders = lease.holders(current.redis, {account_id for account_id, _ in claims})
    for account_id, token in claims:
        if holders.get(account_id) == str(token):
            continue
        with transaction() as session:
            count = settling.expire_claims(session, token)
        log.warning("claims.expired", account_id=account_id, rows=count)


def _follow_accounts() -> None:
    with transaction() as session:
        activation.pause_stranded(session)
        activation.resume_what_can_send(session, now=utc_now())


def _rearm_lanes(current: Runtime, *, pause: Callable[[float], object] = time.sleep) -> None:
    """Give a turn to every lane that has something to send and no turn anywhere."""
    for line in Line:
        missing = _idle_lanes(current, line)
        if missing:
            pause(HANDOVER_S)
            missing &= _idle_lanes(current, line)
        if missing:
            log.warning("lanes.rearmed", account_ids=sorted(missing), line=line)
            enqueueing.enqueue_lanes(current.redis, missing, line)


def _idle_lanes(current: Runtime, line: Line) -> set[int]:
    with transaction() as session:
        busy = planning.busy_lanes(session, line)
        if line is Line.FIRST:
            busy += confirmations.owing(session, now=utc_now())
    return set(busy) - waking.lanes_with_a_turn(current.redis, busy, line)


def _resume_side_work(current: Runtime) -> None:
    with transaction() as session:
        waiting = deliveries.waiting_count(session)
        unfinished = imports.unfinished(session)
    if waiting:
        enqueueing.enqueue_delivery_events(current.redis)
    for import_id in unfinished:
        enqueueing.enqueue_import_once(current.redis, import_id)
