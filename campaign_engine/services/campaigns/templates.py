"""Message templates as the company keeps them, by name and language; they are not fetched from Meta yet."""

from collections.abc import Sequence
from typing import TypedDict

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaign_engine.errors import AlreadyExists, NotFound
from campaign_engine.json_types import Json
from campaign_engine.models import Template


class TemplateValues(TypedDict, total=False):
    """The fields of `POST /templates` and `PATCH /templates/{id}`."""

    name: str
    language: str
    category: str | None
    status: str
    components: list[Json]


def create(session: Session, *, company_id: int, values: TemplateValues) -> Template:
    """Keep a template.

    Raises:
        AlreadyExists: the company has a template of that name in that language.
    """
    _require_free(session, company_id, values["name"], values["language"], besides=None)
    template = Template(company_id=company_id, **values)
    session.add(template)
    session.flush()
    return template


def update(session: Session, template: Template, *, values: TemplateValues) -> None:
    """Change a template.

    Raises:
        AlreadyExists: as for `create`.
    """
    name, language = values.get("name", template.name), values.get("language", template.language)
    _require_free(session, template.company_id, name, language, besides=template.id)
    for column, value in values.items():
        setattr(template, column, value)


def get(session: Session, company_id: int, template_id: int) -> Template:
    """Return a template of the company; NotFound otherwise."""
    template = session.get(Template, template_id)
    if template is None or template.company_id != company_id:
        raise NotFound("template", template_id)
    return template


def of_company(session: Session, company_id: int, *, after_id: int = 0, limit: int = 100) -> Sequence[Template]:
    """Return the company's templates in the order of their ids, from after `after_id`."""
    return session.scalars(
        select(Template)
        .where(Template.company_id == company_id, Template.id > after_id)
        .order_by(Template.id)
        .limit(limit)
    ).all()


def delete(session: Session, template: Template) -> None:
    """Forget a template; campaigns keep the name they were given."""
    session.delete(template)


def _require_free(session: Session, company_id: int, name: str, language: str, *, besides: int | None) -> None:
    taken = select(Template.id).where(
        Template.company_id == company_id,
        Template.name == name,
        Template.language == language,
        Template.id.is_distinct_from(besides),
    )
    if session.scalars(taken).first() is not None:
        raise AlreadyExists("name", f"There is a template {name} in {language} already.")
