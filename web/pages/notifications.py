"""Notifications: what the people of the company should know, and the buttons that say it was seen."""

from http import HTTPStatus

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from campaign_engine.clock import utc_now
from campaign_engine.models import Notification, Role
from campaign_engine.services.company import notifications as service
from web import auth
from web.pages import facts, ledger
from web.pages.blueprint import blueprint
from web.transactions import transaction

NOTIFICATIONS_PER_PAGE = 30
UNREAD = "unread"


@blueprint.get("/notifications")
@auth.login_required
def notifications() -> str:
    """Show the notifications, newest first; all or the unread ones."""
    before, unread = ledger.cursor(request.args.get("before")), _only_unread()
    with transaction() as session:
        found = service.of_company(
            session,
            auth.current_user().company_id,
            unread=True if unread else None,
            before_id=before,
            limit=NOTIFICATIONS_PER_PAGE + 1,
        )
    shown = found[:NOTIFICATIONS_PER_PAGE]
    return render_template(
        "notifications.html",
        notifications=[(each, _about(each)) for each in shown],
        filters=[(None, "All"), (UNREAD, "Unread")],
        chosen=UNREAD if unread else None,
        newest_page=before is None,
        older=shown[-1].id if len(found) > NOTIFICATIONS_PER_PAGE else None,
        seen_up_to=max((each.id for each in shown), default=None),
    )


@blueprint.post("/notifications/<id:notification_id>/read")
@auth.role_required(Role.OPERATOR)
def read_notification(notification_id: int) -> Response:
    """Mark one as read, for everybody."""
    with transaction() as session:
        found = service.get(session, auth.current_user().company_id, notification_id)
        service.mark_read(found, now=utc_now())
    return _back()


@blueprint.post("/notifications/read-all")
@auth.role_required(Role.OPERATOR)
def read_all_notifications() -> Response:
    """Mark all as read up to the newest on the page: later ones have not been seen yet."""
    up_to = ledger.cursor(request.form.get("up_to"))
    with transaction() as session:
        marked = service.mark_all_read(session, auth.current_user().company_id, up_to_id=up_to, now=utc_now())
    flash(f"{facts.number(marked)} marked as read." if marked else "There was nothing unread.", "done")
    return _back()


def unread_count() -> int:
    """Return how many notifications the present company has not read, for the bell of every page."""
    with transaction() as session:
        return service.unread_count(session, auth.current_user().company_id)


def _only_unread() -> bool:
    return request.args.get("show") == UNREAD


def _back() -> Response:
    return redirect(url_for("pages.notifications", show=UNREAD if _only_unread() else None), HTTPStatus.SEE_OTHER)


def _about(notification: Notification) -> str | None:
    """Return the address of the page that a notification is about; None if there is none."""
    match notification.subject_kind:
        case "campaign":
            return url_for("pages.campaign", campaign_id=int(notification.subject_id or 0))
        case "account":
            return url_for("pages.accounts", _anchor=f"account-{notification.subject_id}")
        case _:
            return None
