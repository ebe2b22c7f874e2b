"""Terminals of an installation, with a database and a simulator behind them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from campaign_engine.db import database_url_for_sqlalchemy
from cli.embedded.postgres import EmbeddedPostgres
from tests import factories, outgoing
from tests.campaign_engine.cloned import cloned
from tests.cli.terminal import APP_SECRET, EMAIL, FORKING, NUMBER, ROOT, TOKEN, Terminal
from tests.simulator.running import Simulator


@pytest.fixture(autouse=True)
def no_request_inside_a_transaction() -> Iterator[None]:
    """Whatever a test does, no transaction is open on a thread that asks a provider."""
    with outgoing.watched() as seen:
        yield
    assert seen == []


@pytest.fixture(scope="session")
def forking() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    yield process
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def unconfigured(forking: "subprocess.Popen[str]", tmp_path: Path) -> Terminal:
    return Terminal(forking, tmp_path, {"VAR_DIR": str(tmp_path / "var"), "PATH": os.environ["PATH"]})


@pytest.fixture
def terminal_at(unconfigured: Terminal, redis_url: str) -> Callable[[str], Terminal]:
    """A terminal of the installation whose database is at an address."""

    def make(database_url: str) -> Terminal:
        unconfigured.env |= {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "ENCRYPTION_KEY": factories.ENCRYPTION_KEY,
            "SECRET_KEY": factories.SECRET_KEY,
        }
        return unconfigured

    return make


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    simulator = Simulator()
    simulator.register()
    yield simulator
    assert simulator.stop() == 0


@pytest.fixture(scope="module")
def shared_database_url(_postgres: EmbeddedPostgres, migrated_template: str, simulator: Simulator) -> Iterator[str]:
    """A database with a company, its administrator, a number and a list: what most commands work with."""
    with cloned(_postgres, migrated_template) as url:
        engine = create_engine(database_url_for_sqlalchemy(url))
        with Session(engine) as session:
            company = factories.company(session, name="Loja")
            factories.user(session, company, email=EMAIL)
            factories.account(
                session,
                company,
                name="Main",
                base_url=simulator.url,
                phone_number_id=NUMBER,
                access_token=TOKEN,
                app_secret=APP_SECRET,
            )
            factories.contact_list(session, company, name="Clientes", size=3)
            session.commit()
        engine.dispose()
        yield url


@pytest.fixture
def terminal(terminal_at: Callable[[str], Terminal], shared_database_url: str) -> Terminal:
    return terminal_at(shared_database_url)


@pytest.fixture
def empty(terminal_at: Callable[[str], Terminal], database_url: str) -> Terminal:
    """A terminal of an installation that has a schema and nothing in it."""
    return terminal_at(database_url)
