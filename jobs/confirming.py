"""Confirming opt-outs: one message each, under the limit and at the pace of the account that was written to."""

import random
from datetime import datetime, timedelta

from campaign_engine.clock import utc_now
from campaign_engine.db import transaction
from campaign_engine.logs import bound, get_logger
from campaign_engine.providers.base import Accepted, Outgoing, Refused
from campaign_engine.rules import pacing
from campaign_engine.services import accounts, confirmations, limits, resting, sending
from campaign_engine.services.confirmations import Confirmation
from jobs import enqueueing
from jobs.runtime import Runtime, runtime
from ratelimit import LimiterUnavailable

log = get_logger(__name__)

LIMITER_PAUSE = timedelta(seconds=2)
"""How long a confirmation waits while the limiter's Redis is away."""


def confirm_opt_out(reply_id: int) -> None:
    """RQ job: tell a person that the opt-out was understood; when the account may not send now, at its exact time."""
    current = runtime()
    with current.app.app_context(), bound(reply_id=reply_id):
        with transaction() as session:
            confirmation = confirmations.due(session, reply_id, now=utc_now())
        if confirmation is None:
            return
        blocked_until = _take(current, confirmation)
        if blocked_until is not None:
            enqueueing.enqueue_confirmation(current.redis, reply_id, at=blocked_until)


def _take(current: Runtime, confirmation: Confirmation) -> datetime | None:
    """Charge the account's limit, book its pace, claim and send; or return from when on that can be tried again."""
    account, company, config, now = confirmation.account, confirmation.company, current.config, utc_now()
    if account.paced_until is not None and account.paced_until > now:
        return account.paced_until
    try:
        decision = current.limiter(company.id).acquire([limits.of_account(account, company, config, now=now)])
    except LimiterUnavailable:
        return now + LIMITER_PAUSE  # Fail closed, as every send.
    if not decision.granted:
        return decision.retry_at or now + LIMITER_PAUSE
    pace = sending.pacing_of(account, company, {}, config)
    with transaction() as session:
        if pace.account_is_paced:
            until, series = pacing.next_after(
                pace, series_count=account.series_count, sent_at=now, chance=random.random()
            )
            if not resting.take_pace(session, account=account, until=until, series_count=series, now=now):
                return now + timedelta(seconds=pace.message_interval_s)  # A turn of the lane was faster.
        if not confirmations.claim(session, confirmation.reply_id, now=now):
            return None
    _send(current, confirmation)
    return None


def _send(current: Runtime, confirmation: Confirmation) -> None:
    """Send it. What becomes of it is logged and changes nothing: it is not sent a second time."""
    outcome = current.providers[confirmation.account.provider].send(
        accounts.sender_of(confirmation.account, vault=current.vault, config=current.config),
        Outgoing(
            to=confirmation.to,
            content={"type": "text", "text": {"body": confirmation.text}},
            callback_data=f"reply:{confirmation.reply_id}",
        ),
    )
    if isinstance(outcome, Accepted):
        log.info("opt_out.confirmed", account_id=confirmation.account.id)
    else:
        code = outcome.failure.code if isinstance(outcome, Refused) else type(outcome).__name__
        log.warning("opt_out.not_confirmed", account_id=confirmation.account.id, code=code)
