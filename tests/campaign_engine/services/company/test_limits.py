"""Which limits a send is charged to."""

import uuid
from datetime import UTC, datetime, timedelta

from campaign_engine.config import Config
from campaign_engine.models import Account, Company
from campaign_engine.rules.cool_down import RECOVERY
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.services.company import limits
from campaign_engine.services.company.limits import Binds

BEGAN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_the_warm_up_binds_with_the_share_of_the_day_and_no_longer_than_it_lasts() -> None:
    warm_up = {"started_at": BEGAN.isoformat(), "ladder": [[0, 50], [7, 200]], "ends_on_day": 30}
    account = Account(id=1, warm_up=warm_up, burst=1, throttle_step=0)
    company = Company(id=1, settings={})
    shares = {}
    for day in (0, 6, 7, 29, 30):
        charged = limits.of_send(account, 1, company, Config(), now=BEGAN + timedelta(days=day, hours=1))
        shares[day] = [each.limit.rate.count for each in charged if each.reason is WaitReason.WARM_UP]
    assert shares == {0: [50], 6: [50], 7: [200], 29: [200], 30: []}


def test_each_limit_of_a_send_says_whom_it_binds_and_why_one_waits_for_it() -> None:
    warm_up = {"started_at": BEGAN.isoformat(), "ladder": [[0, 50]], "ends_on_day": 30}
    account = Account(
        id=1, warm_up=warm_up, daily_recipient_limit=250, burst=1, throttle_step=2, throttled_at=BEGAN, portfolio=None
    )
    company = Company(id=1, settings={"campaign_rate_limit": "10/minute"})
    charged = limits.of_send(account, 9, company, Config(), now=BEGAN)
    assert {each.reason: (each.binds, each.said("Loja")) for each in charged} == {
        WaitReason.ACCOUNT_LIMIT: (Binds.ACCOUNT, "20/minute of the account Loja"),
        WaitReason.COOL_DOWN: (Binds.ACCOUNT, "whatsapp account, slowed: 20/4 minutes"),
        WaitReason.WARM_UP: (Binds.ACCOUNT, "warm-up of the account Loja"),
        WaitReason.DAILY_RECIPIENTS: (Binds.ACCOUNT, "250 recipients in 24 hours of the account Loja"),
        WaitReason.USER_LIMIT: (Binds.OWNER, "user limit: 10/minute"),
    }
    assert [each.reason for each in charged if each.gives_way_at == BEGAN + RECOVERY] == [WaitReason.COOL_DOWN]
    of_row = [limits.of_retry(uuid.uuid4(), Config()), limits.of_pair(account, "5511900000001")]
    assert {each.reason: each.binds for each in of_row} == {
        WaitReason.RETRY_BACKOFF: Binds.ROW,
        WaitReason.PAIR_RATE_LIMIT: Binds.ROW,
    }


def test_a_limit_of_24_hours_says_how_it_changes() -> None:
    warm_up = {"started_at": BEGAN.isoformat(), "ladder": [[0, 50], [7, 200], [40, 900]], "ends_on_day": 30}
    account = Account(id=1, warm_up=warm_up, daily_recipient_limit=250, portfolio=None)
    steps = {each.reason: list(each.steps) for each in limits.of_day(account, now=BEGAN - timedelta(hours=1))}
    assert steps == {
        WaitReason.WARM_UP: [
            (BEGAN - timedelta(hours=1), 50),
            (BEGAN + timedelta(days=7), 200),
            (BEGAN + timedelta(days=30), None),
        ],
        WaitReason.DAILY_RECIPIENTS: [(BEGAN - timedelta(hours=1), 250)],
    }
