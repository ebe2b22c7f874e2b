"""Campaigns at the command line."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import redis

from campaign_engine.clock import utc_now
from campaign_engine.rules.hours.working_hours import WEEKDAYS
from tests.cli.terminal import NOWHERE, Done, Terminal, rows

AWAY = "Redis does not answer (ConnectionError); what follows is done when it is back.\n"


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
    yesterday = {"days": [WEEKDAYS[(utc_now() - timedelta(days=1)).weekday()]], "start": "00:00", "end": "00:01"}
    hours = json.dumps({"windows": [yesterday], "timezone": "UTC", "at_close": "stop"})
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        change = "UPDATE campaigns SET working_hours = %s, funnel_sent_count = %s WHERE id = %s"
        connection.execute(change, [hours, 1, campaign_id])
        assert "stops outside its working hours; they open at" in terminal("campaign", "resume", campaign_id).refusal
        connection.execute(change, [None, 0, campaign_id])
    assert terminal("campaign", "resume", campaign_id).out == f"Campaign {campaign_id} is running.\n"
    assert terminal("campaign", "cancel", campaign_id).out == f"Campaign {campaign_id} is cancelled.\n"
    assert terminal("campaign", "cancel", campaign_id).refusal == "This campaign is cancelled; it cannot cancel now."
    watched = terminal("campaign", "watch", campaign_id)
    assert (watched.code, watched.err, len(watched.out.splitlines())) == (0, "", 1)
    assert "cancelled" in watched.out


def test_a_campaign_of_another_company_than_the_one_that_was_named_is_not_there(
    terminal: Terminal, shared_database_url: str
) -> None:
    campaign_id = create(terminal, "--json", text="Olá").json["id"]
    with psycopg.connect(shared_database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO companies (name, timezone) VALUES ('Other', 'UTC')")
    try:
        for words in (
            *(["campaign", verb, campaign_id] for verb in ("show", "start", "pause", "resume", "cancel", "preflight")),
            ["campaign", "watch", campaign_id],
            ["campaign", "test", campaign_id, "+5511900000078"],
        ):
            assert terminal("--company", "Other", *words).refusal == f"There is no campaign {campaign_id}.", words
            assert "There is no company Nowhere" in terminal("--company", "Nowhere", *words).refusal, words
        assert terminal("--company", "Loja", "campaign", "cancel", campaign_id).code == 0
    finally:
        with psycopg.connect(shared_database_url, autocommit=True) as connection:
            connection.execute("DELETE FROM companies WHERE name = 'Other'")


def test_a_start_now_and_a_start_later_contradict_each_other(terminal: Terminal, shared_database_url: str) -> None:
    count = "SELECT count(*) FROM campaigns"
    before = rows(shared_database_url, count)
    assert "contradict" in create(terminal, "--at", "2098-01-10 09:00", "--start").usage
    assert rows(shared_database_url, count) == before


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


def test_a_test_is_under_way_also_while_redis_is_away_so_that_nobody_sends_it_twice(
    terminal: Terminal, shared_database_url: str
) -> None:
    campaign_id = create(terminal, "--json", text="Olá").json["id"]
    done = terminal("campaign", "test", campaign_id, "+5511900000078", REDIS_URL=f"redis://{NOWHERE}/0")
    assert (done.code, done.out) == (0, f"A test of campaign {campaign_id} to +5511900000078 is under way.\n")
    assert done.err == AWAY
    assert len(rows(shared_database_url, "SELECT id FROM messages WHERE phone = '+5511900000078'")) == 1


def test_what_is_done_at_the_terminal_is_in_the_audit_log_with_its_schedule(
    terminal: Terminal, shared_database_url: str
) -> None:
    made = create(terminal, "--at", "2098-01-10 09:00", "--timezone", "UTC", "--json").json
    query = f"""
        SELECT actor, actor_id, action, details FROM audit_log
        WHERE subject_kind = 'campaign' AND subject_id = '{made["id"]}' ORDER BY id
    """  # noqa: S608 - an id
    terminal("campaign", "start", made["id"])
    assert rows(shared_database_url, query) == [
        ("command line", None, "campaign.created", {"name": "Natal"}),
        ("command line", None, "campaign.scheduled", {"scheduled_at": "2098-01-10T09:00:00+00:00"}),
        ("command line", None, "campaign.started", {}),
    ]


def test_before_the_start_a_campaign_tells_how_many_get_it_and_whether_it_fits(terminal: Terminal) -> None:
    campaign_id = create(terminal, "--json", text="Olá {{name|amigo}}").json["id"]
    told = terminal("campaign", "preflight", campaign_id)
    assert told.out.startswith(f"Campaign {campaign_id} ends ")
    assert "account Main" in told.out
    late = terminal("campaign", "preflight", campaign_id, "--must-end-by", "2020-01-01 10:00")
    assert "; does not fit before Wed 1 Jan 2020, 10:00." in late.out.splitlines()[0]
    shown = terminal("campaign", "preflight", campaign_id, "--must-end-by", "2199-01-01T10:00", "--json").json
    assert (shown["campaign_id"], shown["fits"], shown["must_end_by"]) == (
        campaign_id,
        True,
        "2199-01-01T13:00:00.000Z",
    )
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
        (
            ["--timezone", "../../etc/passwd", "--at", "2027-01-10 09:00"],
            "Olá",
            "scheduled_at: This is not a time zone",
        ),
        (["--timezone", "America"], "Olá", "timezone: "),
        (["--message-delay-s", "nan"], "Olá", "pacing.message_delay_s: "),
        (["--message-delay-s", "-5"], "Olá", "pacing.message_delay_s: "),
        (["--message-delay-s", "inf"], "Olá", "pacing.message_delay_s: "),
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
    done = terminal("campaign", "start", campaign_id, REDIS_URL=f"redis://{NOWHERE}/0")
    # The campaign has started all the same: Redis holds hints, and the verification will find it.
    assert (done.code, done.out) == (0, f"Campaign {campaign_id} is preparing.\n")
    assert done.err == AWAY
    assert terminal("campaign", "show", campaign_id, "--json").json["status"] == "preparing"


def test_a_redis_that_is_away_leaves_a_campaign_that_was_made_and_says_so(
    terminal: Terminal, redis_client: "redis.Redis"
) -> None:
    away = f"redis://{NOWHERE}/0"
    command = ("campaign", "create", "--name", "Natal", "--account", "Main", "--list", "Clientes", "--text", "Olá")
    for option, status in ((["--at", "2098-01-10 09:00"], "scheduled"), (["--start"], "preparing")):
        done = terminal(*command, *option, "--json", REDIS_URL=away)
        assert (done.code, json.loads(done.out)["status"]) == (0, status)
        assert done.err == AWAY
    assert redis_client.zcard("rq:scheduler:scheduled_jobs") == 0
    made = create(terminal, "--at", "2098-01-10 09:00", "--timezone", "UTC", "--json").json
    [(_, at)] = redis_client.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    assert (made["status"], datetime.fromtimestamp(at, UTC)) == ("scheduled", datetime(2098, 1, 10, 9, tzinfo=UTC))
