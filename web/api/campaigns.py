"""Campaigns: drafted, changed, started, paused, resumed, cancelled, followed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.errors import InvalidInput
from campaign_engine.models import Campaign
from campaign_engine.services.campaigns import drafts, lifecycle, reading, series
from campaign_engine.services.campaigns.draft_values import DraftValues
from campaign_engine.services.outlook.progress import STATES
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.auth import current_user
from web.downloads import csv_download
from web.progress import read_progress
from web.schemas.base import PageQuery
from web.schemas.campaigns import (
    CampaignChangeSchema,
    CampaignPageSchema,
    CampaignSchema,
    CampaignShownSchema,
    MessagePageSchema,
    MessageQuery,
    ProgressesQuery,
    ProgressesSchema,
    ProgressQuery,
    ProgressSchema,
)
from web.schemas.fields import MAX_ID
from web.transactions import transaction

MAX_PROGRESS_IDS = 200

EXPORT_FIELDS = (
    "phone",
    "status",
    "status_reason",
    "account_id",
    "attempts",
    "provider_message_id",
    "error_class",
    "error_code",
    "error_detail",
    "accepted_at",
    "sent_at",
    "delivered_at",
    "read_at",
    "failed_at",
)

blueprint = Blueprint("campaigns", __name__, description="Who gets what, from which accounts, when, at what pace.")


@blueprint.route("/campaigns", methods=["GET"])
@blueprint.arguments(PageQuery, location="query", as_kwargs=True)
@blueprint.response(200, CampaignPageSchema)
def list_campaigns(limit: int, cursor: str | None) -> Any:
    """List the campaigns, newest first."""
    with transaction() as session:
        (before_id,) = decode_cursor(cursor, int) or (None,)
        found = reading.of_company(session, company_id(), before_id=before_id, limit=limit + 1)
        listed = page(found, limit=limit)
        return {**listed, "items": _shown(session, listed["items"])}


@blueprint.route("/campaigns", methods=["POST"])
@blueprint.arguments(CampaignSchema)
@blueprint.response(201, CampaignShownSchema)
def create_campaign(values: DraftValues) -> Any:
    """Create a campaign: a draft or, with `scheduled_at` or `recurrence`, one that starts by itself."""
    config, user, now = engine().config, current_user(), utc_now()
    with transaction() as session:
        made = drafts.create(
            session,
            company_id=user.company_id,
            owner_id=user.id,
            values=values,
            default_region=config.default_region,
            default_timezone=user.company.timezone,
            now=now,
        )
        return _shown(session, [made])[0]


@blueprint.route("/campaigns/<id:campaign_id>", methods=["GET"])
@blueprint.response(200, CampaignShownSchema)
def show_campaign(campaign_id: int) -> Any:
    """Show a campaign."""
    with transaction() as session:
        return _shown(session, [reading.get(session, company_id(), campaign_id)])[0]


@blueprint.route("/campaigns/<id:campaign_id>", methods=["PATCH"])
@blueprint.arguments(CampaignChangeSchema(partial=CampaignChangeSchema.optional))
@blueprint.response(200, CampaignShownSchema)
def change_campaign(values: DraftValues, campaign_id: int) -> Any:
    """Change a campaign; what is given replaces what was there, and takes effect at the next message."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        drafts.update(session, campaign, values=values, default_region=engine().config.default_region, now=utc_now())
        session.refresh(campaign)
        return _shown(session, [campaign])[0]


@blueprint.route("/campaigns/<id:campaign_id>", methods=["DELETE"])
@blueprint.response(204)
def delete_campaign(campaign_id: int) -> None:
    """Delete a campaign that never started."""
    with transaction() as session:
        drafts.delete_draft(session, reading.get(session, company_id(), campaign_id), now=utc_now())


@blueprint.route("/campaigns/<id:campaign_id>/start", methods=["POST"])
@blueprint.response(202, CampaignShownSchema)
def start_campaign(campaign_id: int) -> Any:
    """Start a campaign now; of two starts at once one is refused."""
    return _moved(campaign_id, partial(lifecycle.start, now=utc_now()))


@blueprint.route("/campaigns/<id:campaign_id>/pause", methods=["POST"])
@blueprint.response(202, CampaignShownSchema)
def pause_campaign(campaign_id: int) -> Any:
    """Stop sending after the messages in flight."""
    return _moved(campaign_id, lifecycle.pause)


@blueprint.route("/campaigns/<id:campaign_id>/resume", methods=["POST"])
@blueprint.response(202, CampaignShownSchema)
def resume_campaign(campaign_id: int) -> Any:
    """Go on where a pause stopped."""
    return _moved(campaign_id, partial(lifecycle.resume, now=utc_now()))


@blueprint.route("/campaigns/<id:campaign_id>/cancel", methods=["POST"])
@blueprint.response(202, CampaignShownSchema)
def cancel_campaign(campaign_id: int) -> Any:
    """End a campaign for good; what was not sent is never sent."""
    return _moved(campaign_id, partial(lifecycle.cancel, now=utc_now()))


@blueprint.route("/campaigns/<id:campaign_id>/progress", methods=["GET"])
@blueprint.arguments(ProgressQuery, location="query", as_kwargs=True)
@blueprint.response(200, ProgressSchema)
def show_progress(since: int | None, campaign_id: int) -> Any:
    """Show how far a campaign is; with `since`, 304 while the version is still that one."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        if since == campaign.version:
            return Response(status=304)
        return read_progress(session, [campaign])[0]


@blueprint.route("/campaigns/progress", methods=["GET"])
@blueprint.arguments(ProgressesQuery, location="query", as_kwargs=True)
@blueprint.response(200, ProgressesSchema)
def show_progresses(ids: str) -> Any:
    """Show how far several campaigns are, in the order asked for."""
    wanted = _ids(ids)
    with transaction() as session:
        return {"items": read_progress(session, reading.some_of_company(session, company_id(), wanted))}


@blueprint.route("/campaigns/<id:campaign_id>/messages", methods=["GET"])
@blueprint.arguments(MessageQuery, location="query", as_kwargs=True)
@blueprint.response(200, MessagePageSchema)
def list_messages(limit: int, cursor: str | None, status: str | None, campaign_id: int) -> Any:
    """List what became of each recipient, all or those in one state (in the order of sending)."""
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        if status is None:
            (after_key,) = decode_cursor(cursor, str) or ("",)
            found = reading.messages_of(session, campaign, after_key=after_key, limit=limit + 1)
            return page(found, limit=limit, position=lambda message: [message.phone_key])
        (after,) = decode_cursor(cursor, int) or (-1,)
        found = reading.messages_with_status(session, campaign, status, after_position=after, limit=limit + 1)
        return page(found, limit=limit, position=lambda message: [message.position])


@blueprint.route("/campaigns/<id:campaign_id>/export.csv", methods=["GET"])
@blueprint.response(200, {"type": "string"}, content_type="text/csv")
def export_campaign(campaign_id: int) -> Response:
    """Download what became of each recipient."""
    with transaction() as session:
        reading.get(session, company_id(), campaign_id)
    return csv_download(
        f"campaign-{campaign_id}.csv",
        ["message_id", "name", *EXPORT_FIELDS],
        lambda session: (
            (message.id, name, *(getattr(message, field) for field in EXPORT_FIELDS))
            for message, name in reading.export_of(session, campaign_id)
        ),
    )


def _moved(campaign_id: int, move: Callable[[Session, Campaign], None]) -> dict[str, object]:
    with transaction() as session:
        campaign = reading.get(session, company_id(), campaign_id)
        move(session, campaign)
        return _shown(session, [campaign])[0]


def _shown(session: Session, selected: Sequence[Campaign]) -> list[dict[str, object]]:
    ids = [campaign.id for campaign in selected]
    weights, recipients = reading.weights_of(session, ids), reading.recipient_counts_of(session, ids)
    next_starts = series.next_starts_of(session, selected)
    return [
        {
            **{name: getattr(campaign, name) for name in CampaignShownSchema().fields if hasattr(campaign, name)},
            "account_ids": list(weights[campaign.id]),
            "rotation": _rotation(campaign, weights[campaign.id]),
            "next_occurrence_at": next_starts.get(campaign.id),
            "recipient_count": recipients.get(campaign.id, 0),
            "total": campaign.total_count,
            "counts": {state: getattr(campaign, f"{state}_count") for state in STATES},
        }
        for campaign in selected
    ]


def _rotation(campaign: Campaign, weights: Mapping[int, int | None]) -> dict[str, object]:
    chosen = {str(account_id): weight for account_id, weight in weights.items() if weight is not None}
    return {"sticky": campaign.sticky, "weights": chosen or None}


def _ids(given: str) -> list[int]:
    texts = [text.strip() for text in given.split(",")]
    if len(texts) > MAX_PROGRESS_IDS:
        raise InvalidInput.field("ids", f"At most {MAX_PROGRESS_IDS} campaigns at once.")
    if not all(text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_ID for text in texts):
        raise InvalidInput.field("ids", "Give ids of campaigns with commas between them: ids=1,2.")
    return list(dict.fromkeys(int(text) for text in texts))
