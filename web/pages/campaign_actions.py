"""What the page of a campaign offers about single messages: resend or dismiss, try again, send a test."""

import uuid
from typing import Any

from flask import request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.models import Campaign, Role
from campaign_engine.rules.states import CAMPAIGN_IS_OVER, CAMPAIGN_MAY_SEND_AGAIN
from campaign_engine.rules.texts import content as content_rules
from campaign_engine.services.campaigns import test_sends
from campaign_engine.services.messages import resending, retrying
from web import auth
from web.pages import facts
from web.pages.blueprint import blueprint
from web.pages.buttons import press

UNDECIDED_SHOWN = 25
FAILURE_GROUPS = 20
TESTS_SHOWN = 5
VARIABLE = "variable:"
"""How the names of the form's fields for variables begin."""


def shown(session: Session, campaign: Campaign) -> dict[str, object]:
    """Return what the templates of these sections need."""
    now, grace_s, may_act = utc_now(), engine().config.unknown_grace_s, auth.may(Role.OPERATOR)
    count = resending.undecided_count(session, campaign, grace_s=grace_s, now=now)
    failures = retrying.failures(session, campaign, now=now, limit=FAILURE_GROUPS + 1)
    used = {name for _, template in content_rules.templates_of(campaign.content) for name in template.variables}
    return {
        "undecided_count": count,
        "undecided": resending.undecided(
            session, campaign.company_id, campaign_id=campaign.id, grace_s=grace_s, now=now, limit=UNDECIDED_SHOWN
        )
        if count
        else [],
        "failures": failures[:FAILURE_GROUPS],
        "failures_cut": len(failures) > FAILURE_GROUPS,
        "may_retry": may_act and campaign.status in CAMPAIGN_MAY_SEND_AGAIN,
        "tests": test_sends.of_campaign(session, campaign, limit=TESTS_SHOWN),
        "may_test": may_act and campaign.status not in CAMPAIGN_IS_OVER,
        "test_variables": sorted(used - {"name", "phone"}),
    }


@blueprint.post("/campaigns/<id:campaign_id>/messages/<uuid:message_id>/<any(resend, dismiss):verb>")
@auth.role_required(Role.OPERATOR)
def decide_message(campaign_id: int, message_id: uuid.UUID, verb: str) -> Response:
    """Resend or dismiss one unknown message."""

    def decide(session: Session, campaign: Campaign) -> str:
        act = resending.resend if verb == "resend" else resending.dismiss
        message = act(session, campaign, message_id, **_decision())
        return f"The message to {message.phone} goes out again." if verb == "resend" else "Dismissed."

    return press(campaign_id, decide)


@blueprint.post("/campaigns/<id:campaign_id>/unknown/<any(resend, dismiss):verb>")
@auth.role_required(Role.OPERATOR)
def decide_unknown(campaign_id: int, verb: str) -> Response:
    """Resend or dismiss every unknown message that waits for a decision."""

    def decide(session: Session, campaign: Campaign) -> str:
        if verb == "dismiss":
            return f"Dismissed: {facts.number(resending.dismiss_all(session, campaign, **_decision()))}."
        done = resending.resend_all(session, campaign, **_decision())
        left = f" {facts.number(done.barred_count)} may not be written to any more." if done.barred_count else ""
        return f"Messages that go out again: {facts.number(done.count)}.{left}"

    return press(campaign_id, decide)


@blueprint.post("/campaigns/<id:campaign_id>/retry")
@auth.role_required(Role.OPERATOR)
def retry_failed(campaign_id: int) -> Response:
    """Send the failed messages of one class and code again."""

    def retry(session: Session, campaign: Campaign) -> str:
        groups = retrying.retry(
            session,
            campaign,
            classes=[request.form.get("error_class", "")],
            codes=[request.form.get("code", "")],
            now=utc_now(),
        )
        return f"Messages that go out again: {facts.number(sum(group.retryable_count for group in groups))}."

    return press(campaign_id, retry)


@blueprint.post("/campaigns/<id:campaign_id>/test")
@auth.role_required(Role.OPERATOR)
def send_test(campaign_id: int) -> Response:
    """Send the campaign's message to one number."""

    def send(session: Session, campaign: Campaign) -> str:
        given = {name: value.replace("\0", "") for name, value in request.form.items()}
        sent = test_sends.send(
            session,
            campaign,
            owner_id=auth.current_user().id,
            values={
                "phone": given.get("phone", "")[:100],
                "name": given.get("name", "").strip()[:200] or None,
                "variables": {
                    name.removeprefix(VARIABLE): value[:4096]
                    for name, value in given.items()
                    if name.startswith(VARIABLE) and value.strip()
                },
            },
            default_region=engine().config.default_region,
            now=utc_now(),
        )
        return f"A test to {sent.message.phone} is under way."

    return press(campaign_id, send)


def _decision() -> dict[str, Any]:
    return {"grace_s": engine().config.unknown_grace_s, "now": utc_now()}
