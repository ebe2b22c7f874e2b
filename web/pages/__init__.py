"""The pages for people: server-rendered, usable without a script and without a network beyond this server."""

from flask import Flask

from web.pages import accounts, campaigns, imports, rendering, signing_in
from web.pages.blueprint import blueprint

SECTIONS = (signing_in, campaigns, imports, accounts)  # imported for their routes


def register(app: Flask) -> None:
    """Serve the pages in `app`, and give every template, the error page's too, what the frame needs."""
    rendering.register(app)
    app.register_blueprint(blueprint)
