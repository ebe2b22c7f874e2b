"""What people wrote back, above all what somebody has to decide: did this person mean stop?"""

from http import HTTPStatus

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from campaign_engine.clock import utc_now
from campaign_engine.errors import InvalidInput
from campaign_engine.models import Contact, Reply, Role
from campaign_engine.services.people import persons
from campaign_engine.services.webhooks import replies as service
from web import auth
from web.pages import ledger
from web.pages.blueprint import blueprint
from web.transactions import transaction

REPLIES_PER_PAGE = 30
ALL = "all"
DONE = {
    "opted_out": "This person gets no more messages.",
    "dismissed": "This person is written to again.",
}


@blueprint.get("/replies")
@auth.login_required
def replies() -> str:
    """Show the replies that wait for a decision, or all, newest first."""
    before, everything = ledger.cursor(request.args.get("before")), request.args.get("show") == ALL
    company_id = auth.current_user().company_id
    with transaction() as session:
        found = service.of_company(
            session,
            company_id,
            undecided=not everything,
            before_id=before,
            limit=REPLIES_PER_PAGE + 1,
        )
        shown = list(found[:REPLIES_PER_PAGE])
        names, campaigns = _names(session, shown), service.campaigns_of(session, shown)
        phones = persons.phones_of(session, company_id, [reply.phone_key for reply in shown])
    return render_template(
        "replies.html",
        replies=shown,
        names=names,
        phones=phones,
        campaigns=campaigns,
        filters=[(None, "To decide"), (ALL, "All")],
        chosen=ALL if everything else None,
        newest_page=before is None,
        older=shown[-1].id if len(found) > REPLIES_PER_PAGE else None,
    )


@blueprint.post("/replies/<id:reply_id>/decide")
@auth.role_required(Role.OPERATOR)
def decide_reply(reply_id: int) -> Response:
    """Decide whether a person is written to again."""
    decision = request.form.get("decision", "")
    if decision not in DONE:
        raise InvalidInput.field("decision", "Accepted are opted_out and dismissed.")
    with transaction() as session:
        reply = service.get(session, auth.current_user().company_id, reply_id)
        # Somebody else was faster: what that person decided is on the page.
        if reply.intent == "likely" and reply.decision is None:
            service.decide(session, reply, decision=decision, now=utc_now())
            flash(DONE[decision], "done")
        else:
            flash("This reply has been decided already.", "error")
    return redirect(url_for("pages.replies"), HTTPStatus.SEE_OTHER)


def undecided_count() -> int:
    """Return how many replies of the present company wait for a decision, for the navigation of every page."""
    with transaction() as session:
        return service.undecided_count(session, auth.current_user().company_id)


def _names(session: Session, shown: list[Reply]) -> dict[int, str]:
    """Return the names of the contacts of replies, by id."""
    contact_ids = {reply.contact_id for reply in shown if reply.contact_id is not None}
    contacts = session.execute(select(Contact.id, Contact.name).where(Contact.id.in_(contact_ids)))
    return {row.id: row.name for row in contacts if row.name}
