"""Showing people by a phone number, since the engine itself knows them by their equivalence keys."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

_PHONES = text(
    """
    SELECT k.phone_key, coalesce(c.phone, r.sender, '+' || k.phone_key) AS phone
    FROM unnest(CAST(:keys AS text[])) AS k(phone_key)
    LEFT JOIN contacts c ON c.company_id = :company_id AND c.phone_key = k.phone_key
    LEFT JOIN LATERAL (
      SELECT sender FROM replies
      WHERE company_id = :company_id AND phone_key = k.phone_key AND sender IS NOT NULL AND c.id IS NULL
      ORDER BY id DESC LIMIT 1
    ) r ON true
    """
)


def phones_of(session: Session, company_id: int, keys: Collection[str]) -> dict[str, str]:
    """Return what to show for the people of a company with these equivalence keys, one statement for all.

    It is the contact's phone. For a person who is no contact it is the number that the provider last spelled in a
    reply, else the key with a plus sign. Each of these names the same person when it is given back.
    """
    rows = session.execute(_PHONES, {"company_id": company_id, "keys": sorted(set(keys))})
    return {row.phone_key: row.phone for row in rows}
