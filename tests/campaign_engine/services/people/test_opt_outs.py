"""People who must not be written to: by person, by strength, whatever happens to the contact."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine.errors import InvalidInput, NotFound
from campaign_engine.models import AuditEntry, Company, OptOut
from campaign_engine.services.people import contacts, opt_outs
from campaign_engine.services.people.opt_outs import NewOptOut
from tests import factories
from tests.campaign_engine import cloned, numbered

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

database_url = cloned.database_url


def add(session: Session, of: Company, phone: str, *, at: datetime = NOW, **fields: Any) -> OptOut:
    return opt_outs.add(
        session, company_id=of.id, phone=phone, default_region="BR", now=at, **{"source": "reply", **fields}
    )


def lift(session: Session, of: Company, phone: str) -> None:
    opt_outs.lift(session, company_id=of.id, phone=phone, default_region="BR", now=NOW)


def actions(session: Session, of: Company) -> list[str]:
    return list(
        session.scalars(select(AuditEntry.action).where(AuditEntry.company_id == of.id).order_by(AuditEntry.id))
    )


def test_who_opted_out_keeps_the_first_date_in_any_spelling(session: Session, company: Company) -> None:
    add(session, company, "+5511987654321")
    again = add(session, company, "11 8765-4321", at=NOW + timedelta(days=1), source="api")
    assert (again.phone_key, again.source, again.opted_out_at) == ("551187654321", "reply", NOW)
    assert len(opt_outs.of_company(session, company.id)) == 1
    assert opt_outs.of_company(session, factories.company(session).id) == []
    assert actions(session, company) == ["opt_out.added"]


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        ("held", "opted_out", "opted_out"),
        ("held", "blocked", "blocked"),
        ("opted_out", "blocked", "blocked"),
        ("opted_out", "held", "opted_out"),
        ("blocked", "opted_out", "blocked"),
        ("blocked", "held", "blocked"),
    ],
)
def test_the_strongest_stays_in_whatever_order(
    session: Session, company: Company, first: str, second: str, stays: str
) -> None:
    add(session, company, "+5511987654321", kind=first)
    after = add(session, company, "+5511987654321", kind=second, at=NOW + timedelta(days=1), note="a note")
    assert (after.kind, after.note) == (stays, "a note" if stays == second else None)


def test_nothing_that_is_written_about_a_contact_lifts_an_opt_out(session: Session, company: Company) -> None:
    def make(phone: str, **values: Any) -> Any:
        return contacts.create(session, company_id=company.id, values={"phone": phone, **values}, default_region="BR")

    made = make("+5511987654321", name="João")
    add(session, company, made.phone)
    make("+551187654321", name="João", tags=["vip"])
    contacts.update(session, made, values={"name": "J.", "phone": "+5511987654321"}, default_region="BR")
    contacts.delete_contact(session, made)
    make("+5511987654321")
    assert [each.opted_out_at for each in opt_outs.of_company(session, company.id)] == [NOW]


def test_an_opt_out_is_lifted_by_name_and_only_where_there_is_one(session: Session, company: Company) -> None:
    add(session, company, "+5511987654321")
    lift(session, company, "(11) 8765-4321")
    assert opt_outs.of_company(session, company.id) == []
    assert actions(session, company) == ["opt_out.added", "opt_out.lifted"]
    with pytest.raises(NotFound):
        lift(session, company, "+5511987654321")
    with pytest.raises(InvalidInput):
        lift(session, company, "nobody")


def test_who_hides_the_number_is_lifted_by_the_identity_that_is_shown(session: Session, company: Company) -> None:
    opt_outs.note_many(session, [NewOptOut(company.id, "BR.1349120865530274", "opted_out", "user_preferences", NOW)])
    lift(session, company, "+BR.1349120865530274")
    assert opt_outs.of_company(session, company.id) == []


def test_opt_outs_are_read_in_pages_and_by_kind(session: Session, company: Company) -> None:
    for number in range(4):
        add(session, company, numbered.phone(number), kind="blocked" if number == 2 else "opted_out")
    keys = [numbered.phone_key(number) for number in range(4)]
    assert [each.phone_key for each in opt_outs.of_company(session, company.id)] == keys
    page = opt_outs.of_company(session, company.id, after_key=keys[0], limit=2)
    assert [each.phone_key for each in page] == keys[1:3]
    assert [each.phone_key for each in opt_outs.of_company(session, company.id, kind="blocked")] == [keys[2]]
    assert session.scalar(text("SELECT count(*) FROM contacts WHERE company_id = :id"), {"id": company.id}) == 0


def test_people_are_noted_in_the_order_of_their_keys_so_that_batches_never_wait_in_a_ring(
    session: Session, company: Company, other_session: Callable[[], Session], eventually: Callable[..., None]
) -> None:
    session.commit()

    def entry(number: int) -> NewOptOut:
        return NewOptOut(company.id, numbered.phone_key(number), "opted_out", "reply", NOW)

    first, both, last = other_session(), other_session(), other_session()
    opt_outs.note_many(first, [entry(0)])
    noting = threading.Thread(target=opt_outs.note_many, args=(both, [entry(9), entry(0)]))
    noting.start()
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    eventually(lambda: last.scalar(waiting))
    # It waits for person 0 and has not touched person 9.
    last.execute(text("SET lock_timeout = '60s'"))
    assert len(opt_outs.note_many(last, [entry(9)])) == 1
    last.commit()
    first.commit()
    noting.join()
    both.rollback()
