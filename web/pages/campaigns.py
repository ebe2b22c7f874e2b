"""The list of campaigns, the page of one, and the buttons on it."""

from collections.abc import Callable

from flask import redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from campaign_engine.clock import utc_now
from campaign_engine.models import Campaign, Role, User
from campaign_engine.services.campaigns import lifecycle, reading
from campaign_engine.services.outlook.progress import STATES, Progress
from web import auth
from web.pages import campaign_actions, campaign_preflight, campaign_schedule, facts, ledger, words
from web.pages.at_hand import zone
from web.pages.blueprint import blueprint
from web.pages.buttons import press
from web.pages.shown_content import shown_content
from web.progress import read_progress
from web.transactions import transaction

CAMPAIGNS_PER_PAGE = 20
MESSAGES_PER_PAGE = 25


@blueprint.get("/")
@auth.login_required
def campaigns() -> str:
    """Show the company's campaigns, newest first."""
    before = ledger.cursor(request.args.get("before"))
    with transaction() as session:
        found = reading.of_company(
            session, auth.current_user().company_id, before_id=before, limit=CAMPAIGNS_PER_PAGE + 1
        )
        selected = found[:CAMPAIGNS_PER_PAGE]
        rows = [
            {"campaign": campaign, "progress": progress, "facts": _facts(progress)}
            for campaign, progress in zip(selected, read_progress(session, selected), strict=True)
        ]
    return render_template(
        "campaigns.html",
        rows=rows,
        newest_page=before is None,
        older=selected[-1].id if len(found) > CAMPAIGNS_PER_PAGE else None,
        base_url=request.host_url.rstrip("/"),
    )


@blueprint.get("/campaigns")
def campaigns_alias() -> Response:
    """Lead whoever guesses the address to the list."""
    return redirect(url_for("pages.campaigns"))


@blueprint.get("/campaigns/<id:campaign_id>")
@auth.login_required
def campaign(campaign_id: int) -> str:
    """Show one campaign: how far it is, what it says, what failed, and its messages."""
    chosen = request.args.get("status")
    chosen = chosen if chosen in words.MESSAGE_STATUS else None
    start = ledger.cursor(request.args.get("from"))
    with transaction() as session:
        found = reading.get(session, auth.current_user().company_id, campaign_id)
        [progress] = read_progress(session, [found])
        sections = campaign_actions.shown(session, found) | campaign_schedule.shown(session, found)
        sections |= campaign_preflight.shown(session, found)
        messages = ledger.messages(session, found.id, status=chosen, start=start, limit=MESSAGES_PER_PAGE + 1)
        owner = session.get(User, found.owner_id)
    page = messages[:MESSAGES_PER_PAGE]
    return render_template(
        "campaign.html",
        campaign=found,
        owner=owner,
        progress=progress,
        facts=_facts(progress),
        verbs=words.verbs_of(found.status) if auth.may(Role.OPERATOR) else [],
        states=STATES,
        message_text=shown_content(found.content),
        **sections,
        filters=[
            (None, "Tried, latest first"),
            *((state, words.MESSAGE_STATUS[state].label) for state in STATES),
        ],
        chosen=chosen,
        messages=page,
        first_page=start is None,
        next_page=page[-1].position if len(messages) > MESSAGES_PER_PAGE else None,
    )


@blueprint.get("/campaigns/<id:campaign_id>/cancel")
@auth.role_required(Role.OPERATOR)
def confirm_cancel(campaign_id: int) -> str:
    """Ask whether a campaign is to end for good; with scripts the same question is a dialog."""
    with transaction() as session:
        found = reading.get(session, auth.current_user().company_id, campaign_id)
        [progress] = read_progress(session, [found])
    return render_template("cancel.html", campaign=found, facts=_facts(progress))


@blueprint.post("/campaigns/<id:campaign_id>/<any(start, pause, resume, cancel):verb>")
@auth.role_required(Role.OPERATOR)
def act(campaign_id: int, verb: str) -> Response:
    """Do what a button says; a refusal is a sentence on the campaign's page."""

    def deed(session: Session, campaign: Campaign) -> str:
        _ACTIONS[verb](session, campaign)
        return words.DONE[verb]

    return press(campaign_id, deed)


_ACTIONS: dict[str, Callable[[Session, Campaign], None]] = {
    "start": lambda session, campaign: lifecycle.start(session, campaign, now=utc_now()),
    "pause": lifecycle.pause,
    "resume": lambda session, campaign: lifecycle.resume(session, campaign, now=utc_now()),
    "cancel": lambda session, campaign: lifecycle.cancel(session, campaign, now=utc_now()),
}


def _facts(progress: Progress) -> dict[str, str]:
    return facts.describe(progress, zone=zone(), now=utc_now())
