"""Accounts and contacts at the command line."""

import os

import psycopg
import pytest
import redis

from tests import factories
from tests.cli.terminal import APP_SECRET, EXAMPLE, NOWHERE, NUMBER, TOKEN, Done, Terminal, rows
from tests.simulator.running import Simulator

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


def test_an_account_sends_again_also_while_redis_is_away(terminal: Terminal, shared_database_url: str) -> None:
    ((account_id,),) = rows(shared_database_url, "SELECT id FROM accounts WHERE name = 'Main'")
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("UPDATE accounts SET status = 'deactivated' WHERE name = 'Main'")
    done = terminal("account", "reactivate", str(account_id), REDIS_URL=f"redis://{NOWHERE}/0")
    assert (done.code, done.out) == (0, f"Account {account_id} sends again, one message first.\n")
    assert done.err == "Redis does not answer (ConnectionError); what follows is done when it is back.\n"
    assert rows(shared_database_url, "SELECT status FROM accounts WHERE name = 'Main'") == [("active",)]


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
