"""Replies that wait for a decision, and what else makes clear what they meant: nobody is asked about them any more."""

import uuid
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaign_engine.db import transaction
from campaign_engine.models import Account, OptOut, Reply, User
from campaign_engine.providers.base import Inbound, Notice, NoticeKind
from campaign_engine.services.people import opt_outs
from campaign_engine.services.webhooks import replies
from campaign_engine.services.webhooks.replies import Received
from tests import factories
from tests.campaign_engine import numbered
from tests.campaign_engine.numbered import NOW

SENDER = numbered.phone(0).removeprefix("+")
HOUR = timedelta(hours=1)


@pytest.fixture
def number(session: Session, owner: User) -> Account:
    return numbered.account(session, owner.company)


def say(session: Session, number: Account, said: str, *, at: datetime = NOW) -> None:
    inbound = Inbound(number.phone_number_id or "", f"wamid.{uuid.uuid4().hex}", SENDER, at, "text", text=said)
    replies.receive(session, [Received(number.id, number.company_id, inbound)], now=NOW)


def prefer(session: Session, number: Account, kind: NoticeKind, *, at: datetime | None) -> None:
    notice = Notice(kind, "as told", subject=SENDER, at=at)
    replies.apply_preferences(session, [(number.company_id, notice)], now=NOW + HOUR)


def desk(session: Session, number: Account) -> list[tuple[str | None, str | None, int | None]]:
    """Return what was said, what was decided of it and by whom; nothing decided stays waiting."""
    session.expire_all()
    found = session.scalars(select(Reply).where(Reply.company_id == number.company_id).order_by(Reply.id)).all()
    undecided = sum(reply.decision is None and reply.intent == "likely" for reply in found)
    assert undecided == replies.undecided_count(session, number.company_id)
    return [(reply.text, reply.decision, reply.decided_by) for reply in found]


def barred(session: Session, number: Account) -> list[str]:
    return list(session.scalars(select(OptOut.kind).where(OptOut.company_id == number.company_id)))


@pytest.mark.parametrize("at", [NOW + HOUR, None])
def test_who_switches_marketing_on_again_has_decided(session: Session, number: Account, at: datetime | None) -> None:
    say(session, number, "chega")
    prefer(session, number, NoticeKind.MARKETING_RESUMED, at=at)
    assert (desk(session, number), barred(session, number)) == ([("chega", "dismissed", None)], [])


def test_a_doubt_that_came_after_marketing_was_switched_on_stays_to_be_decided(
    session: Session, number: Account
) -> None:
    say(session, number, "chega", at=NOW + 2 * HOUR)
    prefer(session, number, NoticeKind.MARKETING_RESUMED, at=NOW + HOUR)
    assert (desk(session, number), barred(session, number)) == ([("chega", None, None)], ["held"])


def test_who_switches_marketing_off_has_decided(session: Session, number: Account) -> None:
    say(session, number, "chega")
    prefer(session, number, NoticeKind.MARKETING_STOPPED, at=NOW + HOUR)
    assert (desk(session, number), barred(session, number)) == ([("chega", "opted_out", None)], ["opted_out"])


def test_a_message_refused_because_marketing_is_switched_off_decides(
    session: Session, owner: User, number: Account
) -> None:
    numbered.running(session, owner, accounts=[number], count=2)
    say(session, number, "chega")
    refused = session.scalars(
        text("UPDATE messages SET status = 'failed', error_code = '131050' WHERE phone_key = :key RETURNING id"),
        {"key": numbered.phone_key(0)},
    ).all()
    opt_outs.note_refused(session, dict.fromkeys(refused, "131050"), now=NOW)
    assert (desk(session, number), barred(session, number)) == ([("chega", "opted_out", None)], ["opted_out"])


@pytest.mark.parametrize("decision", ["opted_out", "dismissed"])
def test_who_writes_or_strikes_out_an_opt_out_has_decided(
    session: Session, owner: User, number: Account, decision: str
) -> None:
    say(session, number, "chega")
    who = {"company_id": owner.company_id, "phone": numbered.phone(0), "default_region": "BR"}
    with transaction(actor=factories.actor(owner)):
        if decision == "opted_out":
            opt_outs.add(session, **who, now=NOW)  # type: ignore[arg-type]
        else:
            opt_outs.lift(session, **who, now=NOW)  # type: ignore[arg-type]
    assert desk(session, number) == [("chega", decision, owner.id)]
