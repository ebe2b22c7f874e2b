"""What people write back: kept once, attributed, obeyed; and never another company's."""

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine import providers
from campaign_engine.config import Config
from campaign_engine.db import db, transaction
from campaign_engine.errors import NotFound, TransitionNotAllowed
from campaign_engine.models import Account, AuditEntry, Campaign, Company, Notification, OptOut, Reply, User
from campaign_engine.providers.base import Accepted, Inbound
from campaign_engine.services.campaigns import reading
from campaign_engine.services.messages import claiming, planning, screening, settling
from campaign_engine.services.people import contacts, opt_outs
from campaign_engine.services.webhooks import deliveries, replies
from tests import factories
from tests.campaign_engine import cloned, numbered
from tests.campaign_engine.numbered import NOW

PROVIDERS = providers.build(Config())


database_url = cloned.database_url


@pytest.fixture
def number(session: Session, company: Company) -> Account:
    return numbered.account(session, company)


@pytest.fixture
def campaign(session: Session, owner: User, number: Account) -> Campaign:
    return numbered.running(session, owner, accounts=[number], count=4)


def send(session: Session, campaign: Campaign, number: Account, count: int, *, at: datetime = NOW) -> list[uuid.UUID]:
    """Send messages to the first people of a campaign; the provider's ids are `wamid.<id>`."""
    token = uuid.uuid4()
    rows = numbered.claim_next(session, account=number, token=token, sequence=[campaign.id] * count, now=at)
    accepted = [settling.settlement_of(row, Accepted(f"wamid.{row.message_id}", None), now=at) for row in rows]
    settling.settle(session, token=token, settlements=accepted)
    return [row.message_id for row in rows]


def message(person: int | str, said: str | None = None, *, at: datetime = NOW, **fields: Any) -> dict[str, Any]:
    """Return a message of a person (or of a number) as the wire has it."""
    given = {
        "from": person if isinstance(person, str) else numbered.phone(person).removeprefix("+"),
        "id": f"wamid.{uuid.uuid4().hex}",
        "timestamp": str(int(at.timestamp())),
        "type": "text",
        "text": {"body": said} if said is not None else None,
        **fields,
    }
    return {name: value for name, value in given.items() if value is not None}


def button(person: int, payload: str, words: str, *, answers: uuid.UUID | None = None) -> dict[str, Any]:
    context = {"context": {"id": f"wamid.{answers}"}} if answers else {}
    return message(person, type="button", button={"payload": payload, "text": words}, **context)


def body(number: Account, *messages: dict[str, Any], field: str = "messages", **value: Any) -> bytes:
    content = {"metadata": {"phone_number_id": number.phone_number_id}, "messages": list(messages), **value}
    entry = {"id": "WABA", "changes": [{"field": field, "value": content}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def deliver(session: Session, number: Account, *messages: dict[str, Any], **rest: Any) -> deliveries.Applied:
    deliveries.store(
        session, provider="cloud_api", account_ids=[number.id], body=body(number, *messages, **rest), now=NOW
    )
    session.flush()
    applied = deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert applied is not None
    session.expire_all()
    return applied


def kept(session: Session, company: Company) -> list[Reply]:
    return list(session.scalars(select(Reply).where(Reply.company_id == company.id).order_by(Reply.id)))


def barred(session: Session, company: Company) -> dict[str, tuple[str, str]]:
    rows = session.scalars(select(OptOut).where(OptOut.company_id == company.id))
    return {row.phone_key: (row.kind, row.source) for row in rows}


def told(session: Session, company: Company) -> list[str]:
    rows = session.scalars(select(Notification).where(Notification.company_id == company.id).order_by(Notification.id))
    return [row.kind for row in rows]


# --- Keeping and attributing.


def test_a_reply_belongs_to_the_message_it_quotes(
    session: Session, owner: User, number: Account, campaign: Campaign
) -> None:
    [answered] = send(session, campaign, number, 1)
    later = numbered.running(session, owner, accounts=[number], count=4)  # the same people
    send(session, later, number, 1, at=NOW + timedelta(minutes=1))
    at = NOW + timedelta(minutes=2)
    deliver(session, number, message(0, "Adorei!", at=at, context={"id": f"wamid.{answered}"}))
    [reply] = kept(session, owner.company)
    assert (reply.campaign_id, reply.message_id, reply.text) == (campaign.id, answered, "Adorei!")
    assert (reply.intent, reply.phone_key, reply.received_at) == ("none", numbered.phone_key(0), at)
    assert reply.contact_id == session.scalar(text("SELECT contact_id FROM messages WHERE id = :id"), {"id": answered})


def test_a_reply_that_quotes_nothing_belongs_to_the_latest_message_of_the_last_week_from_that_number(
    session: Session, owner: User, number: Account, campaign: Campaign
) -> None:
    send(session, campaign, number, 2)
    other_number = numbered.account(session, owner.company)
    elsewhere = numbered.running(session, owner, accounts=[other_number], count=1)
    send(session, elsewhere, other_number, 1, at=NOW + timedelta(hours=1))
    later = numbered.running(session, owner, accounts=[number], count=1)
    [latest] = send(session, later, number, 1, at=NOW + timedelta(days=2))

    deliver(
        session,
        number,
        message(0, "a", at=NOW + timedelta(days=3)),
        message(0, "b", at=NOW + timedelta(days=1)),  # before the latest was sent
        message(1, "c", at=NOW + timedelta(days=7)),
        message(1, "d", at=NOW + timedelta(days=7, seconds=1)),
        message(0, "e", at=NOW + timedelta(days=2) - timedelta(seconds=1)),  # clocks differ
        message("5511999999999", "f", at=NOW),  # nobody we know
    )
    found = {reply.text: (reply.campaign_id, reply.message_id) for reply in kept(session, owner.company)}
    assert {said: campaign_id for said, (campaign_id, _) in found.items()} == {
        "a": later.id,
        "b": campaign.id,
        "c": campaign.id,
        "d": None,
        "e": later.id,
        "f": None,
    }
    assert found["a"][1] == latest


def test_a_message_is_kept_once_however_often_it_comes(session: Session, company: Company, number: Account) -> None:
    said = message(0, "SAIR")
    first = deliver(session, number, said, said)
    again = deliver(session, number, said)
    assert len(kept(session, company)) == 1
    assert (first.owing, again.owing) == ([number.id], [])


def test_a_person_is_known_by_the_alias_first_and_then_by_the_equivalence_key(
    session: Session, company: Company, number: Account
) -> None:
    by_key = factories.contact(session, company, phone="+5511987654321")
    by_alias = factories.contact(session, company, phone="+5521987650001")
    contacts.remember_aliases(session, {by_alias.id: "5531987659999"})
    deliver(session, number, message("551187654321", "SAIR"), message("5531987659999", "SAIR"))
    assert [reply.contact_id for reply in kept(session, company)] == [by_key.id, by_alias.id]
    assert barred(session, company) == dict.fromkeys((by_key.phone_key, by_alias.phone_key), ("opted_out", "reply"))


def test_who_hides_the_number_is_known_by_the_message_that_is_answered(
    session: Session, company: Company, number: Account, campaign: Campaign
) -> None:
    [answered] = send(session, campaign, number, 1)
    hidden = {"from": None, "from_user_id": "BR.1349120865530274"}
    deliver(session, number, message(0, "SAIR", **hidden, context={"id": f"wamid.{answered}"}))
    assert barred(session, company) == {numbered.phone_key(0): ("opted_out", "reply")}


def test_nobody_reads_or_writes_into_another_company(
    session: Session, company: Company, number: Account, campaign: Campaign
) -> None:
    [answered] = send(session, campaign, number, 1)
    stranger = factories.user(session, factories.company(session))
    theirs = numbered.account(session, stranger.company, phone_number_id=number.phone_number_id)
    deliver(session, theirs, message(0, "SAIR", context={"id": f"wamid.{answered}"}))
    [reply] = kept(session, stranger.company)
    assert (reply.campaign_id, reply.contact_id) == (None, None)
    assert kept(session, company) == []
    assert barred(session, company) == {}
    with pytest.raises(NotFound):
        replies.get(session, company.id, reply.id)


def test_who_writes_to_a_phone_session_is_understood_alike(session: Session, owner: User) -> None:
    phone = numbered.account(session, owner.company, provider="evolution", phone_number_id=None, instance="Shop")
    campaign = numbered.running(session, owner, accounts=[phone], count=2)
    [answered] = send(session, campaign, phone, 1)
    upsert = {
        "key": {"remoteJid": "551190000000@s.whatsapp.net", "fromMe": False, "id": "3EB0ABC"},
        "message": {"extendedTextMessage": {"text": "sair", "contextInfo": {"stanzaId": f"wamid.{answered}"}}},
        "messageTimestamp": int(NOW.timestamp()),
    }
    content = json.dumps({"event": "messages.upsert", "instance": "shop", "data": upsert}).encode()
    deliveries.store(session, provider="evolution", account_ids=[phone.id], body=content, now=NOW)
    session.flush()
    applied = deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert applied is not None
    [reply] = kept(session, owner.company)
    assert (reply.campaign_id, reply.message_id) == (campaign.id, answered)
    assert (applied.owing, reply.confirm_until) == ([phone.id], NOW + timedelta(hours=24))
    assert barred(session, owner.company) == {numbered.phone_key(0): ("opted_out", "reply")}


def test_a_message_to_a_number_that_did_not_sign_is_left_out(session: Session, owner: User, number: Account) -> None:
    other = numbered.account(session, owner.company)
    deliveries.store(
        session, provider="cloud_api", account_ids=[number.id], body=body(other, message(0, "SAIR")), now=NOW
    )
    session.flush()
    deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW)
    assert kept(session, owner.company) == []


# --- Opting out, and in again.


def test_who_clearly_opts_out_is_left_out_at_the_send(
    session: Session, company: Company, number: Account, campaign: Campaign
) -> None:
    [answered] = send(session, campaign, number, 1)
    applied = deliver(
        session,
        number,
        message(1, "não quero mais receber nada"),
        button(2, "STOP", "Não quero mais", answers=answered),
    )
    assert barred(session, company) == {
        numbered.phone_key(1): ("opted_out", "reply"),
        numbered.phone_key(2): ("opted_out", "button"),
    }
    assert session.get_one(OptOut, (company.id, numbered.phone_key(2))).campaign_id == campaign.id
    assert applied.owing == [number.id]
    assert [reply.confirm_until for reply in kept(session, company)] == [NOW + timedelta(hours=24)] * 2
    plan = planning.plan(session, number.id, config=Config())
    assert plan is not None
    found = claiming.next_rows(session, plan=plan, counts={campaign.id: 10}, now=NOW)
    candidates = {candidate.campaign_id: candidate for candidate in plan.candidates}
    left = screening.sendable(session, found, candidates=candidates, now=NOW)
    assert [row.phone_key for row in left[campaign.id]] == [numbered.phone_key(3)]


def test_what_may_mean_stop_is_held_and_told_once_for_all_of_a_batch(
    session: Session, company: Company, number: Account
) -> None:
    applied = deliver(session, number, message(0, "não tenho interesse"), message(1, "chega"), message(1, "basta"))
    assert barred(session, company) == {numbered.phone_key(each): ("held", "reply") for each in (0, 1)}
    assert applied.owing == []
    assert told(session, company) == ["replies_held"]
    assert replies.undecided_count(session, company.id) == 3


def test_a_doubt_never_weakens_what_is_certain(session: Session, company: Company, number: Account) -> None:
    for person, kind in ((0, "opted_out"), (1, "blocked")):
        opt_outs.add(
            session, company_id=company.id, phone=numbered.phone(person), kind=kind, default_region="BR", now=NOW
        )
    deliver(session, number, message(0, "chega"), message(1, "chega"), message(1, "SAIR"))
    assert barred(session, company) == {
        numbered.phone_key(0): ("opted_out", "api"),
        numbered.phone_key(1): ("blocked", "api"),
    }
    assert replies.undecided_count(session, company.id) == 0
    assert told(session, company) == []


def test_who_makes_it_clear_later_takes_it_from_the_desk(session: Session, company: Company, number: Account) -> None:
    deliver(session, number, message(0, "chega"), message(1, "chega"))
    later = NOW + timedelta(minutes=1)
    deliver(session, number, message(0, "SAIR", at=later), message(1, "START", at=later))
    assert barred(session, company) == {numbered.phone_key(0): ("opted_out", "reply")}
    assert replies.undecided_count(session, company.id) == 0
    assert [reply.text for reply in kept(session, company) if reply.confirm_until] == ["SAIR"]
    decided = {reply.phone_key: (reply.decision, reply.decided_by) for reply in kept(session, company)[:2]}
    assert decided == {numbered.phone_key(0): ("opted_out", None), numbered.phone_key(1): ("dismissed", None)}


def test_only_the_person_lifts_the_persons_opt_out_and_never_the_companys_block(
    session: Session, company: Company, number: Account
) -> None:
    opt_outs.add(session, company_id=company.id, phone=numbered.phone(1), kind="blocked", default_region="BR", now=NOW)
    deliver(session, number, message(0, "SAIR"))
    later = NOW + timedelta(hours=1)
    deliver(session, number, message(0, "quero voltar a receber", at=later), message(1, "START", at=later))
    assert barred(session, company) == {numbered.phone_key(1): ("blocked", "api")}


def test_the_last_word_counts_within_a_batch_and_between_batches(
    session: Session, company: Company, number: Account
) -> None:
    def after(seconds: int) -> datetime:
        return NOW + timedelta(seconds=seconds)

    deliver(
        session,
        number,
        message(0, "START", at=after(2)),
        message(0, "SAIR", at=after(1)),
        message(1, "START", at=after(1)),
        message(1, "SAIR", at=after(2)),
        message(2, "SAIR", at=after(5)),
    )
    deliver(session, number, message(2, "START", at=after(4)))  # late: written before the opt-out
    assert set(barred(session, company)) == {numbered.phone_key(1), numbered.phone_key(2)}


def undecided(session: Session, company: Company) -> list[str | None]:
    return [reply.text for reply in replies.of_company(session, company.id, undecided=True)][::-1]


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_doubt_after_a_resumption_in_one_batch_is_held_and_can_be_decided(
    session: Session, owner: User, number: Account, seconds: int
) -> None:
    later = NOW + timedelta(seconds=seconds)
    deliver(session, number, message(0, "START"), message(0, "não tenho interesse", at=later))
    assert barred(session, owner.company) == {numbered.phone_key(0): ("held", "reply")}
    assert undecided(session, owner.company) == ["não tenho interesse"]


def test_a_resumption_older_than_a_doubt_that_is_known_changes_nothing(
    session: Session, company: Company, number: Account
) -> None:
    deliver(session, number, message(0, "não tenho interesse"))
    deliver(session, number, message(0, "START", at=NOW - timedelta(minutes=1)))
    assert barred(session, company) == {numbered.phone_key(0): ("held", "reply")}
    assert undecided(session, company) == ["não tenho interesse"]


def test_a_resumption_decides_nothing_that_came_after_it(session: Session, company: Company, number: Account) -> None:
    deliver(session, number, message(0, "chega"), message(0, "basta", at=NOW + timedelta(minutes=2)))
    opt_outs.lift_many(session, [((company.id, numbered.phone_key(0)), NOW + timedelta(minutes=3))])
    deliver(session, number, message(0, "START", at=NOW + timedelta(minutes=1)))
    assert undecided(session, company) == ["basta"]


def test_a_late_start_undoes_no_opt_out_that_was_said_again_after_it(
    session: Session, company: Company, number: Account
) -> None:
    deliver(session, number, message(0, "SAIR"))
    deliver(session, number, message(0, "SAIR", at=NOW + timedelta(minutes=2)))
    deliver(session, number, message(0, "START", at=NOW + timedelta(minutes=1)))
    assert barred(session, company) == {numbered.phone_key(0): ("opted_out", "reply")}
    deliver(session, number, message(0, "START", at=NOW + timedelta(minutes=3)))
    assert barred(session, company) == {}


def test_a_resumption_between_two_doubts_leaves_the_second(session: Session, company: Company, number: Account) -> None:
    deliver(session, number, message(0, "chega"), message(0, "basta", at=NOW + timedelta(minutes=2)))
    deliver(session, number, message(0, "START", at=NOW + timedelta(minutes=1)))
    assert barred(session, company) == {numbered.phone_key(0): ("held", "reply")}
    assert "basta" in undecided(session, company)


def test_an_opt_out_follows_the_person_to_a_new_number(session: Session, company: Company, number: Account) -> None:
    deliver(session, number, message(0, "SAIR"))
    changed = {"type": "user_changed_number", "wa_id": numbered.phone(9).removeprefix("+"), "body": "Ana changed ..."}
    deliver(session, number, message(0, type="system", system=changed))
    assert set(barred(session, company)) == {numbered.phone_key(0), numbered.phone_key(9)}
    assert len(kept(session, company)) == 1


def test_preferences_in_whatsapp_are_obeyed(session: Session, company: Company, number: Account) -> None:
    known = factories.contact(session, company, phone="+5521987650001")
    contacts.remember_aliases(session, {known.id: "5531987659999"})

    def prefer(value: str, *people: str, at: datetime = NOW) -> None:
        told = [{"wa_id": each, "value": value, "timestamp": int(at.timestamp())} for each in people]
        applied = deliver(session, number, field="user_preferences", user_preferences=told)
        assert applied.with_notices == []

    prefer("stop", "551187654321", "5531987659999")
    assert barred(session, company) == dict.fromkeys(
        ("551187654321", known.phone_key), ("opted_out", "user_preferences")
    )
    prefer("resume", "5511987654321", at=NOW + timedelta(hours=1))
    assert set(barred(session, company)) == {known.phone_key}


def test_who_switched_marketing_off_is_not_written_to_again(
    session: Session, company: Company, number: Account, campaign: Campaign
) -> None:
    off, away = send(session, campaign, number, 2)
    statuses = [
        {
            "id": f"wamid.{identity}",
            "status": "failed",
            "timestamp": str(int(NOW.timestamp())),
            "biz_opaque_callback_data": str(identity),
            "errors": [{"code": code}],
        }
        for identity, code in ((off, 131050), (away, 131026))
    ]
    deliver(session, number, statuses=statuses)
    assert barred(session, company) == {numbered.phone_key(0): ("opted_out", "provider")}
    assert session.get_one(OptOut, (company.id, numbered.phone_key(0))).campaign_id == campaign.id


# --- Deciding.


def test_a_decision_is_of_the_person_and_made_once(session: Session, owner: User, number: Account) -> None:
    company = owner.company
    deliver(session, number, message(0, "chega"), message(0, "basta"), message(1, "chega"), message(2, "oi"))
    first, second, other, plain = kept(session, company)
    with transaction(actor=factories.actor(owner)):
        replies.decide(session, first, decision="opted_out", now=NOW)
        replies.decide(session, other, decision="dismissed", now=NOW)
    session.refresh(second)
    assert (second.decision, second.decided_by) == ("opted_out", owner.id)
    assert barred(session, company) == {numbered.phone_key(0): ("opted_out", "reply")}
    for late in (first, second, plain):
        with pytest.raises(TransitionNotAllowed):
            replies.decide(session, late, decision="dismissed", now=NOW)
    assert barred(session, company) == {numbered.phone_key(0): ("opted_out", "reply")}
    entries = session.scalars(select(AuditEntry).where(AuditEntry.company_id == company.id)).all()
    assert [(entry.action, entry.actor_id, entry.details) for entry in entries] == [
        ("reply.decided", owner.id, {"decision": "opted_out"}),
        ("reply.decided", owner.id, {"decision": "dismissed"}),
    ]


@pytest.mark.parametrize("ahead_s", [0, 30])
def test_a_doubt_that_arrives_during_a_dismissal_is_held_and_can_be_decided(
    session: Session, owner: User, number: Account, ahead_s: int
) -> None:
    company, at = owner.company, NOW + timedelta(seconds=ahead_s)  # the provider's clock
    deliver(session, number, message(0, "chega", at=at))
    [reply] = kept(session, company)
    arrived = Inbound("", "wamid.meanwhile", numbered.phone(0).removeprefix("+"), at, "text", text="basta")

    waiting = [replies.Received(number.id, company.id, arrived)]

    def write(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """Let it arrive after the first thing the decision changes."""
        if waiting and not statement.lstrip().startswith("SELECT"):
            replies.receive(session, [waiting.pop()], now=NOW)

    sqlalchemy_event.listen(db.engine, "after_cursor_execute", write)
    try:
        replies.decide(session, reply, decision="dismissed", now=NOW)
    finally:
        sqlalchemy_event.remove(db.engine, "after_cursor_execute", write)
    session.expire_all()
    assert reply.decision == "dismissed"
    assert barred(session, company) == {numbered.phone_key(0): ("held", "reply")}
    assert undecided(session, company) == ["basta"]


def test_deciding_touches_only_doubts_that_wait_for_it(session: Session, owner: User, number: Account) -> None:
    said = ("oi", "chega", "basta")
    deliver(session, number, *(message(0, each) for each in said))
    plain, known, held = kept(session, owner.company)
    known.decision = "dismissed"
    session.flush()
    replies.decide(session, held, decision="opted_out", now=NOW)
    session.expire_all()
    assert [each.decision for each in (plain, known, held)] == [None, "dismissed", "opted_out"]


def test_dismissing_lifts_nothing_but_the_doubt(session: Session, owner: User, number: Account) -> None:
    deliver(session, number, message(0, "chega"))
    [reply] = kept(session, owner.company)
    session.execute(text("UPDATE opt_outs SET kind = 'blocked' WHERE company_id = :id"), {"id": owner.company_id})
    replies.decide(session, reply, decision="dismissed", now=NOW)
    assert barred(session, owner.company) == {numbered.phone_key(0): ("blocked", "reply")}


def test_replies_are_listed_newest_first_by_campaign_intent_and_need_of_a_decision(
    session: Session, owner: User, number: Account, campaign: Campaign
) -> None:
    send(session, campaign, number, 2)
    for person, said in ((0, "oi"), (1, "chega"), (9, "SAIR")):
        deliver(session, number, message(person, said))
    company_id = owner.company_id

    def listed(**which: Any) -> list[str | None]:
        return [reply.text for reply in replies.of_company(session, company_id, **which)]

    assert listed() == ["SAIR", "chega", "oi"]
    assert listed(campaign_id=campaign.id) == ["chega", "oi"]
    assert listed(intent="certain") == ["SAIR"]
    assert listed(undecided=True) == ["chega"]
    assert listed(before_id=kept(session, owner.company)[2].id, limit=1) == ["chega"]


# --- Cost.


def _statements(run: Callable[[], object]) -> int:
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    sqlalchemy_event.listen(db.engine, "before_cursor_execute", count)
    try:
        run()
    finally:
        sqlalchemy_event.remove(db.engine, "before_cursor_execute", count)
    return counted


def test_a_batch_costs_the_same_statements_for_one_and_for_many(
    session: Session, owner: User, number: Account, campaign: Campaign
) -> None:
    sent = send(session, campaign, number, 3)

    def batch(*messages: dict[str, Any], statuses: list[dict[str, Any]]) -> int:
        content = body(number, *messages, statuses=statuses)
        deliveries.store(session, provider="cloud_api", account_ids=[number.id], body=content, now=NOW)
        session.flush()
        return _statements(lambda: deliveries.apply_waiting(session, providers=PROVIDERS, now=NOW))

    def status(identity: uuid.UUID, word: str) -> dict[str, Any]:
        own = {"biz_opaque_callback_data": str(identity), "id": f"wamid.{identity}"}
        return {**own, "status": word, "timestamp": str(int(NOW.timestamp()))}

    only_statuses = batch(statuses=[status(sent[0], "delivered")])
    assert only_statuses == 6  # events, accounts, rows, messages, completion, the events' own mark
    assert batch(statuses=[status(each, "read") for each in sent]) == only_statuses
    one = batch(message(0, "SAIR"), statuses=[])
    many = batch(*(message(person, "SAIR") for person in range(1, 300)), statuses=[])
    assert one == many == 7  # events, accounts, replies, opt-outs, desks, confirmations, mark
    assert reading.get(session, owner.company_id, campaign.id).read_count == 3
