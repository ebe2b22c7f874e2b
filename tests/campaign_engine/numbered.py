"""Campaigns to numbered people, for tests that look at the order and the fate of single rows.

Person 7 has the number `phone(7)`. Accounts are unpaced and campaigns have no delay, unless a test says otherwise.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from campaign_engine.config import Config
from campaign_engine.models import Account, Campaign, Company, ContactList, User
from campaign_engine.services.campaigns import lifecycle, preparing
from campaign_engine.services.messages import claiming, planning
from campaign_engine.services.messages.claiming import LockedRow
from campaign_engine.services.messages.planning import Line
from campaign_engine.services.people import contacts
from campaign_engine.services.people.contacts import NewContact
from tests import factories

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def phone(number: int) -> str:
    """Return the number of a person."""
    return f"+55119{90000000 + number}"


def phone_key(number: int) -> str:
    """Return the equivalence key of a person's number."""
    return f"5511{90000000 + number}"


def account(session: Session, of: Company, **columns: Any) -> Account:
    """Return an account without pacing, whose app secret is `app-secret`."""
    fields = {"message_interval_s": 0, "longer_interval_after": 0, "app_secret": "app-secret", **columns}
    made = factories.account(session, of, **fields)
    session.refresh(made)
    return made


def people(session: Session, of: Company, *, count: int, first: int = 0) -> ContactList:
    """Return a list of `count` people, numbered from `first`, each with the variable `n`."""
    made = factories.contact_list(session, of)
    written = contacts.upsert_many(
        session,
        company_id=of.id,
        contacts=[
            NewContact(phone=phone(at), phone_key=phone_key(at), name=f"Person {at}", variables={"n": str(at)}, tags=[])
            for at in range(first, first + count)
        ],
    )
    contacts.add_to_list(session, made, list(written.ids.values()))
    return made


def draft(
    session: Session, owner: User, *, accounts: Sequence[Account], lists: Sequence[ContactList] = (), **values: Any
) -> Campaign:
    """Return a draft without a delay of its own."""
    fields = {
        "audience": {"list_ids": [each.id for each in lists]},
        "pacing": {"message_delay_s": 0},
        "text": "Hello {{name}}",
        "now": NOW,
        **values,
    }
    return factories.campaign(session, owner, accounts=accounts, **fields)


def running(
    session: Session, owner: User, *, accounts: Sequence[Account], count: int = 3, first: int = 0, now: datetime = NOW
) -> Campaign:
    """Return a started and prepared campaign to `count` people of its own."""
    members = people(session, session.get_one(Company, owner.company_id), count=count, first=first)
    return started(session, draft(session, owner, accounts=accounts, lists=[members]), now=now)


def started(session: Session, made: Campaign, *, now: datetime = NOW) -> Campaign:
    """Return the campaign, started and prepared."""
    lifecycle.start(session, made, now=now)
    preparing.prepare_chunk(session, made.id, now=now)
    session.refresh(made)
    return made


def claim_next(
    session: Session,
    *,
    account: Account,
    token: uuid.UUID,
    sequence: Sequence[int],
    now: datetime,
    line: Line = Line.FIRST,
) -> list[LockedRow]:
    """Claim a row for each campaign id of `sequence`, without asking any limit; return the rows."""
    plan = planning.plan(session, account.id, config=Config(), line=line)
    assert plan is not None
    found = claiming.next_rows(session, plan=plan, counts=Counter(sequence), now=now)
    rows = [found[campaign_id].pop(0) for campaign_id in sequence if found.get(campaign_id)]
    claiming.claim(session, account=account, token=token, rows=rows, now=now)
    return rows
