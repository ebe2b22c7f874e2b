"""What people write back, and what to make of it where that is not clear."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.models import Reply
from campaign_engine.services.campaigns import reading
from campaign_engine.services.people import persons
from campaign_engine.services.webhooks import replies
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.opt_outs import DecisionSchema, ReplyPageSchema, ReplyQuery, ReplySchema
from web.transactions import transaction

blueprint = Blueprint("replies", __name__, description="What people write back, newest first.")


@blueprint.route("/replies", methods=["GET"])
@blueprint.arguments(ReplyQuery, location="query", as_kwargs=True)
@blueprint.response(200, ReplyPageSchema)
def list_replies(limit: int, cursor: str | None, campaign_id: int | None, intent: str | None, undecided: bool) -> Any:
    """List the replies, all or those to a campaign and its test sends, of an intent, or that wait for a decision."""
    with transaction() as session:
        if campaign_id is not None:
            reading.get(session, company_id(), campaign_id)
        (before_id,) = decode_cursor(cursor, int) or (None,)
        found = replies.of_company(
            session,
            company_id(),
            campaign_id=campaign_id,
            intent=intent,
            undecided=undecided,
            before_id=before_id,
            limit=limit + 1,
        )
        listed = page(found, limit=limit)
        return {**listed, "items": _shown(session, listed["items"])}


@blueprint.route("/replies/<id:reply_id>", methods=["GET"])
@blueprint.response(200, ReplySchema)
def show_reply(reply_id: int) -> Any:
    """Show a reply."""
    with transaction() as session:
        [shown] = _shown(session, [replies.get(session, company_id(), reply_id)])
        return shown


@blueprint.route("/replies/<id:reply_id>/decide", methods=["POST"])
@blueprint.arguments(DecisionSchema, as_kwargs=True)
@blueprint.response(200, ReplySchema)
def decide_reply(decision: str, reply_id: int) -> Any:
    """Decide what a held reply meant, and with it every other held reply of the same person."""
    with transaction() as session:
        reply = replies.get(session, company_id(), reply_id)
        replies.decide(session, reply, decision=decision, now=utc_now())
        [shown] = _shown(session, [reply])
        return shown


def _shown(session: Session, found: Sequence[Reply]) -> list[dict[str, object]]:
    names = [name for name in ReplySchema().fields if hasattr(Reply, name)]
    answered = replies.campaigns_of(session, found)
    phones = persons.phones_of(session, company_id(), [reply.phone_key for reply in found])
    return [
        {
            **{name: getattr(reply, name) for name in names},
            "phone": phones[reply.phone_key],
            "campaign_id": answered[reply.campaign_id][0] if reply.campaign_id in answered else None,
        }
        for reply in found
    ]
