"""One transaction around a use case; what follows it waits for the commit, and is given once."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.db import IDLE_S, Actor, Follows, actor_of, database_url_for_sqlalchemy, db, transaction
from tests import factories

ONE, TWO, THREE = (following.Wake(account_id) for account_id in (1, 2, 3))


class Refusal(Exception):
    pass


@pytest.fixture
def given() -> list[Follows]:
    return []


@pytest.fixture
def names(other_session: Callable[[], Session]) -> Callable[[], list[str]]:
    """The companies that another connection can see: those that are committed."""

    def committed() -> list[str]:
        with other_session() as session:
            return list(session.scalars(text("SELECT name FROM companies ORDER BY id")))

    return committed


def test_a_use_case_is_committed_and_then_what_follows_is_given_once_in_order(
    session: Session, names: Callable[[], list[str]]
) -> None:
    seen: list[tuple[Follows, list[str]]] = []

    def give(follows: Follows) -> None:
        seen.append((follows, names()))

    with transaction(give=give) as own:
        factories.company(own, name="one")
        following.wake(own, [2, 1, 2])
        following.note(own, following.Prepare(7))
        following.wake(own, [1, 3])
        assert (seen, names()) == ([], [])
    assert seen == [((TWO, ONE, following.Prepare(7), THREE), ["one"])]

    with transaction(give=give) as own:
        factories.company(own, name="two")
    assert names() == ["one", "two"]
    assert len(seen) == 1


def test_an_error_undoes_everything_and_nothing_follows(
    session: Session, names: Callable[[], list[str]], given: list[Follows]
) -> None:
    for error in (Refusal(), KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)), transaction(give=given.append) as own:
            factories.company(own)
            own.flush()
            following.wake(own, [1])
            raise error
    with transaction(give=given.append) as own:
        factories.company(own, name="after")
        following.wake(own, [2])
    assert names() == ["after"]
    assert given == [(TWO,)]


def test_nothing_follows_a_commit_that_the_database_refuses(
    session: Session, names: Callable[[], list[str]], given: list[Follows]
) -> None:
    with transaction() as own:
        factories.user(own, factories.company(own, name="one"), email="ana@example.com")
    with pytest.raises(IntegrityError), transaction(give=given.append) as own:
        of = factories.company(own, name="two")
        following.wake(own, [1])
        # Deferred to the commit itself, which is then what fails.
        own.execute(text("ALTER TABLE contact_lists ALTER CONSTRAINT fk_contact_lists_company_id_companies DEFERRABLE"))
        own.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        own.execute(text("INSERT INTO contact_lists (company_id, name) VALUES (:id, 'x')"), {"id": of.id + 999})
    with transaction(give=given.append):
        pass
    assert names() == ["one"]
    assert given == []


def test_a_rollback_inside_the_use_case_drops_what_was_noted_before_it(
    session: Session, names: Callable[[], list[str]], given: list[Follows]
) -> None:
    with transaction(give=given.append) as own:
        factories.company(own, name="given up")
        following.wake(own, [1])
        own.rollback()
        factories.company(own, name="second try")
        following.wake(own, [2])
    assert names() == ["second try"]
    assert given == [(TWO,)]
    with transaction(give=given.append) as own:
        following.wake(own, [1])
        own.rollback()
    assert given == [(TWO,)]


def test_what_cannot_be_given_undoes_nothing_and_comes_only_once(
    session: Session, names: Callable[[], list[str]], given: list[Follows]
) -> None:
    def fail(follows: Follows) -> None:
        given.append(follows)
        raise Refusal

    with pytest.raises(Refusal), transaction(give=fail) as own:
        factories.company(own, name="one")
        following.wake(own, [1])
    with transaction(give=fail) as own:
        factories.company(own, name="two")
    assert names() == ["one", "two"]
    assert given == [(ONE,)]


def test_whoever_opens_a_transaction_acts_in_it_and_not_in_the_next(session: Session) -> None:
    ana = Actor("ana@example.com", 7)
    with transaction(actor=ana) as own:
        assert actor_of(own) == ana
    with transaction() as own:
        assert actor_of(own) is None
    with pytest.raises(Refusal), transaction(actor=ana):
        raise Refusal
    assert actor_of(session) is None


def test_the_session_knows_what_was_committed_without_asking_again(session: Session) -> None:
    with transaction() as own:
        made = factories.company(own, name="one")
    db.session.remove()
    assert made.name == "one"


def test_parameters_stay_out_of_the_text_of_an_error(session: Session) -> None:
    # It reaches the log with the traceback, and parameters are names, numbers and messages.
    with pytest.raises(IntegrityError) as refusal, transaction() as own:
        own.execute(text("INSERT INTO contact_lists (company_id, name) VALUES (:id, :name)"), {"id": 1, "name": "Ana"})
    assert "Ana" not in str(refusal.value).partition("DETAIL")[0]
    assert "hidden" in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
    ],
)
def test_the_driver_is_named_in_the_address(given: str, used: str) -> None:
    assert database_url_for_sqlalchemy(given) == used


def _cut(other_session: Callable[[], Session]) -> None:
    """Let the server end every connection of the application."""
    with other_session() as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'campaign-engine'"
            )
        )


def test_a_connection_that_died_while_it_lay_idle_is_replaced(
    session: Session, other_session: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction() as own:
        factories.company(own, name="one")
    _cut(other_session)
    now = time.monotonic()
    monkeypatch.setattr("campaign_engine.db.time.monotonic", lambda: now + IDLE_S + 0.1)
    with transaction() as own:
        assert own.scalar(text("SELECT count(*) FROM companies")) == 1
    db.engine.dispose()  # of what else was cut


def test_a_connection_that_was_used_a_moment_ago_is_not_tried_first(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("campaign_engine.db.time.monotonic", lambda: now)
    db.engine.dispose()  # of those that have lain idle since another test
    pings: list[object] = []
    dialect = db.engine.dialect
    ping = dialect.do_ping

    def counted(connection: Any) -> bool:
        pings.append(connection)
        return ping(connection)

    monkeypatch.setattr(dialect, "do_ping", counted)
    for _ in range(5):
        with transaction() as own:
            own.execute(text("SELECT 1"))
    assert pings == []
