"""Why nothing is sent just now, in words with their end."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campaign_engine.rules.waiting import PHRASES, WaitReason, phrase, sentence

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # 09:00 in São Paulo
ZONE = ZoneInfo("America/Sao_Paulo")


@pytest.mark.parametrize(
    ("code", "account", "seconds", "said"),
    [
        ("outside_hours", None, 23 * 3600, "outside hours until Sat 21 Nov, 08:00"),
        ("outside_hours", None, 3 * 3600, "outside hours until 12:00"),
        ("outside_hours", None, None, "outside hours"),
        ("cool_down", "Loja", 40, "Loja: cooling down for 40 s"),
        ("pacing", "Loja", 11.2, "Loja: pacing for 12 s"),
        ("pacing", "Loja", 120, "Loja: pacing for 120 s"),
        ("account_limit", "Loja", 121, "Loja: limit of the account until 09:02"),
        ("user_limit", None, 0.4, "user limit for 1 s"),
        ("user_limit", None, -3, "user limit for 0 s"),
        ("schedule", None, 60, "starts by itself at 09:01"),
        ("schedule", None, 60 * 86_400, "starts by itself at Tue 19 Jan 2027, 09:00"),
        ("a_new_reason", "Loja", 5, "Loja: a new reason for 5 s"),
    ],
)
def test_a_wait_is_said_with_its_end_by_the_clock_of_the_campaign(
    code: str, account: str | None, seconds: float | None, said: str
) -> None:
    until = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert sentence(code, account=account, until=until, now=NOW, zone=ZONE) == said


def test_every_reason_has_words_of_its_own() -> None:
    assert set(PHRASES) == set(WaitReason)
    assert len({phrase(each) for each in WaitReason}) == len(WaitReason)
