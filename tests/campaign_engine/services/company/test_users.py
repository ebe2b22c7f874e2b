"""Companies, the people who sign in, and the tokens of their programs."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash

from campaign_engine.errors import (
    AlreadyExists,
    EngineError,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    TransitionNotAllowed,
)
from campaign_engine.models import Company, Role, User
from campaign_engine.services.company import users
from tests import factories
from tests.campaign_engine import cloned

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

database_url = cloned.database_url


def new_user(session: Session, of: Company, **values: str) -> User:
    fields = {"email": "ana@example.com", "password": factories.PASSWORD, "role": "operator", **values}
    return users.create(session, company=of, **fields)


# --- People.


def test_a_user_signs_in_with_the_address_in_any_case_and_the_password_is_nowhere(
    session: Session, company: Company
) -> None:
    made = new_user(session, company, email=" Ana.Souza@Example.com ", password="segredo bem longo ã")
    assert made.email == "Ana.Souza@Example.com"
    assert users.authenticate(session, email="ana.souza@example.COM", password="segredo bem longo ã") is made
    assert users.by_email(session, " ANA.SOUZA@EXAMPLE.COM ") is made
    stored = session.execute(text("SELECT * FROM users WHERE id = :id"), {"id": made.id}).one()
    assert "segredo" not in repr(stored)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ana@example.com", "another password"),
        ("ana@example.com", ""),
        ("nobody@example.com", factories.PASSWORD),
        ("", ""),
        ("a\0na@example.com", factories.PASSWORD),
        ("\ud800@example.com", factories.PASSWORD),
        ("x" * 100_000, factories.PASSWORD),
    ],
)
def test_who_is_not_let_in_does_not_hear_which_part_was_wrong(
    session: Session, company: Company, email: str, password: str
) -> None:
    new_user(session, company)
    with pytest.raises(NotAuthenticated) as refusal:
        users.authenticate(session, email=email, password=password)
    assert str(refusal.value) == "The e-mail address or the password is wrong."


def test_an_address_that_is_nobodys_costs_as_much_as_a_wrong_password() -> None:
    nobodys, somebodys = users._NOBODY.split("$"), generate_password_hash("a password that somebody has").split("$")
    assert nobodys[0] == somebodys[0]
    assert len(nobodys[2]) == len(somebodys[2])


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"email": ""}, "email"),
        ({"email": "ana"}, "email"),
        ({"email": "ana@"}, "email"),
        ({"email": "@example.com"}, "email"),
        ({"email": "ana@example"}, "email"),
        ({"email": "ana souza@example.com"}, "email"),
        ({"email": "ana@b@example.com"}, "email"),
        ({"email": "ana\0@example.com"}, "email"),
        ({"email": "\ud800@example.com"}, "email"),
        ({"password": ""}, "password"),
        ({"password": "9 letters"}, "password"),
        ({"role": "owner"}, "role"),
        ({"role": ""}, "role"),
    ],
)
def test_a_user_that_cannot_be_is_refused_by_the_name_of_the_field(
    session: Session, company: Company, values: dict[str, str], field: str
) -> None:
    before = cloned.row_counts(session)
    with pytest.raises(InvalidInput) as refusal:
        new_user(session, company, **values)
    assert list(refusal.value.errors) == [field]
    assert cloned.row_counts(session) == before


def test_an_address_belongs_to_one_user_of_the_whole_installation(session: Session, company: Company) -> None:
    new_user(session, company)
    with pytest.raises(AlreadyExists) as refusal:
        new_user(session, factories.company(session), email="ANA@example.com")
    assert list(refusal.value.errors) == ["email"]


def test_users_of_another_company_do_not_exist(session: Session, company: Company) -> None:
    other = factories.user(session)
    mine = [factories.user(session, company).id for _ in range(3)]
    assert users.get(session, company.id, mine[0]).id == mine[0]
    for user_id in (other.id, 10**12):
        with pytest.raises(NotFound):
            users.get(session, company.id, user_id)
    assert [user.id for user in users.of_company(session, company.id)] == mine
    assert [user.id for user in users.of_company(session, company.id, after_id=mine[0], limit=1)] == mine[1:2]


def test_a_changed_password_replaces_the_old_one(session: Session, company: Company) -> None:
    user = new_user(session, company)
    before = user.password_hash
    users.update(session, user, password="another long password")
    assert user.password_hash != before
    assert users.authenticate(session, email=user.email, password="another long password") is user
    with pytest.raises(NotAuthenticated):
        users.authenticate(session, email=user.email, password=factories.PASSWORD)


def test_a_bad_change_changes_nothing(session: Session, company: Company) -> None:
    user = factories.user(session, company, role=Role.OPERATOR)
    before = (user.password_hash, user.role)
    for values in ({"password": "short"}, {"role": "owner"}):
        with pytest.raises(InvalidInput) as refusal:
            users.update(session, user, **values)
        assert list(refusal.value.errors) == list(values)
    assert (user.password_hash, user.role) == before


def test_somebody_is_always_left_to_administer_the_company(session: Session, company: Company) -> None:
    ana, operator = factories.user(session, company), factories.user(session, company, role=Role.OPERATOR)
    for attempt in (
        lambda: users.update(session, ana, role=Role.VIEWER),
        lambda: users.delete(session, ana),
    ):
        with pytest.raises(TransitionNotAllowed) as refusal:
            attempt()
        assert refusal.value.code == "last_admin"
    users.update(session, ana, role=Role.ADMIN)
    users.update(session, operator, role=Role.ADMIN)
    users.update(session, ana, role=Role.VIEWER)
    users.delete(session, ana)
    assert [user.role for user in users.of_company(session, company.id)] == [Role.ADMIN]


def test_two_administrators_who_demote_each_other_at_once_leave_one(
    session: Session, company: Company, other_session: Callable[[], Session]
) -> None:
    pair = [factories.user(session, company).id for _ in range(2)]
    session.commit()
    barrier = threading.Barrier(2, timeout=60)
    refusals: list[str] = []

    def demote(own: Session, user_id: int) -> None:
        user = own.get_one(User, user_id)
        barrier.wait()
        try:
            users.update(own, user, role=Role.VIEWER)
            own.commit()
        except EngineError as error:
            own.rollback()
            refusals.append(error.code)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(demote, (other_session(), other_session()), pair))
    assert refusals == ["last_admin"]
    roles = session.scalars(text("SELECT role FROM users WHERE id = ANY(:ids) ORDER BY role"), {"ids": pair}).all()
    assert roles == ["admin", "viewer"]


def test_whoever_owns_campaigns_stays_and_whoever_goes_takes_the_tokens_along(
    session: Session, company: Company
) -> None:
    factories.user(session, company)
    owner, leaver = (factories.user(session, company, role=Role.OPERATOR) for _ in range(2))
    factories.campaign(session, owner)
    secret = factories.token(session, leaver)
    with pytest.raises(TransitionNotAllowed) as refusal:
        users.delete(session, owner)
    assert refusal.value.code == "user_owns_campaigns"
    users.delete(session, leaver)
    session.expunge_all()
    with pytest.raises(NotAuthenticated):
        users.user_of_token(session, secret, now=NOW)


# --- Tokens.


def test_a_token_is_stored_as_its_digest_only(session: Session, company: Company) -> None:
    user = factories.user(session, company)
    made = users.create_token(session, user, name="nightly import")
    assert made.secret.startswith("cet_")
    assert len(made.secret) >= 40
    assert users.user_of_token(session, made.secret, now=NOW) is user
    stored = session.execute(text("SELECT * FROM api_tokens WHERE id = :id"), {"id": made.token.id}).one()
    assert made.secret[len(stored.prefix) :] not in repr(stored)
    assert len(stored.prefix) <= 10
    assert made.secret not in repr(made)


def test_every_token_is_another_one_and_the_newest_is_listed_first(session: Session, company: Company) -> None:
    user = factories.user(session, company)
    made = [users.create_token(session, user) for _ in range(3)]
    assert len({each.secret for each in made}) == 3
    assert [token.id for token in users.tokens_of(session, user)] == [each.token.id for each in reversed(made)]


@pytest.mark.parametrize("secret", ["", "cet_", "cet_" + "x" * 43, "\ud800"[:0] + "Bearer", "ã" * 100, "\0"])
def test_a_token_nobody_made_opens_nothing(session: Session, company: Company, secret: str) -> None:
    factories.token(session, factories.user(session, company))
    with pytest.raises(NotAuthenticated):
        users.user_of_token(session, secret, now=NOW)


def test_the_use_of_a_token_is_noted_once_a_minute(session: Session, company: Company) -> None:
    made = users.create_token(session, factories.user(session, company))
    used = []
    for after_s in (0, 59, 60, 61, 100):
        users.user_of_token(session, made.secret, now=NOW + timedelta(seconds=after_s))
        used.append((made.token.last_used_at - NOW).total_seconds() if made.token.last_used_at else None)
    assert used == [0, 0, 0, 61, 61]


def test_a_revoked_token_is_useless_at_once_and_nobody_revokes_anothers(session: Session, company: Company) -> None:
    user, other = factories.user(session, company), factories.user(session, company)
    made = users.create_token(session, user)
    with pytest.raises(NotFound):
        users.revoke_token(session, other, made.token.id)
    users.revoke_token(session, user, made.token.id)
    session.flush()
    with pytest.raises(NotAuthenticated):
        users.user_of_token(session, made.secret, now=NOW)
    with pytest.raises(NotFound):
        users.revoke_token(session, user, made.token.id)


# --- Companies.


def test_settings_are_merged_and_null_goes_back_to_the_installations(session: Session, company: Company) -> None:
    users.update_company(
        session, company, values={"whatsapp_rate_limit": "10/minute", "message_interval_s": 0, "name": "Loja"}
    )
    users.update_company(session, company, values={"campaign_rate_limit": "50/minute", "jitter_s": 2})
    users.update_company(session, company, values={"whatsapp_rate_limit": None, "timezone": "America/Manaus"})
    session.expire_all()
    assert (company.name, company.timezone) == ("Loja", "America/Manaus")
    assert company.settings == {"campaign_rate_limit": "50/minute", "message_interval_s": 0, "jitter_s": 2}


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"whatsapp_rate_limit": "fast"}, ["whatsapp_rate_limit"]),
        ({"campaign_rate_limit": "0/minute", "name": "Loja"}, ["campaign_rate_limit"]),
        ({"whatsapp_rate_limit": "1/year", "campaign_rate_limit": "x"}, ["whatsapp_rate_limit", "campaign_rate_limit"]),
    ],
)
def test_a_limit_that_cannot_be_read_changes_nothing(
    session: Session, company: Company, values: dict[str, Any], fields: list[str]
) -> None:
    name = company.name
    with pytest.raises(InvalidInput) as refusal:
        users.update_company(session, company, values=values)
    assert list(refusal.value.errors) == fields
    assert (company.name, company.settings) == (name, {})


def test_a_company_is_found_by_name_or_made(session: Session) -> None:
    oldest = users.first_company(session) or factories.company(session)
    assert users.ensure_company(session, None, timezone="UTC") is oldest
    made = users.ensure_company(session, "A new one", timezone="America/Manaus")
    assert (made.name, made.timezone, made.settings) == ("A new one", "America/Manaus", {})
    assert users.ensure_company(session, "A new one", timezone="UTC") is made
    assert users.first_company(session) is oldest
