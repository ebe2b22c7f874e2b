"""The policies: which limits a send is charged to. `ratelimit` knows what a limit is, its `Binding` what it means.

All limits of one call carry the company's hash tag, so that a Redis Cluster keeps them in one slot.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import lru_cache

from campaign_engine.config import Config
from campaign_engine.models import Account, Company
from campaign_engine.rules.cool_down import Throttle, slowed
from campaign_engine.rules.waiting import WaitReason
from campaign_engine.rules.warm_up import WarmUp, messages_per_day, steps_of
from campaign_engine.services.company.settings import CompanySettings
from ratelimit import InvalidLimit, Limit, Limiter, Rate

LimiterOf = Callable[[int], Limiter]
"""Gives the limiter of a company, by its id."""

# The share of the rate that is given up for arrival jitter and late wake-ups, so that the promise holds as the provider
# sees it. Half a percent is the most that may be given up (`ratelimit.kinds.MAX_MARGIN`).
MARGIN = 0.005

ACCOUNT_LIMIT = "whatsapp account"

LONGEST_WINDOW = 10_000
"""A window remembers every send: above this size the strategy `window` uses a token bucket, with the same promise."""

DAY_US = 86_400_000_000
NO_CAP = "none"
LONGEST_CAP_DAYS = 90
PAIR_RATE = Rate.parse("1/6 s")  # docs/wire.md, Rates and limits: more is refused with 131056
PAIR_BURST = 40
PAIR_FULL_AFTER = timedelta(seconds=6 * 45)


class Binds(Enum):
    """Whom a limit keeps from sending while it is spent."""

    ACCOUNT = auto()  # everybody who sends from it
    OWNER = auto()  # all campaigns of one user
    ROW = auto()  # one message; others may go


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit with its meaning: the reason for waiting, and whom it stops.

    `words` name it to people. A limit of 24 hours has `steps` of (from, how many it lets through; None: no limit).
    `gives_way_at` is when another limit takes its place, if one does.
    """

    limit: Limit
    reason: WaitReason
    binds: Binds
    words: str = "{name}: {rate}"
    steps: Sequence[tuple[datetime, int | None]] = ()
    gives_way_at: datetime | None = None

    def said(self, account: str | None) -> str:
        """Return in words what holds a campaign up; `account` is the name of the account that is bound."""
        limit = self.limit
        return self.words.format(name=limit.name, rate=limit.rate, count=limit.rate.count, account=account)


def account_rate(account: Account, company: Company, config: Config) -> Rate:
    """Return the account's rate: its own, else the company's, else the environment's."""
    own = account.rate_limit or CompanySettings.of(company).whatsapp_rate_limit
    return Rate.parse(own) if own else config.whatsapp_rate_limit


def owner_rate(company: Company, config: Config) -> Rate:
    """Return the rate of one user's campaigns: the company's, else the environment's."""
    own = CompanySettings.of(company).campaign_rate_limit
    return Rate.parse(own) if own else config.campaign_rate_limit


def of_send(account: Account, owner_id: int, company: Company, config: Config, *, now: datetime) -> list[Binding]:
    """Return the limits that every send from the account for the owner is charged to, together.

    Changes of any of them take effect at the next call.
    """
    return [
        *of_call(account, company, config, now=now),
        *of_day(account, now=now),
        of_owner(owner_id, company, config),
    ]


def of_call(account: Account, company: Company, config: Config, *, now: datetime) -> list[Binding]:
    """Return the limits of everything that leaves from a WhatsApp account: its own, and a slower one for a while after
    its provider complained.

    The slower limit stands beside the other. It is not a lower rate of the same limit, because a limit that was lowered
    must count as fully used: at 100 an hour that would be a silence of an hour.
    """
    own = of_account(account, company, config)
    found = [Binding(own, WaitReason.ACCOUNT_LIMIT, Binds.ACCOUNT, words="{rate} of the account {account}")]
    throttle = Throttle(account.throttle_step, account.throttled_at)
    if step := throttle.step_at(now):
        rate, key = slowed(own.rate, step), f"slowed:{account.id}:{step}"
        limit = _limit("whatsapp account, slowed", key, rate, 1, "token-bucket", MARGIN)
        gives_way_at = throttle.recovers_at(now)
        found.append(Binding(limit, WaitReason.COOL_DOWN, Binds.ACCOUNT, gives_way_at=gives_way_at))
    return found


def of_day(account: Account, *, now: datetime) -> list[Binding]:
    """Return the limits of 24 hours that bind the account: its warm-up, and the recipients of its portfolio."""
    found = []
    if account.warm_up is not None:
        found += _of_warm_up(account, account.warm_up, now)
    if account.daily_recipient_limit is not None:
        found.append(_of_portfolio(account, account.daily_recipient_limit, now))
    return found


def of_account(account: Account, company: Company, config: Config) -> Limit:
    """Return the limit of a WhatsApp account."""
    return _by_strategy(
        ACCOUNT_LIMIT, f"account:{account.id}", account_rate(account, company, config), account.burst, config
    )


def of_owner(owner_id: int, company: Company, config: Config) -> Binding:
    """Return the limit of all campaigns of one user together."""
    limit = _by_strategy("campaigns of the user", f"user:{owner_id}", owner_rate(company, config), 1, config)
    return Binding(limit, WaitReason.USER_LIMIT, Binds.OWNER, words="user limit: {rate}")


@lru_cache(maxsize=10_000)
def _limit(name: str, key: str, rate: Rate, burst: int, kind: str, margin: float) -> Limit:
    # Making a limit works out the numbers for Redis, and the same few limits are needed again and again.
    return Limit(name=name, key=key, rate=rate, burst=burst, kind=kind, margin=margin)


def _by_strategy(name: str, key: str, rate: Rate, burst: int, config: Config) -> Limit:
    too_long_a_log = config.rate_limit_strategy == "window" and rate.count > LONGEST_WINDOW
    if config.rate_limit_strategy == "token-bucket" or too_long_a_log:
        # The company may have lowered the rate since the burst was chosen, and a limit that cannot be made would stop
        # the account.
        return _limit(name, key, rate, min(burst, rate.count), "token-bucket", MARGIN)
    return _limit(name, key, rate, 1, config.rate_limit_strategy, 0.0)


def _of_warm_up(account: Account, warm_up: WarmUp, now: datetime) -> list[Binding]:
    started_at = datetime.fromisoformat(warm_up["started_at"])
    steps = steps_of(warm_up["ladder"], started_at=started_at, ends_on_day=warm_up["ends_on_day"], now=now)
    count = messages_per_day(steps, now=now)
    if count is None:
        return []
    limit = _limit("warm-up of the number", f"warm-up:{account.id}", Rate(count, DAY_US), 1, "window", 0.0)
    return [Binding(limit, WaitReason.WARM_UP, Binds.ACCOUNT, words="warm-up of the account {account}", steps=steps)]


def _of_portfolio(account: Account, count: int, now: datetime) -> Binding:
    key = f"portfolio:{account.portfolio or 'default'}"
    limit = _limit("recipients a day of the portfolio", key, Rate(count, DAY_US), 1, "distinct", 0.0)
    words = "{count} recipients in 24 hours of the account {account}"
    return Binding(limit, WaitReason.DAILY_RECIPIENTS, Binds.ACCOUNT, words=words, steps=[(now, count)])


def of_pair(account: Account, phone_key: str) -> Binding:
    """Return the limit of one account's messages to one recipient: Meta's one in 6 s, 45 borrowed from the future.

    If a person got no message within `PAIR_FULL_AFTER`, the bucket is full and the next message is not charged. To make
    up for that, our bucket is a little smaller than Meta's.
    """
    key = f"pair:{account.id}:{phone_key}"
    limit = Limit(name="messages to one recipient", key=key, rate=PAIR_RATE, burst=PAIR_BURST, kind="bucket")
    return Binding(limit, WaitReason.PAIR_RATE_LIMIT, Binds.ROW)


def frequency_cap(own: str | None, company: Company) -> Rate | None:
    """Return how many messages a person may get from all campaigns: the campaign's own cap, else the company's.

    `none` (`NO_CAP`) as the campaign's own cap lifts the company's.
    """
    written = own or CompanySettings.of(company).frequency_cap
    return parse_cap(written) if written else None


def parse_cap(written: str) -> Rate | None:
    """Read a frequency cap; None for `NO_CAP`.

    Raises:
        InvalidLimit: it is no rate, or its period is too long.
    """
    if written == NO_CAP:
        return None
    rate = Rate.parse(written)
    if rate.period_us > LONGEST_CAP_DAYS * DAY_US:
        raise InvalidLimit(f"The longest period is {LONGEST_CAP_DAYS} days.")
    return rate


def of_retry(message_id: uuid.UUID, config: Config) -> Binding:
    """Return the limit of one message's retries: exact, never more than COUNT in any PERIOD."""
    key = f"retry:{message_id}"
    limit = Limit(name="retries of the message", key=key, rate=config.retry_rate_limit, kind="window")
    return Binding(limit, WaitReason.RETRY_BACKOFF, Binds.ROW)


def of_api(user_id: int, config: Config) -> Limit:
    """Return the limit of a user's calls of the HTTP API; the engine's own sends never count."""
    rate = config.api_rate_limit
    return Limit(name="api", key=f"api:{user_id}", rate=rate, burst=rate.count, kind="bucket")


def settings_faults(settings: Mapping[str, object]) -> dict[str, list[str]]:
    """Return what is wrong with a company's limit overrides, per field."""
    faults = {}
    for name, read in (
        ("whatsapp_rate_limit", Rate.parse),
        ("campaign_rate_limit", Rate.parse),
        ("frequency_cap", parse_cap),
    ):
        try:
            if settings.get(name):
                read(str(settings[name]))
        except InvalidLimit as error:
            faults[name] = [str(error)]
    return faults


def rate_faults(rate_limit: str | None, burst: int) -> dict[str, list[str]]:
    """Return what is wrong with an account's own limit and its burst, per field."""
    if not rate_limit:
        return {}
    try:
        rate = Rate.parse(rate_limit)
        if burst >= max(rate.count, 2):
            return {"burst": ["This must be at least 1 and less than the count of rate_limit."]}
        Limit(name=ACCOUNT_LIMIT, key="-", rate=rate, burst=burst, margin=MARGIN)
    except InvalidLimit as error:
        return {"rate_limit": [str(error)]}
    return {}
