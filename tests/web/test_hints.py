"""Hints are given once the rows are really there, and never otherwise."""

from flask import Flask
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from campaign_engine.db import db, transaction
from tests import factories
from web.hints import hint


def test_a_hint_is_given_after_the_commit(app: Flask) -> None:
    given: list[bool] = []

    def enqueue(_: Redis, company_id: int) -> None:
        with db.engine.connect() as other:
            seen = other.exec_driver_sql("SELECT count(*) FROM companies WHERE id = %s", (company_id,)).scalar()
        given.append(seen == 1)

    with app.app_context(), transaction() as session:
        hint(session, enqueue, factories.company(session).id)
        assert given == []
    assert given == [True]


def test_a_hint_of_what_was_rolled_back_is_never_given(app: Flask) -> None:
    given: list[int] = []
    with app.app_context():
        try:
            with transaction() as session:
                hint(session, lambda _, number: given.append(number), 1)
                raise KeyError
        except KeyError:
            pass
        with transaction() as session:
            hint(session, lambda _, number: given.append(number), 2)
    assert given == [2]


def test_a_hint_that_is_lost_leaves_the_others_and_the_rows(app: Flask) -> None:
    given: list[int] = []

    def lose(_: Redis) -> None:
        raise RedisConnectionError("away")

    with app.app_context():
        with transaction() as session:
            hint(session, lose)
            hint(session, lambda _, number: given.append(number), 1)
            company = factories.company(session)
        with transaction() as session:
            assert session.get(type(company), company.id) is not None
    assert given == [1]
