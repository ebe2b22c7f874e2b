"""Confirming an opt-out to the person who asked for it: one short message, once at most, while the window is open.

An answer within 24 hours of what a person wrote needs no template and costs nothing; after that there is none. It is
claimed in the reply's row before it leaves and never sent again, whatever became of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.models import Account, AccountStatus, Company, Contact, OptOut, Reply
from campaign_engine.rules import opt_out
from campaign_engine.services.opt_outs import OPTED_OUT

WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is to be said to whom, from which account."""

    reply_id: int
    account: Account
    company: Company
    to: str  # E.164
    text: str


def due(session: Session, reply_id: int, *, now: datetime) -> Confirmation | None:
    """Return the confirmation that a reply is owed, or None: it was claimed, comes too late, or is not wanted."""
    reply = session.get(Reply, reply_id, populate_existing=True)
    if reply is None or reply.confirmation_claimed_at is not None or now >= reply.received_at + WINDOW:
        return None
    account = session.get_one(Account, reply.account_id, populate_existing=True)
    company = session.get_one(Company, reply.company_id, populate_existing=True)
    noted = session.get(OptOut, (reply.company_id, reply.phone_key), populate_existing=True)
    still_out = noted is not None and noted.kind == OPTED_OUT
    if account.status != AccountStatus.ACTIVE or not still_out or company.settings.get("opt_out_confirmation") is False:
        return None
    contact = session.get(Contact, reply.contact_id) if reply.contact_id is not None else None
    to = contact.phone if contact is not None else f"+{reply.phone_key}"
    if not to[1:].isdigit():
        return None  # The person hides the number.
    own_words = company.settings.get("opt_out_confirmation_text")
    said_in = opt_out.read(reply.text).language
    return Confirmation(
        reply_id=reply.id,
        account=account,
        company=company,
        to=to,
        text=own_words or opt_out.confirmation(said_in, phone_key=reply.phone_key),
    )


def claim(session: Session, reply_id: int, *, now: datetime) -> bool:
    """Take the one right to confirm a reply; False when it was taken before. Commit before the message leaves."""
    result = session.execute(
        text(
            "UPDATE replies SET confirmation_claimed_at = :now"
            " WHERE id = :id AND confirmation_claimed_at IS NULL AND received_at > :earliest"
        ),
        {"now": now, "id": reply_id, "earliest": now - WINDOW},
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]
