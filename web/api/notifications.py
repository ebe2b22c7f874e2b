"""Notifications: what the people of a company should know."""

from typing import Any

from campaign_engine.clock import utc_now
from campaign_engine.services.company import notifications
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.notices import (
    MarkedSchema,
    NotificationPageSchema,
    NotificationQuery,
    NotificationSchema,
    ReadAllSchema,
)
from web.transactions import transaction

blueprint = Blueprint("notifications", __name__, description="What the people of the company should know.")


@blueprint.route("/notifications", methods=["GET"])
@blueprint.arguments(NotificationQuery, location="query", as_kwargs=True)
@blueprint.response(200, NotificationPageSchema)
def list_notifications(limit: int, cursor: str | None, unread: bool | None) -> Any:
    """List the notifications, newest first."""
    with transaction() as session:
        (before_id,) = decode_cursor(cursor, int) or (None,)
        found = notifications.of_company(session, company_id(), unread=unread, before_id=before_id, limit=limit + 1)
        return page(found, limit=limit)


@blueprint.route("/notifications/<id:notification_id>/read", methods=["POST"])
@blueprint.response(200, NotificationSchema)
def read_notification(notification_id: int) -> Any:
    """Mark a notification as read, for everybody; the first time counts."""
    with transaction() as session:
        found = notifications.get(session, company_id(), notification_id)
        notifications.mark_read(found, now=utc_now())
        return found


@blueprint.route("/notifications/read-all", methods=["POST"])
@blueprint.arguments(ReadAllSchema, as_kwargs=True)
@blueprint.response(200, MarkedSchema)
def read_all_notifications(up_to: int | None) -> Any:
    """Mark all notifications as read, or those up to the newest that was seen."""
    with transaction() as session:
        marked = notifications.mark_all_read(session, company_id(), up_to_id=up_to, now=utc_now())
        return {"marked": marked}
