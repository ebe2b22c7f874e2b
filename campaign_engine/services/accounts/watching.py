"""Accounts whose accepted messages never get a status: people are warned.

Statuses come by webhook. If none comes, the webhook is not set up or leads elsewhere: the messages may well arrive, but
nobody learns of it. Such an account is never stopped.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from campaign_engine.logs import get_logger
from campaign_engine.models import Notification

log = get_logger(__name__)


def warn_of_silence(session: Session, *, patience_s: float, now: datetime) -> list[int]:
    """Warn of active accounts whose accepted messages had no status for `patience_s`, once a silence; return them.

    Side effects: one notification and one log line for each; removes the warnings of accounts whose silence is over.
    """
    _forgive(session)
    silent = session.execute(
        text(
            "SELECT a.id, a.company_id, a.name, a.unacknowledged_since, c.timezone FROM accounts a"
            " JOIN companies c ON c.id = a.company_id"
            " WHERE a.status = 'active' AND a.warned_at IS NULL AND a.unacknowledged_since <= :limit ORDER BY a.id"
        ),
        {"limit": now - timedelta(seconds=patience_s)},
    ).all()
    if not silent:
        return []
    sentences = {row.id: _sentence(row) for row in silent}
    warned = set(
        session.scalars(
            text(
                "UPDATE accounts a SET warning = given.sentence, warned_at = :now"
                " FROM unnest(CAST(:ids AS bigint[]), CAST(:sentences AS text[])) AS given (id, sentence)"
                " WHERE a.id = given.id AND a.warned_at IS NULL AND a.unacknowledged_since IS NOT NULL RETURNING a.id"
            ),
            {"ids": list(sentences), "sentences": list(sentences.values()), "now": now},
        )
    )
    for row in silent:
        if row.id in warned:
            log.warning("account.unacknowledged", account_id=row.id, since=row.unacknowledged_since.isoformat())
            session.add(
                Notification(
                    company_id=row.company_id,
                    kind="acknowledgements_missing",
                    severity="warning",
                    text=f"{row.name}: {sentences[row.id]}",
                    subject_kind="account",
                    subject_id=str(row.id),
                )
            )
    session.flush()
    return sorted(warned)


def _forgive(session: Session) -> None:
    """Remove the warnings of accounts that got a status since, even if by now the next one is missing."""
    session.execute(
        text(
            "UPDATE accounts SET warning = NULL, warned_at = NULL WHERE warned_at IS NOT NULL"
            " AND (unacknowledged_since IS NULL OR unacknowledged_since > warned_at)"
        )
    )


def _sentence(row: Row[tuple[int, int, str, datetime, str]]) -> str:
    since = row.unacknowledged_since.astimezone(ZoneInfo(row.timezone))
    return f"Messages are accepted but no status has come since {since:%H:%M}: check the webhook set-up."
