"""Before the launch: as many as the preparation writes, an end that fits or not, and what to look at."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.errors import TransitionNotAllowed
from campaign_engine.models import Account, Campaign, Company, OptOut, Template, User
from campaign_engine.services.campaigns import lifecycle, preparing
from campaign_engine.services.outlook.preflight import launch
from campaign_engine.services.outlook.preflight.launch import Preflight
from campaign_engine.services.people import contacts
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

CONFIG = Config()


database_url = cloned.database_url


@pytest.fixture
def number(session: Session, company: Company) -> Account:
    return numbered.account(session, company, name="Loja")


def check(session: Session, campaign: Campaign, *, now: datetime = NOW, **values: Any) -> Preflight:
    return launch.check(session, campaign, config=CONFIG, now=now, **values)


def bar(session: Session, company: Company, number: int, kind: str) -> None:
    session.add(
        OptOut(company_id=company.id, phone_key=numbered.phone_key(number), kind=kind, source="api", opted_out_at=NOW)
    )
    session.flush()


def codes(shown: Preflight) -> set[str]:
    return {each.code for each in shown.warnings}


def mixed(session: Session, owner: User, number: Account, company: Company) -> Campaign:
    """A draft to 40 people of two lists and a tag, some of them named twice, barred or excluded."""
    first = numbered.people(session, company, count=30)
    second = numbered.people(session, company, count=20, first=20)  # 20 to 29 are on both
    tagged = factories.contact(session, company, phone=numbered.phone(45), tags=["vip"])
    contacts.add_to_list(session, second, [tagged.id])
    none = numbered.people(session, company, count=3)  # 0 to 2
    for person, kind in ((0, "opted_out"), (10, "opted_out"), (11, "blocked"), (12, "held")):
        bar(session, company, person, kind)
    recipients = [
        {"phone": numbered.phone(5), "name": "Five"},
        {"phone": numbered.phone(5)},
        {"phone": numbered.phone(12)},
        {"phone": numbered.phone(900), "variables": {"n": "900"}},
        {"phone": numbered.phone(901)},
    ]
    audience = {
        "list_ids": [first.id, second.id],
        "tags": ["vip"],
        "exclude_list_ids": [none.id],
        "recipients": recipients,
    }
    return numbered.draft(session, owner, accounts=[number], audience=audience, text="Hello {{name|friend}}: {{n}}")


def test_those_who_are_left_out_are_counted_by_reason(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    shown = check(session, mixed(session, owner, number, company))
    assert shown.left_out == {
        "duplicate": 3,  # 5 twice inline, and 5 and 12 on a list too
        "opted_out": 2,
        "blocked": 1,
        "held_for_review": 1,
        "excluded": 2,
        "frequency_cap": 0,
        "missing_variables": 2,  # the tagged one and 901
    }
    assert shown.missing_variables == {"n": 2}
    assert shown.named == shown.recipients + sum(shown.left_out.values())
    assert "missing_variables" in codes(shown)


def test_it_counts_as_the_preparation_writes(session: Session, owner: User, number: Account, company: Company) -> None:
    campaign = mixed(session, owner, number, company)
    shown = check(session, campaign)
    lifecycle.start(session, campaign, now=NOW)
    preparing.prepare_chunk(session, campaign.id, now=NOW)
    written = session.execute(
        text("SELECT status, status_reason, count(*) AS rows FROM messages WHERE campaign_id = :id GROUP BY 1, 2"),
        {"id": campaign.id},
    )
    rows = {row.status_reason: row.rows for row in written}
    left_out = shown.left_out
    assert rows == {
        None: shown.recipients + left_out["missing_variables"],
        **{reason: left_out[reason] for reason in ("opted_out", "blocked", "held_for_review", "excluded")},
    }


def test_a_value_that_is_blank_or_of_the_contact_counts_as_the_text_would_have_it(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    made = factories.contact_list(session, company)
    people = [
        factories.contact(session, company, name=None, variables={"city": " "}),
        factories.contact(session, company, name="Ana", variables={"city": "Recife"}),
        factories.contact(session, company, name="Bia"),
    ]
    contacts.add_to_list(session, made, [each.id for each in people])
    campaign = numbered.draft(
        session, owner, accounts=[number], lists=[made], text="{{name}} of {{city}}, {{phone}} {{city|x}}"
    )
    shown = check(session, campaign)
    assert (shown.recipients, shown.missing_variables) == (1, {"name": 1, "city": 2})
    assert shown.left_out["missing_variables"] == 2


def test_those_who_are_at_the_frequency_cap_are_left_out(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    numbered.running(session, owner, accounts=[number], count=6)
    session.execute(
        text("UPDATE messages SET claimed_at = :at, status = CASE position % 3 WHEN 0 THEN 'failed' ELSE 'sent' END"),
        {"at": NOW - timedelta(days=2)},
    )
    had = session.scalar(text("SELECT count(*) FROM messages WHERE status = 'sent'"))
    assert had == 4
    members = numbered.people(session, company, count=8)
    recipients = [{"phone": numbered.phone(at), "name": "P"} for at in range(3)]
    audience = {"list_ids": [members.id], "recipients": recipients}
    campaign = numbered.draft(session, owner, accounts=[number], audience=audience, frequency_cap="1/7 days")
    shown = check(session, campaign)
    assert (shown.recipients, shown.left_out["frequency_cap"]) == (4, 4)
    assert shown.named == shown.recipients + sum(shown.left_out.values())
    assert check(session, campaign, now=NOW + timedelta(days=6)).recipients == 8
    campaign.frequency_cap = "2/7 days"
    session.flush()
    assert check(session, campaign).recipients == 8
    campaign.frequency_cap, company.settings = None, {"frequency_cap": "1/7 days"}
    lifecycle.schedule(session, campaign, at=NOW + timedelta(days=1), now=NOW)
    assert check(session, campaign).left_out["frequency_cap"] == 4
    lifecycle.schedule(session, campaign, at=NOW + timedelta(days=6), now=NOW)
    assert check(session, campaign).left_out["frequency_cap"] == 0


def test_an_account_that_cannot_send_the_content_is_named(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    phone = numbered.account(session, company, name="Phone", provider="evolution")
    content = {"type": "template", "name": "sale", "language": "en", "components": []}
    audience = {"recipients": [{"phone": numbered.phone(0)}]}
    campaign = numbered.draft(session, owner, accounts=[number, phone], audience=audience, content=content)
    said = [each for each in check(session, campaign).warnings if each.code == "content_not_supported"]
    assert [each.account_id for each in said] == [phone.id]


def test_another_companys_contacts_and_campaigns_change_nothing(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    members = numbered.people(session, company, count=5)
    campaign = numbered.draft(session, owner, accounts=[number], audience={"list_ids": [members.id], "tags": ["vip"]})
    before = check(session, campaign)
    other = factories.user(session)
    other_company = session.get_one(Company, other.company_id)
    factories.contact(session, other_company, tags=["vip"])
    bar(session, other_company, 1, "opted_out")
    numbered.running(session, other, accounts=[numbered.account(session, other_company)], count=50)
    assert check(session, campaign) == before
    assert before.recipients == 5


# --- When it ends.


def test_it_ends_as_it_would_beside_all_that_runs(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    members = numbered.people(session, company, count=21, first=100)
    campaign = numbered.draft(session, owner, accounts=[number], lists=[members])
    assert check(session, campaign).ends_at == NOW + timedelta(seconds=60)
    numbered.running(session, owner, accounts=[number], count=6)
    assert check(session, campaign).ends_at == NOW + timedelta(seconds=78)
    lifecycle.schedule(session, campaign, at=NOW + timedelta(hours=1), now=NOW)
    shown = check(session, campaign)
    assert (shown.starts_at, shown.first_message_at) == (NOW + timedelta(hours=1),) * 2
    assert shown.ends_at == NOW + timedelta(hours=1, seconds=60)


def test_it_says_whether_it_fits_before_a_time(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    members = numbered.people(session, company, count=400)
    hours = {"windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "09:10"}]}
    campaign = numbered.draft(session, owner, accounts=[number], lists=[members], working_hours=hours)
    friday = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)  # 18:00 in São Paulo
    shown = check(session, campaign, must_end_by=friday)
    assert (shown.must_end_by, shown.fits) == (friday, False)
    assert shown.summary == "ends Mon 23 Nov, 09:09; does not fit before 18:00"
    later = check(session, campaign, must_end_by=friday + timedelta(days=4))
    assert later.fits is True
    assert later.summary == "ends Mon 23 Nov, 09:09; fits before Tue 24 Nov, 18:00"
    assert check(session, campaign).fits is None


def test_hours_of_each_recipient_end_when_the_last_of_them_has_opened(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    listed = factories.contact_list(session, company)
    manaus = [factories.contact(session, company, phone=f"+55929900000{at:02}").id for at in range(10)]
    contacts.add_to_list(session, listed, manaus)
    campaign = numbered.draft(
        session,
        owner,
        accounts=[number],
        audience={
            "list_ids": [listed.id],
            "recipients": [
                {"phone": phone, "name": "Ana"} for phone in (numbered.phone(1), "+351910000001", "+351910000002")
            ],
        },
        working_hours={
            "windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "18:00"}],
            "timezone": "recipient",
        },
    )
    # 09:00 in São Paulo, 12:00 in Lisbon; an hour later it is 09:00 in Manaus.
    shown = check(session, campaign, must_end_by=NOW + timedelta(minutes=59))
    assert (shown.recipients, shown.first_message_at) == (13, NOW)
    assert (shown.ends_at, shown.fits) == (NOW + timedelta(hours=1, seconds=27), False)
    assert "closed_hours" not in codes(shown)
    evening = check(session, campaign, now=NOW + timedelta(hours=9, minutes=30))
    assert evening.first_message_at == NOW + timedelta(hours=9, minutes=30)  # 17:30 in Manaus
    assert evening.ends_at == datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # Monday, 09:00 in São Paulo
    bar(session, company, 1, "opted_out")
    assert check(session, campaign).recipients == 12


def test_a_campaign_that_would_not_end_says_why(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    members = numbered.people(session, company, count=10)
    campaign = numbered.draft(session, owner, accounts=[number], lists=[members])
    number.status = "deactivated"
    session.flush()
    shown = check(session, campaign, must_end_by=NOW + timedelta(days=1))
    assert (shown.ends_at, shown.no_end, shown.fits) == (None, "no_account", False)
    assert shown.summary == "does not end: none of its accounts is active"
    assert {"no_active_account", "account_inactive"} <= codes(shown)


@pytest.mark.parametrize(
    ("columns", "settings", "pacing", "code", "said"),
    [
        ({}, {}, {}, "account_limit", "20/minute of the account Loja"),
        (
            {"message_interval_s": 20, "longer_interval_after": 20, "greater_interval_s": 60},
            {},
            {},
            "pacing",
            "pace of the account Loja: 20 s between messages, 60 s after each 20",
        ),
        ({}, {"campaign_rate_limit": "10/minute"}, {}, "user_limit", "user limit: 10/minute"),
        ({}, {}, {"message_delay_s": 9}, "campaign_delay", "delay of the campaign: 9 s between messages"),
        (
            {"warm_up": {"started_at": NOW.isoformat(), "ladder": [[0, 10]], "ends_on_day": 9}},
            {},
            {},
            "warm_up",
            "warm-up of the account Loja",
        ),
        (
            {"daily_recipient_limit": 10},
            {},
            {},
            "daily_recipients",
            "10 recipients in 24 hours of the account Loja",
        ),
        (
            {
                "warm_up": {"started_at": NOW.isoformat(), "ladder": [[0, 1000]], "ends_on_day": 9},
                "daily_recipient_limit": 10,
            },
            {},
            {},
            "daily_recipients",
            "10 recipients in 24 hours of the account Loja",
        ),
    ],
)
def test_what_holds_it_up_most_is_named(
    session: Session,
    owner: User,
    company: Company,
    columns: dict[str, Any],
    settings: dict[str, Any],
    pacing: dict[str, Any],
    code: str,
    said: str,
) -> None:
    company.settings = settings
    number = numbered.account(session, company, name="Loja", **columns)
    members = numbered.people(session, company, count=25)
    campaign = numbered.draft(
        session, owner, accounts=[number], lists=[members], pacing={"message_delay_s": 0, **pacing}
    )
    bound = check(session, campaign).bound
    assert (bound.code, bound.text) == (code, said)


def test_each_account_is_shown_with_its_pace(session: Session, owner: User, company: Company) -> None:
    paced = numbered.account(
        session, company, name="A", message_interval_s=20, longer_interval_after=20, greater_interval_s=60
    )
    free = numbered.account(session, company, name="B", rate_limit="600/minute", burst=101)
    audience = {"recipients": [{"phone": "+5511900000001"}]}
    campaign = numbered.draft(session, owner, accounts=[paced, free], audience=audience)
    shown = check(session, campaign).accounts
    assert [(each.name, each.live, each.limit, each.messages_per_hour) for each in shown] == [
        ("A", True, "20/minute", 164),
        ("B", True, "600/minute", 30_000),  # what goes in a burst is missing afterwards
    ]
    assert [each.pace for each in shown] == ["20 s between messages, 60 s after each 20", None]


# --- What to look at.


def test_a_sound_campaign_gives_no_warning(session: Session, owner: User, number: Account) -> None:
    before = numbered.running(session, owner, accounts=[number], count=1)
    session.execute(
        text(
            "UPDATE messages SET status = 'delivered', accepted_at = now(), delivered_at = now()"
            " WHERE campaign_id = :id"
        ),
        {"id": before.id},
    )
    audience = {"recipients": [{"phone": "+5511900000001", "name": "Ana"}]}
    campaign = numbered.draft(session, owner, accounts=[number], audience=audience)
    assert check(session, campaign).warnings == []


def test_what_is_amiss_with_accounts_template_and_hours_is_said(
    session: Session, owner: User, number: Account, company: Company
) -> None:
    number.warning = "No webhook for ten minutes."
    number.health = {"warnings": ["Meta rates the quality of this number RED."]}
    number.on_probation = True
    away = numbered.account(session, company, name="Away", status="deactivated", status_reason="190: expired")
    session.add(Template(company_id=company.id, name="sale", language="en", status="PAUSED", quality="RED"))
    session.flush()
    campaign = numbered.draft(
        session,
        owner,
        accounts=[number, away],
        audience={"recipients": [{"phone": "+5511900000001"}]},
        content={"type": "template", "name": "sale", "language": "en", "components": []},
        working_hours={"windows": [{"days": ["fri"], "start": "14:00", "end": "15:00"}]},
    )
    shown = check(session, campaign)
    assert codes(shown) == {
        "account_warning",
        "account_health",
        "on_probation",
        "no_webhook",
        "account_inactive",
        "template_paused",
        "template_quality",
        "closed_hours",
    }
    said = {each.code: each.text for each in shown.warnings}
    assert said["account_inactive"] == "Away is deactivated: 190: expired."
    assert said["closed_hours"] == "It starts outside its hours: the first message leaves at 14:00."


def test_an_audience_of_nobody_is_said(session: Session, owner: User, number: Account, company: Company) -> None:
    empty = factories.contact_list(session, company)
    shown = check(session, numbered.draft(session, owner, accounts=[number], lists=[empty]))
    assert (shown.named, shown.recipients, shown.ends_at) == (0, 0, None)
    assert "no_recipients" in codes(shown)
    assert shown.summary == "nobody would get it"


def test_what_has_started_is_not_checked_any_more(session: Session, owner: User, number: Account) -> None:
    running = numbered.running(session, owner, accounts=[number], count=1)
    with pytest.raises(TransitionNotAllowed):
        check(session, running)


def test_nothing_is_changed(session: Session, owner: User, number: Account, company: Company) -> None:
    campaign = mixed(session, owner, number, company)
    session.flush()
    session.execute(text("SET TRANSACTION READ ONLY"))
    check(session, campaign)


def test_a_big_audience_is_counted_whole(session: Session, owner: User, number: Account, company: Company) -> None:
    members = many(session, company, 30_000)
    campaign = numbered.draft(session, owner, accounts=[number], lists=[members], text="Hello {{name}}: {{n}}")
    shown = check(session, campaign)
    assert shown.recipients == 30_000


def many(session: Session, company: Company, size: int) -> Any:
    """Return a list of `size` contacts, written by PostgreSQL itself."""
    made = factories.contact_list(session, company)
    session.execute(
        text(
            "WITH made AS (INSERT INTO contacts (company_id, phone, phone_key, name, variables)"
            " SELECT :company_id, '+55119' || (80000000 + n), '5511' || (80000000 + n), 'Person ' || n,"
            " jsonb_build_object('n', n::text) FROM generate_series(1, :size) AS n RETURNING id)"
            " INSERT INTO contact_list_members (list_id, contact_id) SELECT :list_id, id FROM made"
        ),
        {"company_id": company.id, "size": size, "list_id": made.id},
    )
    return made
