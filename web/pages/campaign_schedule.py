"""When a campaign starts, as its page shows and changes it: once, again and again, or not in time."""

from flask import request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from campaign_engine.clock import utc_now
from campaign_engine.errors import InvalidInput
from campaign_engine.models import Campaign, Role
from campaign_engine.rules.recurrence import LAST, RecurrenceValues
from campaign_engine.rules.states import CAMPAIGN_TRANSITIONS, CampaignStatus
from campaign_engine.services.campaigns import lifecycle, series
from web import auth
from web.pages.at_hand import instant_of, zone
from web.pages.blueprint import blueprint
from web.pages.buttons import press


def shown(session: Session, campaign: Campaign) -> dict[str, object]:
    """Return what the templates of this section need."""
    waits = campaign.status in CAMPAIGN_TRANSITIONS["schedule"][0]
    return {
        "schedule": {
            "missed": campaign.status == CampaignStatus.DRAFT and campaign.status_code == "missed_start",
            "may_change": waits and auth.may(Role.OPERATOR),
            "repeats": _rhythm(campaign),
            "in_series": campaign.recurrence is not None or campaign.parent_id is not None,
            "next_at": series.next_starts_of(session, [campaign]).get(campaign.id),
        }
    }


@blueprint.post("/campaigns/<id:campaign_id>/schedule")
@auth.role_required(Role.OPERATOR)
def schedule(campaign_id: int) -> Response:
    """Let a campaign start by itself at a time of the company's clock."""

    def reschedule(session: Session, campaign: Campaign) -> str:
        at = instant_of(request.form.get("at", ""))
        if at is None:
            raise InvalidInput.field("at", "This is not a time to start at.")
        lifecycle.schedule(session, campaign, at=at, now=utc_now())
        return "The campaign is scheduled."

    return press(campaign_id, reschedule)


def _rhythm(campaign: Campaign) -> str | None:
    """Return the recurrence in words, with its zone unless that is the page's."""
    if campaign.recurrence is None:
        return None
    elsewhere = f" ({campaign.timezone})" if campaign.timezone != zone().key else ""
    return in_words(campaign.recurrence) + elsewhere


def in_words(recurrence: RecurrenceValues) -> str:
    """Return a stored recurrence as a phrase: `every 2 weeks on Mon, Thu at 09:00, until 2026-12-31`."""
    every, interval = recurrence["every"], recurrence["interval"]
    said = f"every {every}" if interval == 1 else f"every {interval} {every}s"
    if every == "week":
        said += " on " + ", ".join(day.capitalize() for day in recurrence["days"] or ())
    elif every == "month":
        day = recurrence["day_of_month"]
        said += " on the last day" if day == LAST else f" on day {day}"
    said += f" at {recurrence['time']}"
    if "until" in recurrence:
        said += f", until {recurrence['until']}"
    if "count" in recurrence:
        said += f", {recurrence['count']} times in all"
    return said
