"""What every template has at hand: who looks, the wall clock, the words."""

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Flask, g, request

from campaign_engine.clock import utc_now
from campaign_engine.models import Role, User
from campaign_engine.rules.hours.local_time import first_instant
from web import auth
from web.pages import facts, words
from web.pages.notifications import unread_count
from web.pages.replies import undecided_count

NAVIGATION = (
    ("Campaigns", "pages.campaigns", "campaigns"),
    ("Replies", "pages.replies", "replies"),
    ("Imports", "pages.imports", "imports"),
    ("Accounts", "pages.accounts", "accounts"),
)
SECTION_OF = {
    "pages.campaigns": "campaigns",
    "pages.campaign": "campaigns",
    "pages.confirm_cancel": "campaigns",
    "pages.imports": "imports",
    "pages.upload_import": "imports",
    "pages.contact_import": "imports",
    "pages.accounts": "accounts",
    "pages.notifications": "notifications",
    "pages.replies": "replies",
}
DASHBOARD = ("Queues", "rq_dashboard.queues_overview", "queues")


def register(app: Flask) -> None:
    """Add our filters and what the frame of every page needs to the templates of `app`."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(_frame)
    app.add_template_filter(facts.number, "number")
    app.add_template_filter(_clock, "clock")
    app.add_template_filter(_full_time, "full_time")
    app.add_template_filter(_rfc3339, "rfc3339")
    app.add_template_filter(str.capitalize, "human_title")


def zone() -> ZoneInfo:
    """Return the time zone of the user's company; UTC when nobody is signed in."""
    user = _known_user()
    return ZoneInfo(user.company.timezone) if user is not None else ZoneInfo("UTC")


def instant_of(given: str) -> datetime | None:
    """Return the moment of a local time of `zone()` as a form gives it; None if it is no time."""
    try:
        return first_instant(datetime.fromisoformat(given).replace(tzinfo=None), zone())
    except (ValueError, OverflowError):
        return None


def _known_user() -> User | None:
    """Return the user if this request has recognised one: an error page must not ask the database."""
    user: User | None = g.get("user")
    return user


def _frame() -> dict[str, object]:
    user = _known_user()
    admin = user is not None and auth.may(Role.ADMIN)
    return {
        "user": user,
        "may_act": user is not None and auth.may(Role.OPERATOR),
        "navigation": (*NAVIGATION, DASHBOARD) if admin else NAVIGATION,
        "section": SECTION_OF.get(request.endpoint or ""),
        "zone": zone(),
        "zone_words": facts.zone_name(zone(), utc_now()),
        "words": words,
        "segments": facts.segments,
        # Only the frame of pages calls these: an error page asks nobody.
        "unread_notifications": unread_count,
        "undecided_replies": undecided_count,
    }


def _clock(at: datetime) -> str:
    return facts.clock(at, zone(), now=utc_now())


def _full_time(at: datetime) -> str:
    return f"{at.astimezone(zone()):%Y-%m-%d %H:%M:%S} {zone().key}"


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
