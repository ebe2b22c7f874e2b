"""The blueprint of the pages: where their templates and their static files are."""

from flask import Blueprint

blueprint = Blueprint(
    "pages",
    __name__,
    template_folder="../templates",
    static_folder="../static",
    static_url_path="/static",
)
