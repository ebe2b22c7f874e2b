"""Commands as an operator gives them: what they print, where, and the exit code.

Exit codes: 0 done, 1 refused or failed with one clear line, 2 usage. Most run in a fork of a process that has the
commands imported already, with an environment and standard streams of their own; what differs from the console
script is the half second that Python needs to start.
"""

import json
import os
import select
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.core import create_core
from campaign_engine.db import database_url_for_sqlalchemy, db, transaction
from campaign_engine.services import users
from cli import demo
from cli.commands import up as up_command
from cli.embedded.installation import Installation
from cli.embedded.postgres import EmbeddedPostgres
from cli.supervisor import Supervisor
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.cloned import cloned
from tests.simulator import running
from tests.simulator.running import Simulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "contacts.csv"
CONSOLE_SCRIPT = Path(sys.executable).parent / "campaign-engine"
EMAIL, PASSWORD = "ana@example.com", "a password nobody prints"
NUMBER, TOKEN, APP_SECRET = running.PHONE_NUMBER_ID, running.TOKEN, "an app secret nobody prints"
NOWHERE = "127.0.0.1:1"

FORKING = """
import json, os, sys, traceback
from cli.main import main

for name in main.list_commands(None):
    main.get_command(None, name)
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["env"])
            for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
                os.dup2(os.open(name, os.O_RDONLY if mode == "r" else os.O_WRONLY), fd)
                setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))
            main(args=asked["arguments"], prog_name="campaign-engine")
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line that a refused command says, on standard error and nowhere else."""
        assert self.code == 1, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("campaign-engine: ")
        return line.removeprefix("campaign-engine: ")

    @property
    def usage(self) -> str:
        """What a command says that was called wrongly."""
        assert (self.code, self.out) == (2, ""), self
        assert self.err.startswith("Usage: campaign-engine")
        return self.err


@dataclass
class Terminal:
    """Gives commands, in an empty folder, with an environment of its own."""

    process: "subprocess.Popen[str]"
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        for name, content in (("stdin", stdin), ("stdout", ""), ("stderr", "")):
            (self.folder / name).write_text(content)
        asked = {"arguments": arguments, "env": {**self.env, **env}, "folder": str(self.folder)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 30)[0], f"{arguments} did not end"
        code = int(self.process.stdout.readline())
        return self._checked(Done(code, (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text()))

    def console_script(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        """Give a command as a person does."""
        done = subprocess.run(
            [CONSOLE_SCRIPT, *arguments],
            input=stdin,
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return self._checked(Done(done.returncode, done.stdout, done.stderr))

    @staticmethod
    def _checked(done: Done) -> Done:
        for secret in (PASSWORD, TOKEN, APP_SECRET, factories.ENCRYPTION_KEY, factories.SECRET_KEY):
            assert secret not in done.out + done.err
        assert "Traceback" not in done.err, done.err
        return done


@pytest.fixture(scope="module")
def forking() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    yield process
    process.stdin.close()
    assert process.wait(10) == 0
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


@pytest.fixture(scope="module")
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


def rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


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


# --- Accounts.


def add(terminal: Terminal, *options: str, token: str = TOKEN, secret: str = APP_SECRET, number: str = NUMBER) -> Done:
    return terminal(
        *("account", "add", "--access-token-stdin", "--app-secret-stdin", "--phone-number-id", number),
        *options,
        stdin=f"{token}\n{secret}\n",
    )


def test_an_account_is_added_and_listed_without_its_secrets(
    terminal: Terminal, simulator: Simulator, shared_database_url: str
) -> None:
    options = ("--base-url", simulator.url, "--rate-limit", "30/minute", "--burst", "5", "--message-interval-s", "0")
    for number in ("2222", "3333"):
        simulator.register(phone_number_id=number)
    made = add(terminal, "--name", "Loja 2", *options, "--json", number="2222").json
    shown = {
        "id": made["id"],
        "name": "Loja 2",
        "provider": "cloud_api",
        "status": "active",
        "status_reason": None,
        "health": "connected",
    }
    assert made == shown
    assert shown in terminal("account", "list", "--json").json["items"]
    said = add(terminal, "--name", "Loja 3", *options, number="3333")
    assert said.out.endswith("“Loja 3”; the provider says: connected.\n")
    listed = terminal("account", "list").out.splitlines()
    assert listed[0].split() == ["ID", "NAME", "PROVIDER", "STATUS", "STATUS_REASON", "HEALTH"]
    assert [line.split("  ")[1].strip() for line in listed[1:]][-2:] == ["Loja 2", "Loja 3"]
    query = "SELECT access_token_encrypted, app_secret_encrypted, rate_limit, burst FROM accounts WHERE name = 'Loja 2'"
    ((token, secret, rate_limit, burst),) = rows(shared_database_url, query)
    assert (factories.VAULT.decrypt(token), factories.VAULT.decrypt(secret)) == (TOKEN, APP_SECRET)
    assert (rate_limit, burst) == ("30/minute", 5)


def test_an_account_needs_no_app_secret_and_no_provider_that_answers(
    terminal: Terminal, shared_database_url: str
) -> None:
    done = add(terminal, "--name", "Away", "--base-url", f"http://{NOWHERE}", secret="", number="4444")
    assert "cannot be reached" in done.out
    query = "SELECT app_secret_encrypted FROM accounts WHERE name = 'Away'"
    assert rows(shared_database_url, query) == [(None,)]


def test_an_account_that_cannot_be_is_refused_by_the_name_of_the_field(
    terminal: Terminal, simulator: Simulator, shared_database_url: str
) -> None:
    count = "SELECT count(*) FROM accounts"
    before = rows(shared_database_url, count)
    here = ("--name", "Never", "--base-url", simulator.url)
    refused = add(terminal, *here, token="a-wrong-token").refusal
    assert refused.startswith("access_token: The provider refuses it: ")
    assert "a-wrong-token" not in refused
    assert add(terminal, *here, number="999999999999999").refusal.startswith("phone_number_id: ")
    assert add(terminal, *here, token="").refusal.startswith("access_token: ")
    assert add(terminal, *here, number="+5511987654321").refusal.startswith("phone_number_id: ")
    assert add(terminal, *here, "--rate-limit", "20/minute", "--burst", "20").refusal.startswith("burst: ")
    assert add(terminal, *here, "--message-interval-s", "nan").refusal.startswith("message_interval_s: ")
    assert add(terminal, "--name", "Never", "--base-url", "ftp://x").refusal.startswith("base_url: ")
    assert add(terminal, "--name", " ", "--base-url", simulator.url).refusal.startswith("name: ")
    assert add(terminal, "--name", "Main", "--base-url", simulator.url).refusal == (
        "There is an account called Main already."
    )
    several = add(terminal, *here, "--burst", "0", "--max-in-flight", "0").refusal
    assert "burst: " in several
    assert "max_in_flight: " in several
    assert rows(shared_database_url, count) == before


def test_an_account_sends_again_and_its_lane_is_woken(
    terminal: Terminal, shared_database_url: str, redis_client: "redis.Redis"
) -> None:
    ((account_id,),) = rows(shared_database_url, "SELECT id FROM accounts WHERE name = 'Main'")
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("UPDATE accounts SET status = 'deactivated', consecutive_failures = 5 WHERE name = 'Main'")
    done = terminal("account", "reactivate", str(account_id))
    assert done == Done(0, f"Account {account_id} sends again, one message first.\n", "")
    query = "SELECT status, consecutive_failures FROM accounts WHERE name = 'Main'"
    assert rows(shared_database_url, query) == [("active", 0)]
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1
    assert terminal("account", "reactivate", "999999").refusal == "There is no account 999999."


# --- Contacts.


def test_a_file_is_imported_and_its_bad_rows_are_listed(terminal: Terminal) -> None:
    imported = terminal("contacts", "import", str(EXAMPLE), "--list", "Example", "--json").json
    assert {name: type(value) for name, value in imported.items()} == {
        "id": str,
        "status": str,
        "rows": int,
        "created": int,
        "updated": int,
        "duplicates": int,
        "errors": int,
        "refused": list,
    }
    assert [imported[name] for name in ("status", "rows", "created", "updated", "duplicates", "errors")] == [
        *("completed", 205, 184, 0, 12, 9)
    ]
    assert len(imported["refused"]) == 21
    assert {tuple(row) for row in imported["refused"]} == {("line", "code", "reason")}

    done = terminal("contacts", "import", str(EXAMPLE), "--list", "Example")
    assert (done.code, done.err) == (0, "")
    first, *listed, last = done.out.splitlines()
    assert first.startswith("205 rows in ")
    assert first.endswith(": 0 new contacts, 184 known, 12 repeated, 9 refused.")
    assert len(listed) == 20
    assert all(line.startswith("  line ") for line in listed)
    assert last == "  and 1 more; --json lists all."


def test_a_column_and_a_region_are_told_by_options(terminal: Terminal, shared_database_url: str) -> None:
    file = terminal.folder / "contatos.csv"
    file.write_bytes("Quem;Onde\r\nMartín;11 15-2345-6789\r\n".encode("latin-1"))
    options = ("--map", "phone=Onde", "--map", "name=Quem", "--region", "AR", "--list", "Argentina")
    assert terminal("contacts", "import", "contatos.csv", *options).out.startswith("1 rows in ")
    query = "SELECT name FROM contacts WHERE phone = '+5491123456789'"
    assert rows(shared_database_url, query) == [("Martín",)]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"", [], "file: The file is empty."),
        (b"phone,name\n", [], "file: The file has column names but no contacts."),
        (b"PK\x03\x04" + bytes(100), [], "file: The file is a spreadsheet"),
        (b"colour,size\nred,5\n", [], "file: No column is known to hold the phone number."),
        (b"phone\n11900000001\n", ["--map", "phone=Celular"], "mapping: The mapping names a column that is not"),
        (b"phone\n11900000001\n", ["--region", "Brasil"], "default_region: "),
        (b"phone\n11900000001\n" + bytes(10) * 200_000, [], "file: The file is larger than 1 MB; split it."),
        (b"phone\n11900000001\n", ["--list", "  "], "list: A list needs a name"),
        (b"phone\n11900000001\n", ["--list", ""], "list: A list needs a name"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_leaves_nothing(
    terminal: Terminal, shared_database_url: str, content: bytes, options: list[str], said: str
) -> None:
    count = (
        "SELECT (SELECT count(*) FROM contact_imports), (SELECT count(*) FROM contact_import_chunks),"
        " (SELECT count(*) FROM contacts), (SELECT count(*) FROM contact_lists)"
    )
    before = rows(shared_database_url, count)
    (terminal.folder / "bad.csv").write_bytes(content)
    done = terminal("contacts", "import", "bad.csv", "--list", "Never", *options, IMPORT_MAX_MB="1")
    assert done.refusal.startswith(said)
    assert rows(shared_database_url, count) == before


def test_a_file_whose_name_is_no_text_is_imported(terminal: Terminal) -> None:
    path = os.fsdecode(b"promo\xe7\xe3o.csv")
    (terminal.folder / path).write_text("phone\n11900000001\n")
    assert terminal("contacts", "import", path, "--list", "Promo", "--json").json["status"] == "completed"


# --- Campaigns.


def create(terminal: Terminal, *options: str, text: str = "Olá {{name}}") -> Done:
    return terminal(
        *("campaign", "create", "--name", "Natal", "--account", "Main", "--list", "Clientes", "--text", text), *options
    )


def test_a_campaign_is_created_started_paused_resumed_and_cancelled(
    terminal: Terminal, redis_client: "redis.Redis", shared_database_url: str
) -> None:
    made = create(terminal, "--json").json
    campaign_id = made["id"]
    assert made == {"id": campaign_id, "name": "Natal", "status": "draft"}
    assert isinstance(campaign_id, str)
    for verb in ("pause", "resume"):
        assert terminal("campaign", verb, campaign_id).refusal == f"This campaign is draft; it cannot {verb} now."

    assert terminal("campaign", "start", campaign_id) == Done(0, f"Campaign {campaign_id} is preparing.\n", "")
    assert redis_client.llen("rq:queue:campaign-scheduler") == 1
    assert terminal("campaign", "start", campaign_id).refusal == "This campaign is preparing; it cannot start now."
    assert redis_client.llen("rq:queue:campaign-scheduler") == 1

    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("UPDATE campaigns SET status = 'running' WHERE id = %s", [campaign_id])
    assert terminal("campaign", "pause", campaign_id).out == f"Campaign {campaign_id} is paused.\n"
    assert "paused by an operator" in terminal("campaign", "show", campaign_id).out
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1  # the lane was woken
    assert terminal("campaign", "resume", campaign_id).out == f"Campaign {campaign_id} is running.\n"
    assert terminal("campaign", "cancel", campaign_id).out == f"Campaign {campaign_id} is cancelled.\n"
    assert terminal("campaign", "cancel", campaign_id).refusal == "This campaign is cancelled; it cannot cancel now."
    watched = terminal("campaign", "watch", campaign_id)
    assert (watched.code, watched.err, len(watched.out.splitlines())) == (0, "", 1)
    assert "cancelled" in watched.out


def test_a_test_goes_to_one_number_and_is_no_campaign(
    terminal: Terminal, redis_client: "redis.Redis", shared_database_url: str
) -> None:
    campaign_id = create(terminal, "--json", text="Olá {{name}}").json["id"]
    query = "SELECT id, variables ->> 'name' FROM messages WHERE phone = '+5511900000077'"
    test = ("campaign", "test", campaign_id, "11 90000-0077")
    assert terminal(*test).refusal == "name: The message needs a value for name."
    sent = terminal(*test, "--name", "Ana", "--account", "Main", "--variable", "n=1", "--json").json
    assert rows(shared_database_url, query) == [(uuid.UUID(sent["message_id"]), "Ana")]
    assert redis_client.zcard("rq:scheduled:campaign-messages") == 1  # the lane was woken
    assert sent["id"] not in [row["campaign_id"] for row in terminal("campaign", "list", "--json").json["items"]]
    assert terminal("campaign", "test", sent["id"], "+5511900000077").refusal == f"There is no campaign {sent['id']}."
    assert terminal(*test, "--account", "Nobody").refusal == "There is no account Nobody."
    assert "NAME=VALUE" in terminal(*test, "--variable", "n").usage


def test_before_the_start_a_campaign_tells_how_many_get_it_and_whether_it_fits(terminal: Terminal) -> None:
    campaign_id = create(terminal, "--json", text="Olá {{name|amigo}}").json["id"]
    told = terminal("campaign", "preflight", campaign_id)
    assert told.out.startswith(f"Campaign {campaign_id} ends ")
    assert "account Main" in told.out
    late = terminal("campaign", "preflight", campaign_id, "--must-end-by", "2020-01-01 10:00")
    assert "; does not fit before Wed 1 Jan 2020, 10:00." in late.out.splitlines()[0]
    shown = terminal("campaign", "preflight", campaign_id, "--must-end-by", "2199-01-01T10:00", "--json").json
    assert (shown["campaign_id"], shown["fits"], shown["must_end_by"]) == (campaign_id, True, "2199-01-01T13:00:00Z")
    assert isinstance(shown["accounts"][0]["id"], str)
    assert terminal("campaign", "preflight", "999999999").refusal == "There is no campaign 999999999."
    terminal("campaign", "start", campaign_id)
    assert "it cannot be checked now" in terminal("campaign", "preflight", campaign_id).refusal


def test_progress_is_shown_in_the_shape_of_the_contract(terminal: Terminal) -> None:
    campaign_id = create(terminal, "--start", "--json").json["id"]
    shown = terminal("campaign", "show", campaign_id, "--json").json
    assert set(shown) >= {
        *("campaign_id", "status", "total", "counts", "funnel", "success_rate", "rate_per_minute", "eta"),
        *("eta_seconds", "waiting", "accounts", "started_at", "finished_at", "version"),
    }
    assert shown["campaign_id"] == campaign_id  # ids are texts, as everywhere in JSON
    assert isinstance(shown["accounts"][0]["id"], str)
    assert shown["started_at"].endswith("Z")
    listed = terminal("campaign", "list", "--json").json["items"]
    # Nothing has begun, so that the end moves with the clock.
    assert listed[0] == {**shown, "version": listed[0]["version"], "eta": listed[0]["eta"]}

    table = terminal("campaign", "list").out.splitlines()
    columns = ["ID", "NAME", "STATUS", "TOTAL", "SENT", "DELIVERED", "READ", "FAILED", "PENDING"]
    assert table[0].split() == columns
    assert table[1].split()[:3] == [campaign_id, "Natal", "preparing"]
    said = terminal("campaign", "show", campaign_id).out
    assert "accounts  Main (active)" in said


def test_a_campaign_is_scheduled_in_the_zone_that_is_said(terminal: Terminal, shared_database_url: str) -> None:
    query = "SELECT scheduled_at AT TIME ZONE 'UTC' FROM campaigns WHERE id = {}"
    for zone, hour in (("America/Sao_Paulo", 12), ("America/Manaus", 13), ("UTC", 9)):
        made = create(terminal, "--at", "2027-01-10 09:00", "--timezone", zone, "--json").json
        assert made["status"] == "scheduled"
        ((scheduled_at,),) = rows(shared_database_url, query.format(made["id"]))
        assert (scheduled_at.hour, scheduled_at.minute) == (hour, 0)
    # Half past two that a clock change skips: right after it.
    made = create(terminal, "--at", "2098-03-09 02:30", "--timezone", "America/New_York", "--json").json
    ((scheduled_at,),) = rows(shared_database_url, query.format(made["id"]))
    assert (scheduled_at.hour, scheduled_at.minute) == (7, 0)


def test_accounts_and_lists_are_named_or_numbered(terminal: Terminal, shared_database_url: str) -> None:
    ((account_id, list_id),) = rows(
        shared_database_url,
        "SELECT a.id, l.id FROM accounts a, contact_lists l WHERE a.name = 'Main' AND l.name = 'Clientes'",
    )
    common = ("campaign", "create", "--name", "x", "--text", "Olá")
    assert terminal(*common, "--account", str(account_id), "--list", str(list_id)).code == 0


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        (["--account", "Nobody"], "Olá", "account: There is no account Nobody;"),
        (["--account", "9" * 30], "Olá", "account: There is no account 999"),
        (["--account", "²"], "Olá", "account: There is no account ²;"),
        (["--list", "Nobody"], "Olá", "list: There is no list Nobody;"),
        (["--list", "9" * 30], "Olá", "list: There is no list 999"),
        (["--list", "999999"], "Olá", "There is no list 999999."),
        ([], "Olá {{nome_da_mae}}", "content.text: The text uses variables that no contact has: nome_da_mae."),
        ([], "Olá {{name", "content.text: The text opens a variable"),
        ([], "", "content.text: A text is needed."),
        ([], "x" * 4097, "content.text: The text has 4097 characters"),
        (["--at", "2020-01-10 09:00"], "Olá", "scheduled_at: This time is in the past"),
        (["--timezone", "Mars/Olympus"], "Olá", "timezone: "),
        (["--timezone", "../../etc/passwd", "--at", "2027-01-10 09:00"], "Olá", "timezone: "),
        (["--timezone", "America"], "Olá", "timezone: "),
        (["--message-delay-s", "nan"], "Olá", "message_delay_s: "),
        (["--message-delay-s", "-5"], "Olá", "message_delay_s: "),
        (["--message-delay-s", "inf"], "Olá", "message_delay_s: "),
        (["--name", " "], "Olá", "name: "),
    ],
)
def test_a_campaign_that_cannot_be_is_refused_by_the_name_of_the_field(
    terminal: Terminal, shared_database_url: str, options: list[str], text: str, said: str
) -> None:
    count = "SELECT count(*) FROM campaigns"
    before = rows(shared_database_url, count)
    assert create(terminal, *options, text=text).refusal.startswith(said)
    assert rows(shared_database_url, count) == before


def test_a_campaign_that_nobody_would_get_is_not_started(
    terminal: Terminal, shared_database_url: str, redis_client: "redis.Redis"
) -> None:
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO contact_lists (company_id, name) SELECT id, 'Nobody here' FROM companies")
    empty_list = ("campaign", "create", "--name", "x", "--account", "Main", "--list", "Nobody here", "--text", "Olá")
    count = "SELECT count(*) FROM campaigns"
    before = rows(shared_database_url, count)
    assert terminal(*empty_list, "--start").refusal.startswith("audience: Nobody would get this campaign")
    assert rows(shared_database_url, count) == before
    assert redis_client.llen("rq:queue:campaign-scheduler") == 0


@pytest.mark.parametrize("verb", ["show", "watch", "start", "pause", "resume", "cancel"])
def test_a_campaign_that_is_none_is_said_to_be_none(terminal: Terminal, verb: str) -> None:
    assert terminal("campaign", verb, "999999").refusal == "There is no campaign 999999."


def test_a_redis_that_is_away_is_said_in_one_line_and_hides_no_progress(terminal: Terminal) -> None:
    campaign_id = create(terminal, "--json").json["id"]
    assert (
        terminal("campaign", "show", campaign_id, "--json", REDIS_URL=f"redis://{NOWHERE}/0").json["status"] == "draft"
    )
    refusal = terminal("campaign", "start", campaign_id, REDIS_URL=f"redis://{NOWHERE}/0").refusal
    assert refusal.startswith("Redis does not answer")
    # The campaign has started all the same: Redis holds hints, and the verification will find it.
    assert terminal("campaign", "show", campaign_id, "--json").json["status"] == "preparing"


# --- The doctor.


def test_the_doctor_shows_the_addresses_and_what_to_do(
    terminal: Terminal, shared_database_url: str, redis_url: str
) -> None:
    done = terminal("doctor", "--json")
    assert (done.code, done.err) == (1, "")  # nobody works here
    shown = json.loads(done.out)
    assert set(shown) == {"ok", "database_url", "redis_url", "checks"}
    assert (shown["ok"], shown["database_url"], shown["redis_url"]) == (False, shared_database_url, redis_url)
    checks = {check["name"]: check for check in shown["checks"]}
    assert {tuple(check) for check in shown["checks"]} == {("name", "ok", "detail", "remedy")}
    assert (checks["database"]["ok"], checks["redis"]["ok"], checks["scheduler"]["ok"]) == (True, True, False)
    assert checks["scheduler"]["remedy"] == "Start it: campaign-engine scheduler."
    assert checks["miscounted campaigns"]["ok"]
    text = terminal("doctor")
    assert text.code == 1
    assert "ok   database: PostgreSQL " in text.out
    assert "BAD  scheduler: no sign of life\n     -> Start it: campaign-engine scheduler.\n" in text.out


def test_the_doctor_is_not_stopped_by_what_is_away(terminal: Terminal) -> None:
    without_redis = json.loads(terminal("doctor", "--json", REDIS_URL=f"redis://{NOWHERE}/0").out)
    assert {check["name"]: check["ok"] for check in without_redis["checks"][:2]} == {"database": True, "redis": False}
    done = terminal("doctor", "--json", DATABASE_URL=f"postgresql://engine@{NOWHERE}/engine")
    without_database = json.loads(done.out)
    assert done.code == 1
    database = without_database["checks"][0]
    assert (database["name"], database["ok"]) == ("database", False)
    assert "Is it running" in database["remedy"]


def test_the_doctor_names_what_needs_a_person_and_says_what_to_do(terminal: Terminal, shared_database_url: str) -> None:
    ((account_id,),) = rows(shared_database_url, "SELECT id FROM accounts WHERE name = 'Main'")
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE accounts SET status = 'deactivated', status_reason = '190: expired' WHERE name = 'Main'"
        )
    shown = {check["name"]: check for check in json.loads(terminal("doctor", "--json").out)["checks"]}
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("UPDATE accounts SET status = 'active', status_reason = NULL WHERE name = 'Main'")
    assert shown["deactivated accounts"] == {
        "name": "deactivated accounts",
        "ok": False,
        "detail": f"{account_id} “Main”: 190: expired",
        "remedy": "Cure the cause at the provider, then: campaign-engine account reactivate ID.",
    }
    assert {"account warnings", "accounts without a webhook", "campaigns waiting for a person"} <= set(shown)
    assert shown["unknown messages"]["detail"] == "0, 0 for longer than UNKNOWN_GRACE_S"


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


# --- The demonstration.


def test_only_the_demonstration_is_watched_on_and_not_for_long_when_it_waits(
    database_url: str, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = factories.config(database_url=database_url, redis_url=redis_url)
    with create_core(config).app_context(), Installation(tmp_path) as held, Supervisor(held) as supervisor:
        demo.create_people(PASSWORD)
        ids = {}
        with transaction() as session:
            owner = users.by_email(session, demo.EMAIL)
            assert owner is not None
            number = numbered.account(session, owner.company)
            members = numbered.people(session, owner.company, count=2)
            for name in (demo.CAMPAIGN, "Spring"):
                made = numbered.draft(session, owner, accounts=[number], lists=[members], name=name)
                ids[name] = numbered.started(session, made, now=utc_now()).id
        capsys.readouterr()
        for remembered, said in (
            (None, False),
            (ids["Spring"], False),
            (ids["Spring"] + 1, False),
            (ids[demo.CAMPAIGN], True),
        ):
            held.update_local(demo_campaign=remembered)
            up_command._go_on(held, supervisor, patience_s=0.1)
            out = capsys.readouterr().out
            assert ("Going on with the demo campaign" in out and "It waits" in out) is said
            assert (out == "") is not said
            assert held.read_local()["demo_campaign"] is None
        db.engine.dispose()
