"""Which limits a send is charged to."""

from datetime import UTC, datetime, timedelta

from campaign_engine.config import Config
from campaign_engine.models import Account, Company
from campaign_engine.services.company import limits

BEGAN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_the_warm_up_binds_with_the_share_of_the_day_and_no_longer_than_it_lasts() -> None:
    warm_up = {"started_at": BEGAN.isoformat(), "ladder": [[0, 50], [7, 200]], "ends_on_day": 30}
    account = Account(id=1, warm_up=warm_up, burst=1, throttle_step=0)
    company = Company(id=1, settings={})
    shares = {}
    for day in (0, 6, 7, 29, 30):
        charged = limits.of_send(account, 1, company, Config(), now=BEGAN + timedelta(days=day, hours=1))
        shares[day] = [limit.rate.count for limit in charged if limit.name == limits.WARM_UP_LIMIT]
    assert shares == {0: [50], 6: [50], 7: [200], 29: [200], 30: []}
