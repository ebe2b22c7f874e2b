"""Confirming opt-outs: one message each, under the limit and at the pace of the account that the person wrote to.

It is work of the account's lane. The turn that holds the lane does it before the campaigns' messages. So the account
never has more calls in flight than it may, the same limits hold for both, and confirmations come first, however long a
campaign is.
"""

import time
from datetime import datetime, timedelta

from campaign_engine.clock import utc_now
from campaign_engine.logs import get_logger
from campaign_engine.providers.base import Accepted, Outgoing, Refused
from campaign_engine.services.accounts import accounts
from campaign_engine.services.company import limits
from campaign_engine.services.messages import planning, resting
from campaign_engine.services.people import confirmations
from campaign_engine.services.people.confirmations import Confirmation
from jobs import waking
from jobs.runtime import Runtime, transaction
from ratelimit import LimiterUnavailable

log = get_logger(__name__)

LIMITER_PAUSE = timedelta(seconds=2)
"""How long a confirmation waits while the limiter's Redis is away."""


def confirm_opt_outs(current: Runtime, account_id: int, *, deadline: float) -> None:
    """Tell the people to whom an account owes it that their opt-outs were understood, until the turn's `deadline`.

    Call it while holding the lane, with nothing in flight.

    Side effects: if something cannot be sent now, arms a turn at the exact time when it can.
    """
    while True:
        with transaction() as session:
            confirmation = confirmations.next_owed(
                session, account_id, locale=current.config.default_locale, now=utc_now()
            )
        if confirmation is None:
            return
        blocked_until = _take(current, confirmation)
        if blocked_until is None and (current.stopping.is_set() or time.monotonic() >= deadline):
            blocked_until = utc_now()  # The campaigns' messages in between.
        if blocked_until is not None:
            waking.arm(current.redis, account_id, at=blocked_until)
            return


def _take(current: Runtime, confirmation: Confirmation) -> datetime | None:
    """Charge the account's limit, book its pace, claim and send; or return the time of the next try."""
    account, company, config, now = confirmation.account, confirmation.company, current.config, utc_now()
    if account.paced_until is not None and account.paced_until > now:
        return account.paced_until
    try:
        charged = limits.of_call(account, company, config, now=now)
        decision = current.limiter(company.id).acquire([binding.limit for binding in charged])
    except LimiterUnavailable:
        return now + LIMITER_PAUSE  # Fail closed, like every send.
    if not decision.granted:
        return decision.retry_at or now + LIMITER_PAUSE
    pace = planning.pacing_of(account, company, {}, config)
    with transaction() as session:
        if pace.account_is_paced and not resting.take_pace(session, account=account, pace=pace, now=now):
            return now + timedelta(seconds=pace.message_interval_s)  # A turn that lost the lane was faster.
        if not confirmations.claim(session, confirmation.reply_id, now=now):
            return None
    _send(current, confirmation)
    return None


def _send(current: Runtime, confirmation: Confirmation) -> None:
    """Send it. The outcome is logged and changes nothing else: it is not sent a second time."""
    outcome = current.providers[confirmation.account.provider].send(
        accounts.sender_of(confirmation.account, vault=current.vault),
        Outgoing(
            to=confirmation.to,
            content={"type": "text", "text": {"body": confirmation.text}},
            callback_data=f"reply:{confirmation.reply_id}",
        ),
    )
    if isinstance(outcome, Accepted):
        log.info("opt_out.confirmed", reply_id=confirmation.reply_id)
    else:
        code = outcome.failure.code if isinstance(outcome, Refused) else type(outcome).__name__
        log.warning("opt_out.not_confirmed", reply_id=confirmation.reply_id, code=code)
