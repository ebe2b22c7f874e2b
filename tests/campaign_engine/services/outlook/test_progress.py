"""Progress: the shape of the JSON API, at what rate, until when, and why it waits."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import bindparam, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.core import prefix_of
from campaign_engine.db import db
from campaign_engine.models import Account, Campaign, Company, User
from campaign_engine.rules.waiting import Wait
from campaign_engine.services.campaigns import lifecycle, preparing, reading
from campaign_engine.services.company import limits
from campaign_engine.services.outlook import progress
from ratelimit import Limiter
from ratelimit.decision import to_us
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

CONFIG = Config()  # 20 a minute for an account, 100 for the campaigns of a user


database_url = cloned.database_url


@pytest.fixture
def number(session: Session, company: Company) -> Account:
    return numbered.account(session, company, name="Loja")


@pytest.fixture
def campaign(session: Session, owner: User, number: Account) -> Campaign:
    return numbered.running(session, owner, accounts=[number], count=6)


def read(session: Session, campaign: Campaign, *, now: datetime = NOW, **arguments: Any) -> progress.Progress:
    session.refresh(campaign)
    (shown,) = progress.read(session, [campaign], config=CONFIG, now=now, **arguments)
    return shown


def settle(session: Session, campaign: Campaign, **counts: int) -> None:
    """Move pending rows on: so many of them to each state. The triggers do the counting, whoever writes."""
    for state, count in counts.items():
        accepted = state in ("sent", "delivered", "read")
        session.execute(
            text(
                "UPDATE messages SET status = :state, accepted_at = :accepted_at, delivered_at = :delivered_at,"
                " read_at = :read_at WHERE id IN (SELECT id FROM messages"
                " WHERE campaign_id = :id AND status = 'pending' ORDER BY position LIMIT :count)"
            ),
            {
                "state": state,
                "accepted_at": NOW if accepted else None,
                "delivered_at": NOW if state in ("delivered", "read") else None,
                "read_at": NOW if state == "read" else None,
                "id": campaign.id,
                "count": count,
            },
        )


def test_it_has_the_shape_of_the_contract(session: Session, campaign: Campaign, number: Account) -> None:
    shown = read(session, campaign)
    assert {each.name: type(getattr(shown, each.name)) for each in dataclasses.fields(shown)} == {
        "campaign_id": int,
        "name": str,
        "status": str,
        "status_reason": type(None),
        "total": int,
        "counts": dict,
        "funnel": progress.Funnel,
        "success_rate": type(None),
        "rate_per_minute": float,
        "eta": datetime,
        "eta_seconds": float,
        "waiting": list,
        "accounts": list,
        "scheduled_at": type(None),
        "started_at": datetime,
        "finished_at": type(None),
        "version": int,
    }
    states = ["pending", "sending", "sent", "delivered", "read", "failed", "unknown", "skipped"]
    assert list(shown.counts) == states
    assert shown.accounts == [progress.AccountInProgress(number.id, "Loja", "active", None)]
    assert (shown.campaign_id, shown.status, shown.total) == (campaign.id, "running", 6)


def test_counts_are_by_state_the_funnel_adds_up_and_success_is_of_what_is_settled(
    session: Session, campaign: Campaign
) -> None:
    settle(session, campaign, sent=2, read=1, failed=1, unknown=1)
    shown = read(session, campaign)
    assert shown.counts == {
        "pending": 1,
        "sending": 0,
        "sent": 2,
        "delivered": 0,
        "read": 1,
        "failed": 1,
        "unknown": 1,
        "skipped": 0,
    }
    assert shown.funnel == progress.Funnel(sent=3, delivered=1, read=1)
    assert shown.success_rate == 3 / 4
    assert sum(shown.counts.values()) == shown.total


def test_the_version_grows_with_every_change_and_with_nothing_else(
    session: Session, campaign: Campaign, number: Account
) -> None:
    versions = [read(session, campaign).version for _ in range(2)]
    settle(session, campaign, failed=1)
    versions.append(read(session, campaign).version)
    lifecycle.pause(session, campaign)
    versions.append(read(session, campaign).version)
    assert versions[0] == versions[1] < versions[2] < versions[3]


# --- The rate.


@pytest.mark.parametrize(
    ("minute_began_s_ago", "count", "before", "started_s_ago", "rate"),
    [
        (None, 0, 0, 600, 0.0),
        (0, 0, 20, 600, 20.0),
        (30, 10, 20, 600, 20.0),
        (45, 15, 20, 600, 20.0),
        (59.9, 20, 20, 600, 20.0),
        (60, 20, 20, 600, 20.0),
        (90, 20, 20, 600, 10.0),
        (119, 60, 0, 600, 1.0),
        (120, 20, 20, 600, 0.0),
        (3600, 20, 20, 7200, 0.0),
        # Not yet a minute old: what it did, as if it had gone on.
        (30, 15, 0, 30, 30.0),
        (10, 5, 0, 20, 15.0),
        # The first seconds say little.
        (1, 1, 0, 1, 20.0),
        (0, 3, 0, 0, 60.0),
        # Another host's clock is a little ahead.
        (-2, 10, 0, 600, 10.0),
    ],
)
def test_the_rate_is_that_of_the_last_minute(
    session: Session,
    campaign: Campaign,
    minute_began_s_ago: float | None,
    count: int,
    before: int,
    started_s_ago: float,
    rate: float,
) -> None:
    began = None if minute_began_s_ago is None else NOW - timedelta(seconds=minute_began_s_ago)
    session.execute(
        text(
            "UPDATE campaigns SET rate_minute = :began, rate_count = :count, rate_previous_count = :before,"
            " started_at = :started WHERE id = :id"
        ),
        {
            "began": began,
            "count": count,
            "before": before,
            "started": NOW - timedelta(seconds=started_s_ago),
            "id": campaign.id,
        },
    )
    assert read(session, campaign).rate_per_minute == pytest.approx(rate, abs=0.11)


def test_a_campaign_that_has_not_started_has_no_rate(session: Session, owner: User, number: Account) -> None:
    draft = numbered.draft(session, owner, accounts=[number], audience={"recipients": [{"phone": "+5511900000001"}]})
    assert read(session, draft).rate_per_minute == 0.0


def test_acceptances_make_the_rate_and_failures_do_not(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    now = utc_now()
    campaign = numbered.running(session, owner, accounts=[number], count=6, now=now - timedelta(minutes=10))
    settle(session, campaign, failed=1, unknown=1)
    assert read(session, campaign, now=now).rate_per_minute == 0.0
    settle(session, campaign, sent=3, delivered=1)
    # AudienceCount on PostgreSQL's clock: a minute may have ended in between, and some of its weight with it.
    assert 3.5 <= read(session, campaign, now=utc_now()).rate_per_minute <= 4.0
    assert read(session, campaign, now=utc_now() + timedelta(minutes=3)).rate_per_minute == 0.0


# --- The ETA.


def eta_s(session: Session, campaign: Campaign) -> float | None:
    shown = read(session, campaign)
    assert (shown.eta is None) == (shown.eta_seconds is None)
    if shown.eta is not None:
        assert shown.eta - NOW == timedelta(seconds=shown.eta_seconds)
    return shown.eta_seconds


def test_the_last_of_six_messages_at_twenty_a_minute_leaves_after_fifteen_seconds(
    session: Session, campaign: Campaign
) -> None:
    assert eta_s(session, campaign) == 15.0


def test_two_campaigns_on_one_number_take_twice_as_long(session: Session, campaign: Campaign, owner: User) -> None:
    number_id = reading.account_ids_of(session, [campaign.id])[campaign.id][0]
    number = session.get_one(Account, number_id)
    other = numbered.running(session, owner, accounts=[number], count=6, first=100)
    assert eta_s(session, campaign) == eta_s(session, other) == 33.0
    lifecycle.pause(session, other)
    assert eta_s(session, campaign) == 15.0
    assert eta_s(session, other) is None


def test_two_numbers_share_a_campaign_and_only_those_that_send(
    session: Session, owner: User, company: Company, number: Account
) -> None:
    second = numbered.account(session, company, rate_limit="40/minute")
    campaign = numbered.running(session, owner, accounts=[number, second], count=6)
    assert eta_s(session, campaign) == 4.0
    second.status = "deactivated"
    session.flush()
    assert eta_s(session, campaign) == 15.0
    number.status = "deactivated"
    session.flush()
    assert eta_s(session, campaign) is None


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"whatsapp_rate_limit": "60/minute"}, 5.0),
        ({"campaign_rate_limit": "10/minute"}, 30.0),  # the user's own limit is the slower one
        ({"message_interval_s": 10}, 15.0),  # the account says 0
        ({"jitter_s": 20}, 50.0),
    ],
)
def test_the_slower_of_all_that_holds_rules(
    session: Session, campaign: Campaign, company: Company, settings: dict[str, Any], seconds: float
) -> None:
    company.settings = settings
    session.flush()
    assert eta_s(session, campaign) == seconds


def test_a_pace_that_is_slower_than_the_limit_rules(session: Session, campaign: Campaign, number: Account) -> None:
    number.message_interval_s = 20
    session.flush()
    assert eta_s(session, campaign) == 100.0
    number.longer_interval_after, number.greater_interval_s = 2, 60
    session.flush()
    assert eta_s(session, campaign) == 3 * 20 + 2 * 60
    number.series_count = 1
    session.flush()
    assert eta_s(session, campaign) == 2 * 20 + 3 * 60


def test_the_end_stays_while_a_number_waits_for_its_next_message(
    session: Session, campaign: Campaign, number: Account
) -> None:
    number.message_interval_s, number.paced_until = 20, NOW + timedelta(seconds=12)
    session.flush()
    ends = {read(session, campaign, now=NOW + timedelta(seconds=passed)).eta for passed in (0, 5, 11)}
    assert ends == {NOW + timedelta(seconds=112)}


def test_what_a_lane_waits_for_holds_its_number_up(session: Session, campaign: Campaign, number: Account) -> None:
    until = NOW + timedelta(seconds=40)
    for reason, seconds in (("cool_down", 55.0), ("account_limit", 55.0), ("outside_hours", 15.0)):
        assert read(session, campaign, waits={number.id: Wait(reason, until)}).eta_seconds == seconds


def test_a_number_that_was_slowed_down_is_slower_until_it_recovers(
    session: Session, campaign: Campaign, number: Account
) -> None:
    number.throttle_step, number.throttled_at = 2, NOW
    session.flush()
    assert eta_s(session, campaign) == 60.0


def test_hours_hold_the_end_back(session: Session, campaign: Campaign) -> None:
    # 09:00 on a Friday in São Paulo.
    campaign.working_hours = {"windows": [{"days": ["mon"], "start": "08:00", "end": "10:00"}]}
    session.flush()
    monday = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
    assert read(session, campaign).eta == monday + timedelta(seconds=15)


def test_hours_of_each_recipient_hold_back_those_who_are_closed(session: Session, owner: User, number: Account) -> None:
    # 09:00 on a Friday in São Paulo; an hour later it is 09:00 in Manaus.
    campaign = in_recipients_hours(session, owner, number)
    assert read(session, campaign).eta == NOW + timedelta(hours=1, seconds=2 * 3)
    session.execute(
        text("UPDATE messages SET status = 'sent', accepted_at = :now WHERE phone LIKE '+5592%'"), {"now": NOW}
    )
    assert eta_s(session, campaign) == 4 * 3
    # At 21:00 all are closed until Monday.
    monday = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert read(session, campaign, now=NOW + timedelta(hours=12)).eta == monday + timedelta(seconds=4 * 3)


def in_recipients_hours(session: Session, owner: User, number: Account) -> Campaign:
    """Return a running campaign to five people in São Paulo and three in Manaus."""
    phones = [*map(numbered.phone, range(5)), "+5592990000001", "+5592990000002", "+5592990000003"]
    window = {"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "18:00"}
    made = numbered.draft(
        session,
        owner,
        accounts=[number],
        audience={"recipients": [{"phone": phone} for phone in phones]},
        working_hours={"windows": [window], "timezone": "recipient"},
    )
    return numbered.started(session, made)


def test_a_burst_is_no_rate(session: Session, campaign: Campaign, number: Account) -> None:
    # 15 a minute once the six have gone: the promise of 20 in any minute holds.
    number.burst = 6
    session.flush()
    assert eta_s(session, campaign) == 5 * 4


def test_a_scheduled_campaign_ends_after_its_start_and_slows_the_others_from_then_on(
    session: Session, campaign: Campaign, owner: User, number: Account, company: Company
) -> None:
    many = numbered.people(session, company, count=20, first=1000)
    some = {"list_ids": [many.id], "recipients": [{"phone": "+5511900000001"}]}
    scheduled = numbered.draft(session, owner, accounts=[number], audience=some)
    lifecycle.schedule(session, scheduled, at=NOW + timedelta(seconds=6), now=NOW)
    assert (eta_s(session, campaign), eta_s(session, scheduled)) == (27.0, 78.0)


def test_the_audience_of_a_campaign_that_is_being_prepared_is_estimated(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    members = numbered.people(session, company, count=21, first=1000)
    campaign = numbered.draft(session, owner, accounts=[number], lists=[members])
    lifecycle.start(session, campaign, now=NOW)
    assert eta_s(session, campaign) == 60.0
    preparing.prepare_chunk(session, campaign.id, now=NOW, chunk=5)
    assert read(session, campaign).counts["pending"] == 5
    assert eta_s(session, campaign) == 60.0


def test_the_warm_up_of_a_number_lets_so_many_a_day(session: Session, campaign: Campaign, number: Account) -> None:
    started_at = (NOW - timedelta(days=1)).isoformat()
    number.warm_up = {"started_at": started_at, "ladder": [[0, 2], [2, 4]], "ends_on_day": 30}
    session.flush()
    # Two now, two more on its second day, and the last two when the first two are a day old.
    assert eta_s(session, campaign) == pytest.approx(86_403, abs=10)


def test_what_the_warm_up_has_let_through_is_asked_of_the_limiter(
    session: Session, campaign: Campaign, number: Account, company: Company, redis_client: redis.Redis
) -> None:
    number.warm_up = {"started_at": NOW.isoformat(), "ladder": [[0, 8]], "ends_on_day": 30}
    session.flush()
    limiter = Limiter(redis_client, prefix=prefix_of(company.id))
    bound = limits.of_send(number, campaign.owner_id, company, CONFIG, now=NOW)
    for minutes in range(6):
        at = NOW - timedelta(hours=20) + timedelta(minutes=minutes)
        assert limiter.acquire([binding.limit for binding in bound], now_us=to_us(at)).granted
    at_that_time = AtNow(redis_client, prefix=prefix_of(company.id))
    seen = read(session, campaign, limiter_of=lambda _: at_that_time).eta_seconds
    assert seen == pytest.approx(4 * 3600 + 3 * 60, abs=90)
    away = Limiter(redis.Redis(port=1), prefix="x")
    assert read(session, campaign, limiter_of=lambda _: away).eta_seconds == 15.0


class AtNow(Limiter):
    """A limiter that looks at `NOW`."""

    def peek(self, *arguments: Any, **options: Any) -> Any:
        return super().peek(*arguments, now_us=to_us(NOW), **options)


def test_the_last_retry_is_the_end_when_it_is_later_than_all_the_others(session: Session, campaign: Campaign) -> None:
    postpone(session, campaign, NOW + timedelta(minutes=10))
    assert eta_s(session, campaign) == 600.0


def test_there_is_no_eta_while_nothing_moves_and_none_is_left_when_all_is_sent(
    session: Session, campaign: Campaign, number: Account, owner: User
) -> None:
    draft = numbered.draft(session, owner, accounts=[number], audience={"recipients": [{"phone": "+5511900000001"}]})
    assert eta_s(session, draft) is None
    settle(session, campaign, failed=4)
    assert eta_s(session, campaign) == 3.0
    lifecycle.pause(session, campaign)
    assert eta_s(session, campaign) is None
    lifecycle.resume(session, campaign, now=NOW)
    settle(session, campaign, failed=2)
    assert eta_s(session, campaign) == 0.0
    lifecycle.complete_finished(session, [campaign.id], now=NOW)
    assert eta_s(session, campaign) is None


# --- Why it waits.


def postpone(session: Session, campaign: Campaign, until: datetime, *, attempts: int = 1, count: int = 1000) -> None:
    """Let so many pending rows wait for a time, after so many attempts."""
    session.execute(
        text(
            "UPDATE messages SET next_attempt_at = :until, attempts = :attempts WHERE id IN"
            " (SELECT id FROM messages WHERE campaign_id = :id AND status = 'pending' LIMIT :count)"
        ),
        {"until": until, "attempts": attempts, "id": campaign.id, "count": count},
    )


def waiting(
    session: Session, campaign: Campaign, waits: dict[int, Wait] | None = None
) -> list[tuple[str, object, str]]:
    shown = read(session, campaign, waits=waits).waiting
    assert all(each.account_id is None or each.account_id > 0 for each in shown)
    return [(each.reason, each.until, each.text) for each in shown]


def test_a_number_that_waits_says_for_what_and_until_when(
    session: Session, campaign: Campaign, number: Account
) -> None:
    later = NOW + timedelta(seconds=3)
    assert waiting(session, campaign) == []
    wait = {number.id: Wait("pacing", later)}
    assert waiting(session, campaign, wait) == [("pacing", later, "Loja: pacing for 3 s")]
    assert read(session, campaign, waits=wait).waiting[0].account_id == number.id
    assert waiting(session, campaign, {number.id: Wait("account_limit", None)}) == [
        ("account_limit", None, "Loja: limit of the account")
    ]
    assert waiting(session, campaign, {number.id: Wait("user_limit", later)}) == [
        ("user_limit", later, "user limit for 3 s")
    ]
    # What is over, and what is another number's, is no reason.
    assert waiting(session, campaign, {number.id: Wait("pacing", NOW)}) == []
    assert waiting(session, campaign, {number.id + 1000: Wait("pacing", later)}) == []


def test_outside_its_hours_a_campaign_says_so_whatever_its_number_waits_for(
    session: Session, campaign: Campaign, number: Account
) -> None:
    campaign.working_hours = {"windows": [{"days": ["fri"], "start": "14:00", "end": "18:00"}]}
    session.flush()
    opens = NOW + timedelta(hours=5)
    wait = {number.id: Wait("pacing", NOW + timedelta(seconds=3))}
    assert waiting(session, campaign, wait) == [("outside_hours", opens, "outside hours until 14:00")]
    campaign.working_hours = {**campaign.working_hours, "timezone": "UTC"}
    session.flush()
    assert waiting(session, campaign) == [("outside_hours", NOW + timedelta(hours=2), "outside hours until 11:00")]


def test_what_another_campaign_of_the_number_waits_for_is_no_reason(
    session: Session, campaign: Campaign, number: Account
) -> None:
    later = NOW + timedelta(seconds=30)
    for reason in ("outside_hours", "retry_backoff", "pair_rate_limit", "campaign_delay", "turn_over"):
        until = NOW if reason == "turn_over" else later
        assert waiting(session, campaign, {number.id: Wait(reason, until)}) == []


def test_a_campaign_waits_for_its_own_delay_unless_its_number_waits_longer(
    session: Session, campaign: Campaign, number: Account
) -> None:
    session.execute(
        text("UPDATE campaign_accounts SET delayed_until = :until WHERE campaign_id = :id"),
        {"until": NOW + timedelta(seconds=5), "id": campaign.id},
    )
    assert [each[0] for each in waiting(session, campaign)] == ["campaign_delay"]
    for seconds, reason in ((3, "campaign_delay"), (9, "pacing")):
        wait = {number.id: Wait("pacing", NOW + timedelta(seconds=seconds))}
        assert [each[0] for each in waiting(session, campaign, wait)] == [reason]


def test_a_campaign_with_only_retries_left_waits_for_the_first_of_them(
    session: Session, campaign: Campaign, number: Account
) -> None:
    postpone(session, campaign, NOW + timedelta(seconds=50), attempts=4)
    postpone(session, campaign, NOW + timedelta(seconds=30), attempts=1, count=2)
    wait = {number.id: Wait("pacing", NOW + timedelta(seconds=3))}
    due = NOW + timedelta(seconds=30)
    assert waiting(session, campaign, wait) == [("retry_backoff", due, "backoff before retries for 30 s")]
    postpone(session, campaign, NOW + timedelta(seconds=6), attempts=0)
    assert [each[0] for each in waiting(session, campaign)] == ["pair_rate_limit"]


def test_in_recipients_hours_a_message_waits_for_those_hours_only_while_they_are_closed(
    session: Session, campaign: Campaign
) -> None:
    def reasons_until(start: str, end: str) -> list[str]:
        window = {"days": ["fri", "sat"], "start": start, "end": end}
        campaign.working_hours = {"windows": [window], "timezone": "recipient"}
        session.flush()
        return [each[0] for each in waiting(session, campaign)]

    for attempts, when_open in ((0, "pair_rate_limit"), (1, "retry_backoff")):
        postpone(session, campaign, NOW + timedelta(hours=1), attempts=attempts)
        assert reasons_until("10:00", "18:00") == ["outside_hours"]  # it is 09:00 in São Paulo
        assert reasons_until("08:00", "18:00") == [when_open]


def test_a_number_that_was_taken_out_says_why(session: Session, campaign: Campaign, number: Account) -> None:
    number.status, number.status_reason = "deactivated", "190: expired"
    session.flush()
    wait = {number.id: Wait("pacing", NOW + timedelta(seconds=3))}
    assert waiting(session, campaign, wait) == [("account_inactive", None, "Loja is deactivated: 190: expired")]


def test_nothing_is_waited_for_when_nothing_is_left_to_send(
    session: Session, campaign: Campaign, number: Account
) -> None:
    wait = {number.id: Wait("pacing", NOW + timedelta(seconds=3))}
    settle(session, campaign, failed=6)
    assert waiting(session, campaign, wait) == []


def test_a_campaign_that_does_not_run_says_why(session: Session, owner: User, number: Account) -> None:
    audience = {"recipients": [{"phone": "+5511900000001"}]}
    draft = numbered.draft(session, owner, accounts=[number], audience=audience)
    assert waiting(session, draft) == []
    lifecycle.schedule(session, draft, at=NOW + timedelta(hours=1), now=NOW)
    assert waiting(session, draft) == [("schedule", NOW + timedelta(hours=1), "starts by itself at 10:00")]
    paused = numbered.running(session, owner, accounts=[number], count=1)
    lifecycle.interrupt(session, paused, reason="the provider refuses its content (132015)", code="content_refused")
    assert waiting(session, paused) == [("paused", None, "paused: the provider refuses its content (132015)")]
    lifecycle.cancel(session, paused, now=NOW)
    assert waiting(session, paused) == []
    assert read(session, paused).finished_at == NOW


# --- Cost.


def statements(session: Session, company_id: int, campaign_ids: list[int]) -> tuple[int, list[int]]:
    """Return how many statements the progress of these campaigns takes, and whose progress came back."""
    session.expunge_all()  # nothing is known from before
    selected = reading.some_of_company(session, company_id, campaign_ids)
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        shown = progress.read(session, selected, config=CONFIG, now=NOW)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    return len(seen), [each.campaign_id for each in shown]


def test_fifty_campaigns_cost_as_many_statements_as_one(session: Session, owner: User, company: Company) -> None:
    numbers = [numbered.account(session, company) for _ in range(5)]
    made = [
        numbered.draft(
            session,
            owner,
            accounts=[numbers[at % 5], numbers[-1]],
            audience={"recipients": [{"phone": "+5511900000001"}]},
        ).id
        for at in range(50)
    ]
    session.execute(
        text("UPDATE campaigns SET status = 'running', pending_count = 7 WHERE id = ANY(:ids)"), {"ids": made}
    )
    company_id = company.id
    one, _ = statements(session, company_id, made[:1])
    fifty, shown = statements(session, company_id, made[::-1])
    assert one == fifty <= 7
    assert shown == made[::-1]
    session.execute(
        text("UPDATE campaigns SET working_hours = :hours WHERE id = ANY(:ids)").bindparams(
            bindparam("hours", type_=JSONB)
        ),
        {
            "hours": {"windows": [{"days": ["fri"], "start": "09:00", "end": "18:00"}], "timezone": "recipient"},
            "ids": made,
        },
    )
    assert statements(session, company_id, made[:1])[0] == statements(session, company_id, made)[0] == one + 1
    assert progress.read(session, [], config=CONFIG, now=NOW) == []


def test_each_campaign_is_shown_with_its_own_numbers(session: Session, owner: User, company: Company) -> None:
    numbers = [numbered.account(session, company, name=f"N{at}") for at in range(3)]
    made = [
        numbered.running(session, owner, accounts=accounts, count=1, first=at * 10)
        for at, accounts in enumerate((numbers[:1], numbers[1:], numbers))
    ]
    shown = progress.read(session, made, config=CONFIG, now=NOW)
    assert [[account.name for account in each.accounts] for each in shown] == [
        ["N0"],
        ["N1", "N2"],
        ["N0", "N1", "N2"],
    ]
    assert {each.started_at.tzinfo for each in shown} == {UTC}


def entries_read(session: Session, campaign: Campaign) -> int:
    """Return how many rows of messages and entries of their indexes the progress of a campaign takes."""
    looked_at = text(
        "SELECT sum(pg_stat_get_xact_tuples_returned(c.oid)) FROM pg_class c"
        " LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE coalesce(i.indrelid, c.oid) = 'messages'::regclass"
    )
    before = session.scalar(looked_at)
    read(session, campaign)
    return int(session.scalar(looked_at) - before)


def test_a_look_at_a_big_campaign_reads_a_few_of_its_rows(session: Session, owner: User, number: Account) -> None:
    big = numbered.running(session, owner, accounts=[number], count=3000)
    assert entries_read(session, big) < 20
