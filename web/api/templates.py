"""Message templates, as the company keeps them; asking Meta for them is not done yet."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.db import transaction
from campaign_engine.errors import AlreadyExists, NotFound
from campaign_engine.models import Template
from web.api.blueprint import Blueprint, company_id, decode_cursor, page
from web.schemas.base import PageQuery
from web.schemas.templates import TemplatePageSchema, TemplateSchema

blueprint = Blueprint("templates", __name__, description="Message templates by name and language.")


@blueprint.route("/templates", methods=["GET"])
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, TemplatePageSchema)
def list_templates(query: dict[str, Any]) -> Any:
    """List the templates."""
    with transaction() as session:
        (after_id,) = decode_cursor(query["cursor"], int) or (0,)
        mine = select(Template).where(Template.company_id == company_id(), Template.id > after_id)
        found = session.scalars(mine.order_by(Template.id).limit(query["limit"] + 1)).all()
        return page(found, limit=query["limit"], position=lambda template: [template.id])


@blueprint.route("/templates", methods=["POST"])
@blueprint.arguments(TemplateSchema)
@blueprint.response(201, TemplateSchema)
def create_template(values: dict[str, Any]) -> Any:
    """Keep a template."""
    with transaction() as session:
        template = Template(company_id=company_id(), **values)
        _require_free(session, template)
        session.add(template)
        session.flush()
        return template


@blueprint.route("/templates/<id:template_id>", methods=["GET"])
@blueprint.response(200, TemplateSchema)
def show_template(template_id: int) -> Any:
    """Show a template."""
    with transaction() as session:
        return _get(session, template_id)


@blueprint.route("/templates/<id:template_id>", methods=["PATCH"])
@blueprint.arguments(TemplateSchema(partial=True))
@blueprint.response(200, TemplateSchema)
def change_template(values: dict[str, Any], template_id: int) -> Any:
    """Change a template."""
    with transaction() as session:
        template = _get(session, template_id)
        with session.no_autoflush:
            for name, value in values.items():
                setattr(template, name, value)
            _require_free(session, template)
        return template


@blueprint.route("/templates/<id:template_id>", methods=["DELETE"])
@blueprint.response(204)
def delete_template(template_id: int) -> None:
    """Forget a template; campaigns keep the name they were given."""
    with transaction() as session:
        session.delete(_get(session, template_id))


def _get(session: Session, template_id: int) -> Template:
    template = session.get(Template, template_id)
    if template is None or template.company_id != company_id():
        raise NotFound("template", template_id)
    return template


def _require_free(session: Session, template: Template) -> None:
    taken = select(Template.id).where(
        Template.company_id == template.company_id,
        Template.name == template.name,
        Template.language == template.language,
        Template.id.is_distinct_from(template.id),
    )
    if session.scalars(taken).first() is not None:
        raise AlreadyExists("name", f"There is a template {template.name} in {template.language} already.")
