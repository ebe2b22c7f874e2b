"""What a button on a campaign's page does: a use case, told in a sentence on that page."""

from collections.abc import Callable
from http import HTTPStatus

from flask import flash, redirect, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from campaign_engine.errors import InvalidInput, TransitionNotAllowed
from campaign_engine.models import Campaign
from campaign_engine.services.campaigns import reading
from web import auth
from web.transactions import transaction


def press(campaign_id: int, deed: Callable[[Session, Campaign], str]) -> Response:
    """Do `deed` to a campaign of the user's company, and lead back to its page, which says what was done or why not."""
    try:
        with transaction() as session:
            said = deed(session, reading.get(session, auth.current_user().company_id, campaign_id))
    except InvalidInput as error:
        flash(" ".join(sentence for sentences in error.errors.values() for sentence in sentences), "error")
    except TransitionNotAllowed as error:
        flash(error.detail, "error")
    else:
        flash(said, "done")
    return redirect(url_for("pages.campaign", campaign_id=campaign_id), HTTPStatus.SEE_OTHER)
