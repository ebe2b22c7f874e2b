"""What people do about single messages: resend or dismiss unknown ones, try failed ones again, send a test."""

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.services.campaigns import reading, test_sends
from campaign_engine.services.campaigns.test_sends import TestSendValues
from campaign_engine.services.messages import resending, retrying
from campaign_engine.services.messages.resending import Undecided
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.auth import current_user
from web.schemas.base import PageQuery
from web.schemas.campaign_actions import (
    DismissedMessagesSchema,
    ResentMessageSchema,
    ResentMessagesSchema,
    RetriedSchema,
    RetrySchema,
    TestPageSchema,
    TestSchema,
    TestShownSchema,
    UnknownMessagePageSchema,
    UnknownMessagesQuery,
)
from web.schemas.campaigns import MessageSchema
from web.transactions import transaction

blueprint = Blueprint(
    "campaign-actions", __name__, description="Unknown outcomes, failures tried again, and tests of a campaign."
)


@blueprint.route("/unknown-messages", methods=["GET"])
@blueprint.arguments(UnknownMessagesQuery, location="query", as_kwargs=True)
@blueprint.response(200, UnknownMessagePageSchema)
def list_unknown_messages(limit: int, cursor: str | None, campaign_id: int | None) -> Any:
    """List the messages that wait for a person: unknown, past their grace time and not dismissed."""
    position = decode_cursor(cursor, int, int)
    with transaction() as session:
        if campaign_id is not None:
            reading.get(session, company_id(), campaign_id)
        found = resending.undecided(
            session,
            company_id(),
            grace_s=_grace_s(),
            now=utc_now(),
            campaign_id=campaign_id,
            after=(position[0], position[1]) if position else None,
            limit=limit + 1,
        )
        listed = page(found, limit=limit, position=lambda each: [each.campaign_id, each.message.position])
        return {**listed, "items": [_undecided(each) for each in listed["items"]]}


@blueprint.route("/campaigns/<id:campaign_id>/messages/<uuid:message_id>/resend", methods=["POST"])
@blueprint.response(202, ResentMessageSchema)
def resend_message(campaign_id: int, message_id: uuid.UUID) -> Any:
    """Send an unknown message again; the person may get it twice. Only after the grace time, once."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        message = resending.resend(session, campaign, message_id, grace_s=_grace_s(), now=utc_now())
        return {"message": message, "warning": resending.WARNING}


@blueprint.route("/campaigns/<id:campaign_id>/messages/<uuid:message_id>/dismiss", methods=["POST"])
@blueprint.response(200, MessageSchema)
def dismiss_message(campaign_id: int, message_id: uuid.UUID) -> Any:
    """Let an unknown message be: it is listed no more, and a late status still settles it."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        return resending.dismiss(session, campaign, message_id, grace_s=_grace_s(), now=utc_now())


@blueprint.route("/campaigns/<id:campaign_id>/unknown/resend", methods=["POST"])
@blueprint.response(202, ResentMessagesSchema)
def resend_messages(campaign_id: int) -> Any:
    """Send all unknown messages that are past their grace time again; these people may get them twice."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        done = resending.resend_all(session, campaign, grace_s=_grace_s(), now=utc_now())
        excluded = {retrying.Exclusion.OPTED_OUT: done.barred_count} if done.barred_count else {}
        return {"count": done.count, "excluded": _excluded(excluded), "warning": resending.WARNING}


@blueprint.route("/campaigns/<id:campaign_id>/unknown/dismiss", methods=["POST"])
@blueprint.response(200, DismissedMessagesSchema)
def dismiss_messages(campaign_id: int) -> Any:
    """Let all unknown messages be that are past their grace time."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        return {"count": resending.dismiss_all(session, campaign, grace_s=_grace_s(), now=utc_now())}


@blueprint.route("/campaigns/<id:campaign_id>/retry", methods=["POST"])
@blueprint.arguments(RetrySchema)
@blueprint.response(202, RetriedSchema)
def retry_messages(values: dict[str, Any], campaign_id: int) -> Any:
    """Send failed messages of some classes again; with `dry_run` count them only (200)."""
    classes, codes, now = values["classes"], values.get("codes"), utc_now()
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        if values["dry_run"]:
            groups = retrying.failures(session, campaign, classes=classes, codes=codes, now=now)
        else:
            groups = retrying.retry(session, campaign, classes=classes, codes=codes, now=now)
        answer = {
            "dry_run": values["dry_run"],
            "count": sum(group.retryable_count for group in groups),
            "groups": groups,
            "excluded": _excluded(retrying.excluded_in(groups)),
        }
    return answer, HTTPStatus.OK if values["dry_run"] else HTTPStatus.ACCEPTED


@blueprint.route("/campaigns/<id:campaign_id>/test", methods=["POST"])
@blueprint.arguments(TestSchema)
@blueprint.response(202, TestShownSchema)
def test_campaign(values: TestSendValues, campaign_id: int) -> Any:
    """Send the campaign's message to one number, before or while it runs."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        return test_sends.send(
            session,
            campaign,
            owner_id=current_user().id,
            values=values,
            default_region=engine().config.default_region,
            now=utc_now(),
        )


@blueprint.route("/campaigns/<id:campaign_id>/tests", methods=["GET"])
@blueprint.arguments(PageQuery, location="query", as_kwargs=True)
@blueprint.response(200, TestPageSchema)
def list_tests(limit: int, cursor: str | None, campaign_id: int) -> Any:
    """List the tests of a campaign, newest first, with what became of each."""
    (before_id,) = decode_cursor(cursor, int) or (None,)
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        found = test_sends.of_campaign(session, campaign, before_id=before_id, limit=limit + 1)
        return page(found, limit=limit, position=lambda each: [each.campaign.id])


def _grace_s() -> int:
    return engine().config.unknown_grace_s


def _undecided(each: Undecided) -> dict[str, object]:
    return {
        **{name: getattr(each.message, name) for name in (*MessageSchema().fields, "claimed_at")},
        "campaign_id": each.campaign_id,
        "campaign_name": each.campaign_name,
        "resendable": each.resendable,
    }


def _excluded(counts: Mapping[retrying.Exclusion, int]) -> list[dict[str, object]]:
    return [{"reason": reason, "count": count, "text": reason.sentence} for reason, count in counts.items()]
