"""The pages for people: server-rendered, usable without a script and without a network beyond this server."""

from flask import Flask

from web.pages import (
    accounts,
    at_hand,
    campaign_actions,
    campaign_schedule,
    campaigns,
    imports,
    notifications,
    replies,
    signing_in,
)
from web.pages.blueprint import blueprint

# Imported for their routes.
SECTIONS = (signing_in, campaigns, campaign_actions, campaign_schedule, imports, accounts, notifications, replies)


def register(app: Flask) -> None:
    """Serve the pages in `app`, and give every template, even the error page's, what the frame needs."""
    at_hand.register(app)
    app.register_blueprint(blueprint)
