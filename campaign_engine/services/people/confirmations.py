"""Confirming an opt-out to the person who asked for it: one short message, once at most, while the window is open.

An answer within 24 hours of a person's message needs no template (docs/wire.md, Rules of sending); later there is no
confirmation. The debt is written together with the opt-out, so it is not lost with a job. It is struck out before the
message leaves, so the message is never sent again, whatever became of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaign_engine.db import affected
from campaign_engine.models import Account, Company
from campaign_engine.rules.opt_out import intent
from campaign_engine.services.company.settings import CompanySettings

WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A message to send: its text, the person, and the account."""

    reply_id: int
    account: Account
    company: Company
    to: str  # E.164
    text: str


_OWE = text(
    "UPDATE replies SET confirm_until = received_at + :window WHERE id = ANY(CAST(:ids AS bigint[]))"
    " RETURNING account_id"
)

_TO = "coalesce(p.phone, r.sender, '+' || r.phone_key)"

# Nothing is owed if the person has changed their mind or hides the number, if the account may not send, or if the
# company wants no confirmations. All of this may change while the window is open.
_OWED = f"""
    FROM replies r
    JOIN accounts a ON a.id = r.account_id AND a.status = 'active'
    JOIN companies c ON c.id = r.company_id AND c.settings ->> 'opt_out_confirmation' IS DISTINCT FROM 'false'
    JOIN opt_outs o ON o.company_id = r.company_id AND o.phone_key = r.phone_key AND o.kind = 'opted_out'
    LEFT JOIN LATERAL (
      SELECT phone FROM contacts WHERE company_id = r.company_id AND phone_key = r.phone_key LIMIT 1
    ) AS p ON true
    WHERE r.confirm_until > :now AND {_TO} ~ '^[+][0-9]+$'
"""  # noqa: S608 - our own text
_NEXT = text(
    f"""
    SELECT r.id, r.text, r.phone_key, {_TO} AS phone {_OWED}
      AND r.account_id = :account_id
    ORDER BY r.confirm_until, r.id LIMIT 1
    """
)
_OWING = text(f"SELECT DISTINCT r.account_id {_OWED}")


def owe(session: Session, reply_ids: Sequence[int]) -> Sequence[int]:
    """Write that these opt-outs are to be confirmed; return the accounts whose lanes should be woken."""
    if not reply_ids:
        return []
    return sorted(set(session.scalars(_OWE, {"ids": list(reply_ids), "window": WINDOW})))


def owing(session: Session, *, now: datetime) -> Sequence[int]:
    """Return the accounts that owe somebody a confirmation and may send."""
    return session.scalars(_OWING, {"now": now}).all()


def next_owed(session: Session, account_id: int, *, locale: str, now: datetime) -> Confirmation | None:
    """Return the confirmation that an account owes, the one whose window ends first, or None.

    It is in the language of the reply, else of the number's country, else of `locale`.
    """
    row = session.execute(_NEXT, {"account_id": account_id, "now": now}).one_or_none()
    if row is None:
        return None
    account = session.get_one(Account, account_id, populate_existing=True)
    company = session.get_one(Company, account.company_id, populate_existing=True)
    own_words = CompanySettings.of(company).opt_out_confirmation_text
    said_in = intent.read(row.text).language
    return Confirmation(
        reply_id=row.id,
        account=account,
        company=company,
        to=row.phone,
        text=own_words or intent.confirmation(said_in, phone_key=row.phone_key, otherwise=locale),
    )


def claim(session: Session, reply_id: int, *, now: datetime) -> bool:
    """Take the one right to confirm a reply; False when it was taken before. Commit before the message leaves."""
    result = session.execute(
        text("UPDATE replies SET confirm_until = NULL WHERE id = :id AND confirm_until > :now"),
        {"id": reply_id, "now": now},
    )
    return affected(result) > 0
