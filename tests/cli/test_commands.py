"""What all commands have in common: the console script, usage, what is away; and the commands for people."""

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.db import database_url_for_sqlalchemy
from campaign_engine.services.company import users
from cli.embedded.postgres import EmbeddedPostgres
from tests.campaign_engine.cloned import cloned
from tests.cli.terminal import EMAIL, EXAMPLE, NOWHERE, PASSWORD, Done, Terminal, rows

# --- The console script itself.


def test_the_console_script_says_its_version_and_what_it_can(unconfigured: Terminal) -> None:
    done = unconfigured.console_script("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("campaign-engine, version ")
    helped = unconfigured("--help")
    for name in (
        *("up", "web", "workers", "scheduler", "simulator", "db", "user", "token", "account", "contacts"),
        *("campaign", "doctor"),
    ):
        assert f"\n  {name} " in helped.out


def test_without_a_configuration_every_variable_that_is_missing_is_named_on_standard_error(
    unconfigured: Terminal,
) -> None:
    done = unconfigured.console_script("account", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("campaign-engine: DATABASE_URL: not set")
    assert [line.split(":")[-2].strip() for line in done.err.splitlines()] == [
        "DATABASE_URL",
        "REDIS_URL",
        "ENCRYPTION_KEY",
    ]
    assert unconfigured("account", "list") == done


def test_a_token_is_alone_on_standard_output_and_opens_the_api(terminal: Terminal, shared_database_url: str) -> None:
    done = terminal.console_script("token", "create", "--email", EMAIL.upper(), "--name", "nightly")
    assert (done.code, done.err) == (0, "")
    secret = done.out.removesuffix("\n")
    assert secret.startswith("cet_")
    assert len(secret.split()) == 1
    engine = create_engine(database_url_for_sqlalchemy(shared_database_url))
    with Session(engine) as session:
        assert users.user_of_token(session, secret, now=utc_now()).email == EMAIL
    engine.dispose()


def test_every_command_has_a_help_of_its_own(unconfigured: Terminal) -> None:
    groups = {
        "db": ["upgrade"],
        "user": ["create"],
        "token": ["create"],
        "account": ["add", "list", "reactivate"],
        "contacts": ["import"],
        "campaign": ["create", "list", "show", "start", "pause", "resume", "cancel", "watch", "test"],
    }
    alone = ["up", "web", "workers", "scheduler", "simulator", "doctor"]
    for words in [*([name] for name in (*alone, *groups)), *([name, sub] for name in groups for sub in groups[name])]:
        done = unconfigured(*words, "--help")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"Usage: campaign-engine {' '.join(words)} ")


# --- Usage.


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["frobnicate"], "'frobnicate'"),
        (["user", "create", "--email", "a@example.com"], "'--role'"),
        (["user", "create", "--email", "a@example.com", "--role", "owner"], "'owner'"),
        (["token", "create"], "'--email'"),
        (["account", "add", "--phone-number-id", "1"], "'--name'"),
        (["account", "add", "--name", "x", "--phone-number-id", "1", "--burst", "many"], "'many'"),
        (["account", "reactivate", "Main"], "'Main'"),
        (["account", "reactivate", "99999999999999999999"], "99999999999999999999"),
        (["contacts", "import", "no-such-file.csv", "--list", "x"], "'no-such-file.csv'"),
        (["contacts", "import", ".", "--list", "x"], "'.'"),
        (["contacts", "import", "stdin"], "'--list'"),
        (["contacts", "import", "stdin", "--list", "x", "--map", "phone"], "FIELD=COLUMN"),
        (["campaign", "show"], "'CAMPAIGN_ID'"),
        (["campaign", "show", "first"], "'first'"),
        (["campaign", "show", "99999999999999999999"], "99999999999999999999"),
        (["campaign", "start", "-1"], "-1"),
        (["campaign", "test", "1"], "'PHONE'"),
        (["campaign", "create", "--name", "x", "--list", "y", "--text", "z"], "'--account'"),
        (
            [
                *("campaign", "create", "--name", "x", "--account", "Main", "--list", "Clientes", "--text", "z"),
                *("--at", "tomorrow"),
            ],
            "'tomorrow'",
        ),
        (["workers", "--queue", "nonsense"], "'nonsense'"),
    ],
)
def test_a_command_that_is_called_wrongly_says_how_and_ends_with_2(
    terminal: Terminal, arguments: list[str], named: str
) -> None:
    assert named in terminal(*arguments).usage


# --- What is away, or not yet there.


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "list"],
        ["campaign", "list", "--json"],
        ["campaign", "start", "1"],
        ["contacts", "import", str(EXAMPLE), "--list", "x"],
        ["token", "create", "--email", EMAIL],
        ["db", "upgrade"],
    ],
)
def test_a_database_that_is_away_is_said_in_one_line_without_its_password(
    terminal_at: Callable[[str], Terminal], arguments: list[str]
) -> None:
    terminal = terminal_at(f"postgresql://engine:{PASSWORD.replace(' ', '-')}@{NOWHERE}/engine")
    refusal = terminal(*arguments).refusal
    assert refusal.startswith("PostgreSQL does not answer: ")
    assert refusal.endswith("Is `campaign-engine up` running?")
    assert PASSWORD.replace(" ", "-") not in refusal


def test_a_database_without_a_schema_gets_one(
    terminal_at: Callable[[str], Terminal], _postgres: EmbeddedPostgres
) -> None:
    with cloned(_postgres, "template0") as url:
        terminal = terminal_at(url)
        said = "The database has no (or an old) schema: run `campaign-engine db upgrade`."
        assert terminal("account", "list").refusal == said
        for _ in range(2):
            assert terminal("db", "upgrade") == Done(0, "The schema is up to date.\n", "")
        assert terminal("account", "list").refusal.startswith("company: There is none yet")


def test_a_variable_that_cannot_be_used_is_named(terminal: Terminal) -> None:
    assert terminal("account", "list", WEB_PORT="eighty").refusal.startswith("WEB_PORT: not usable; accepted is ")
    assert terminal("account", "list", DEFAULT_TIMEZONE="America").refusal.startswith("DEFAULT_TIMEZONE: ")
    assert "hunter2" not in terminal("account", "list", ENCRYPTION_KEY="hunter2").refusal


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "list"],
        ["account", "reactivate", "1"],
        ["contacts", "import", str(EXAMPLE), "--list", "x"],
        ["campaign", "list"],
        ["campaign", "create", "--name", "x", "--account", "Main", "--list", "x", "--text", "Olá"],
    ],
)
def test_an_installation_without_a_company_says_what_to_do_first(empty: Terminal, arguments: list[str]) -> None:
    assert empty(*arguments).refusal == "company: There is none yet: run `campaign-engine user create` first."


# --- People.


def test_the_first_user_brings_a_company_along(empty: Terminal, database_url: str) -> None:
    create = ("user", "create", "--email", EMAIL, "--role", "admin", "--password-stdin")
    made = empty(*create, "--json", stdin=f"{PASSWORD}\n").json
    assert made == {"id": made["id"], "email": EMAIL, "role": "admin", "company": "My company"}
    assert made["id"] == str(rows(database_url, "SELECT id FROM users")[0][0])
    assert empty(*create, stdin=f"{PASSWORD}\n").refusal == f"There is a user {EMAIL} already."
    other = ("user", "create", "--email", "eva@example.com", "--role", "viewer", "--company", "Outra")
    assert empty(*other, "--password-stdin", stdin=PASSWORD).out == "Created viewer eva@example.com of Outra.\n"
    assert rows(database_url, "SELECT name FROM companies ORDER BY id") == [("My company",), ("Outra",)]
    engine = create_engine(database_url_for_sqlalchemy(database_url))
    with Session(engine) as session:
        assert users.authenticate(session, email=EMAIL, password=PASSWORD).role == "admin"
    engine.dispose()


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("eva@example.com", "short", "password: A password needs at least 10 characters."),
        ("eva@example.com", "", "password: A password needs at least 10 characters."),
        ("eva", PASSWORD, "email: This is not an e-mail address."),
    ],
)
def test_a_user_that_cannot_be_is_refused_and_no_company_is_left_behind(
    empty: Terminal, database_url: str, email: str, password: str, said: str
) -> None:
    create = ("user", "create", "--email", email, "--role", "admin", "--password-stdin")
    assert empty(*create, stdin=f"{password}\n").refusal == said
    assert rows(database_url, "SELECT id FROM companies UNION ALL SELECT id FROM users") == []


def test_a_token_for_nobody_is_refused(terminal: Terminal) -> None:
    assert terminal("token", "create", "--email", "nobody@example.com").refusal == (
        "There is no user nobody@example.com."
    )


def test_what_the_command_line_does_is_in_the_audit_log(terminal: Terminal, shared_database_url: str) -> None:
    made = ("user", "create", "--email", "kept@example.com", "--role", "admin", "--password-stdin")
    assert terminal(*made, stdin="a long password\n").code == 0
    assert terminal("token", "create", "--email", "kept@example.com").code == 0
    assert terminal(*made, stdin="a long password\n").code == 1  # there is one of that address: nothing is written
    query = (
        "SELECT action, actor_id, actor, details ->> 'role' FROM audit_log"
        " WHERE action IN ('user.created', 'token.created') ORDER BY id DESC LIMIT 2"
    )
    assert rows(shared_database_url, query) == [
        ("token.created", None, "command line", None),
        ("user.created", None, "command line", "admin"),
    ]
