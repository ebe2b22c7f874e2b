"""When a message is tried again, as a pure decision over its attempts.

The first line is three attempts with exponential backoff from 2 s, the second line five more from 30 s. Attempts
live in the row, so a crash cannot change them.
"""

from datetime import datetime, timedelta

FIRST_LINE_ATTEMPTS = 3  # two indexes of the messages name this number
SECOND_LINE_ATTEMPTS = 5
FIRST_LINE_BACKOFF_S = 2.0
SECOND_LINE_BACKOFF_S = 30.0
# After a fault on the provider's side the message may have left. Then its first status webhook arrives within seconds
# and settles the row, so the retry waits at least this long.
RECONCILE_S = 30.0


def next_attempt_at(
    attempts: int, *, now: datetime, retry_after_s: float | None = None, may_have_left: bool = False
) -> datetime | None:
    """Return the earliest time of the next attempt after `attempts` made, or None when they are spent."""
    if attempts >= FIRST_LINE_ATTEMPTS + SECOND_LINE_ATTEMPTS:
        return None
    if attempts < FIRST_LINE_ATTEMPTS:
        wait_s = FIRST_LINE_BACKOFF_S * 2 ** (attempts - 1)
    else:
        wait_s = SECOND_LINE_BACKOFF_S * 2 ** (attempts - FIRST_LINE_ATTEMPTS)
    if may_have_left:
        wait_s = max(wait_s, RECONCILE_S)
    return now + timedelta(seconds=max(wait_s, retry_after_s or 0.0))
