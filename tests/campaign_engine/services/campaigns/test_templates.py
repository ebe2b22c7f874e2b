"""Templates as kept: each company its own, one by name and language."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from campaign_engine.errors import AlreadyExists, NotFound
from campaign_engine.models import Company, Template
from campaign_engine.services.campaigns import templates
from tests import factories
from tests.campaign_engine import cloned

database_url = cloned.database_url


def kept(session: Session, company: Company, **values: Any) -> Template:
    return templates.create(
        session, company_id=company.id, values={"name": "order_update", "language": "pt_BR", **values}
    )


def test_a_name_is_taken_in_one_language_of_one_company(session: Session, company: Company) -> None:
    first = kept(session, company)
    second = kept(session, company, language="en")
    kept(session, factories.company(session))
    with pytest.raises(AlreadyExists, match="order_update in pt_BR"):
        kept(session, company)
    with pytest.raises(AlreadyExists, match="order_update in pt_BR"):
        templates.update(session, second, values={"language": "pt_BR"})
    assert second.language == "en"
    templates.update(session, first, values={"name": "order_update", "status": "APPROVED"})
    assert (first.name, first.status) == ("order_update", "APPROVED")


def test_a_company_sees_its_own_templates_only(session: Session, company: Company) -> None:
    other = factories.company(session)
    theirs = kept(session, other)
    mine = [kept(session, company, language=language).id for language in ("pt_BR", "en", "es")]
    assert [each.id for each in templates.of_company(session, company.id)] == mine
    assert [each.id for each in templates.of_company(session, company.id, after_id=mine[0], limit=1)] == mine[1:2]
    assert templates.get(session, other.id, theirs.id) is theirs
    for wanted in (theirs.id, 10**12):
        with pytest.raises(NotFound):
            templates.get(session, company.id, wanted)


def test_a_forgotten_template_leaves_its_name_free(session: Session, company: Company) -> None:
    first = kept(session, company)
    templates.delete(session, first)
    assert kept(session, company).id != first.id
