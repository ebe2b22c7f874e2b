"""What the doctor shows, and what it says to do."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import redis

from campaign_engine.rules.hours.working_hours import WEEKDAYS
from campaign_engine.services.messages.planning import Line
from jobs import waking
from tests.cli.terminal import NOWHERE, Terminal, rows


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


def test_a_campaign_that_stopped_at_closing_time_is_well(terminal: Terminal, shared_database_url: str) -> None:
    made = terminal(
        *("campaign", "create", "--name", "Natal", "--account", "Main", "--list", "Clientes", "--text", "Olá", "--json")
    ).json
    always = {"windows": [{"days": [*WEEKDAYS], "start": "00:00", "end": "24:00"}], "at_close": "stop"}
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE campaigns SET status = 'paused', status_code = 'closing_time', working_hours = %s WHERE id = %s",
            [json.dumps(always), made["id"]],
        )
    shown = {check["name"]: check for check in json.loads(terminal("doctor", "--json").out)["checks"]}
    assert (shown["campaigns waiting for a person"]["ok"], shown["campaigns waiting for a person"]["detail"]) == (
        True,
        "none",
    )
    assert shown["campaigns stopped at closing time"] == {
        "name": "campaigns stopped at closing time",
        "ok": True,
        "detail": f"{made['id']} “Natal”: its hours are open and it can be resumed",
        "remedy": "",
    }


def test_a_lane_with_nothing_but_late_retries_needs_a_turn_of_its_second_line(
    terminal: Terminal, shared_database_url: str, redis_client: redis.Redis
) -> None:
    made = terminal(
        *("campaign", "create", "--name", "Natal", "--account", "Main", "--list", "Clientes", "--text", "Olá", "--json")
    ).json
    ((account_id,),) = rows(shared_database_url, "SELECT id FROM accounts WHERE name = 'Main'")
    later = datetime.now(UTC) + timedelta(hours=1)
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("UPDATE campaigns SET status = 'running', prepared_at = now() WHERE id = %s", [made["id"]])
        connection.execute(
            "INSERT INTO messages (id, campaign_id, position, phone, phone_key, status, attempts, next_attempt_at)"
            " VALUES (%s, %s, 1, '+5511900000001', '551100000001', 'pending', 4, %s)",
            [uuid.uuid4(), made["id"], later],
        )

        def lanes() -> tuple[bool, str]:
            checks = json.loads(terminal("doctor", "--json").out)["checks"]
            [check] = [check for check in checks if check["name"] == "lanes"]
            return check["ok"], check["detail"]

        assert lanes() == (False, "1 busy, 1 without a turn")
        waking.arm(redis_client, account_id, at=later, line=Line.SECOND)
        assert lanes() == (True, "1 busy, 0 without a turn")
        connection.execute("UPDATE campaigns SET status = 'cancelled' WHERE id = %s", [made["id"]])
