"""The page of the accounts: how they are, and how fast they may send."""

from datetime import datetime
from http import HTTPStatus

from flask import flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.core import engine, traits_of
from campaign_engine.models import Account, AccountStatus, Company, Role
from campaign_engine.rules.cool_down import Throttle, slowed
from campaign_engine.rules.pacing import Pacing
from campaign_engine.services.accounts import accounts as service
from campaign_engine.services.accounts import activation, health
from campaign_engine.services.company import limits
from campaign_engine.services.messages.planning import pacing_of
from ratelimit import Rate
from web import auth
from web.pages import facts
from web.pages.blueprint import blueprint
from web.transactions import transaction
from web.webhooks import address_for

HEALTH_DETAILS = {
    "display_phone_number": "Number",
    "verified_name": "Name on WhatsApp",
    "quality_rating": "Quality",
    "status": "Status at the provider",
    "can_send_message": "May send",
    "throughput": "Throughput",
    "tier": "Tier",
}
_FRACTIONS = {1: "a half", 2: "a quarter", 3: "an eighth"}
_PERIODS_S = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}


@blueprint.get("/accounts")
@auth.login_required
def accounts() -> str:
    """Show the company's accounts."""
    config, now = engine().config, utc_now()
    company = auth.current_user().company
    with transaction() as session:
        found = service.of_company(session, company.id)
        rows = [_row(account, company, config, now) for account in found]
    return render_template(
        "accounts.html", rows=rows, threshold=config.account_failure_threshold, may_check=auth.may(Role.ADMIN)
    )


@blueprint.post("/accounts/<id:account_id>/check")
@auth.role_required(Role.ADMIN)
def check_account(account_id: int) -> Response:
    """Ask the provider how an account is."""
    here = engine()
    with transaction() as session:
        account = service.get(session, auth.current_user().company_id, account_id)
    checked = health.check(account_id, vault=here.vault, providers=here.providers, config=here.config)
    said = checked.health["summary"] if checked.health else "The provider has not answered yet."
    flash(f"{account.name}: {said}", "done" if checked.is_good else "error")
    return redirect(url_for("pages.accounts"), HTTPStatus.SEE_OTHER)


@blueprint.post("/accounts/<id:account_id>/reactivate")
@auth.role_required(Role.ADMIN)
def reactivate_account(account_id: int) -> Response:
    """Let a deactivated account send again, one message first."""
    with transaction() as session:
        account = service.get(session, auth.current_user().company_id, account_id)
        was_active = account.status == AccountStatus.ACTIVE
        activation.reactivate(session, account, now=utc_now())
    said = "is active already." if was_active else "sends again: one message first, the others when it was accepted."
    flash(f"{account.name} {said}", "done")
    return redirect(url_for("pages.accounts"), HTTPStatus.SEE_OTHER)


def limit_in_words(rate: Rate, *, burst: int) -> str:
    """Return `At most 20 a minute, one every 3 s`."""
    period_s = rate.period_us / 1e6
    period = _PERIODS_S.get(period_s) or facts.duration(period_s)
    often = f"at most {burst} at once" if burst > 1 else f"one every {_seconds(period_s / rate.count)}"
    return f"At most {facts.number(rate.count)} {'a' if period_s in _PERIODS_S else 'in'} {period}, {often}."


def slowness_in_words(rate: Rate, step: int) -> str | None:
    """Return `Slowed to a quarter, one every 12 s, ...` for an account with this limit; None when it is not slowed."""
    if not step:
        return None
    often = _seconds(slowed(rate, step).period_us / 1e6 / rate.count)
    return f"Slowed to {_FRACTIONS.get(step, f'1/{1 << step}')}, one every {often}, after the provider said “too fast”"


def pace_in_words(pacing: Pacing) -> str:
    """Return what the account waits between messages."""
    sentences = []
    if pacing.message_interval_s > 0:
        sentences.append(f"{_seconds(pacing.message_interval_s)} between messages")
    if pacing.longer_interval_after > 0 and pacing.greater_interval_s > 0:
        sentences.append(f"{_seconds(pacing.greater_interval_s)} after each {pacing.longer_interval_after}")
    if pacing.message_delay_s > 0:
        sentences.append(f"{_seconds(pacing.message_delay_s)} between messages of one campaign")
    return f"At least {', '.join(sentences)}." if sentences else "No pause between messages; the limit rules."


def recipients_in_words(account: Account) -> str | None:
    """Return how many different people the account may write to in 24 hours, and what the provider says about that."""
    own, theirs = account.daily_recipient_limit, account.provider_recipient_limit
    if own is None:
        return None
    said = f", the provider says {facts.number(theirs)}" if theirs not in (None, own) else ""
    return f"At most {facts.number(own)} different ones{said}."


def _row(account: Account, company: Company, config: Config, now: datetime) -> dict[str, object]:
    said, checked_at = account.health or {}, account.health_checked_at
    rate = limits.account_rate(account, company, config)
    throttle = Throttle(account.throttle_step, account.throttled_at)
    return {
        "account": account,
        "provider": traits_of(account.provider),
        "number": service.number_of(account) or "no number",
        "limit": limit_in_words(rate, burst=account.burst),
        "slowness": slowness_in_words(rate, throttle.step_at(now)),
        "recovers_at": throttle.recovers_at(now),
        "pace": pace_in_words(pacing_of(account, company, {}, config)),
        "health_age": facts.duration((now - checked_at).total_seconds()) if checked_at else None,
        "health_details": [
            (label, said[key]) for key, label in HEALTH_DETAILS.items() if isinstance(said.get(key), str)
        ],
        "warnings": health.warnings_of(account),
        "recipients": recipients_in_words(account),
        "webhook_url": address_for(account),
    }


def _seconds(value: float) -> str:
    return facts.duration(value) if value >= 1 and value == int(value) else f"{value:.3g} s"
