"""Message templates, as the company keeps them."""

from typing import Any

from campaign_engine.services.campaigns import templates
from campaign_engine.services.campaigns.templates import TemplateValues
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.base import PageQuery
from web.schemas.templates import TemplatePageSchema, TemplateSchema
from web.transactions import transaction

blueprint = Blueprint("templates", __name__, description="Message templates by name and language.")


@blueprint.route("/templates", methods=["GET"])
@blueprint.arguments(PageQuery, location="query", as_kwargs=True)
@blueprint.response(200, TemplatePageSchema)
def list_templates(limit: int, cursor: str | None) -> Any:
    """List the templates."""
    with transaction() as session:
        (after_id,) = decode_cursor(cursor, int) or (0,)
        found = templates.of_company(session, company_id(), after_id=after_id, limit=limit + 1)
        return page(found, limit=limit)


@blueprint.route("/templates", methods=["POST"])
@blueprint.arguments(TemplateSchema)
@blueprint.response(201, TemplateSchema)
def create_template(values: TemplateValues) -> Any:
    """Keep a template."""
    with transaction() as session:
        return templates.create(session, company_id=company_id(), values=values)


@blueprint.route("/templates/<id:template_id>", methods=["GET"])
@blueprint.response(200, TemplateSchema)
def show_template(template_id: int) -> Any:
    """Show a template."""
    with transaction() as session:
        return templates.get(session, company_id(), template_id)


@blueprint.route("/templates/<id:template_id>", methods=["PATCH"])
@blueprint.arguments(TemplateSchema(partial=True))
@blueprint.response(200, TemplateSchema)
def change_template(values: TemplateValues, template_id: int) -> Any:
    """Change a template."""
    with transaction() as session:
        template = templates.get(session, company_id(), template_id)
        templates.update(session, template, values=values)
        return template


@blueprint.route("/templates/<id:template_id>", methods=["DELETE"])
@blueprint.response(204)
def delete_template(template_id: int) -> None:
    """Forget a template; campaigns keep the name they were given."""
    with transaction() as session:
        templates.delete(session, templates.get(session, company_id(), template_id))
