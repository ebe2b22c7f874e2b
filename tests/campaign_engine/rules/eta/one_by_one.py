"""Sending message by message, as lanes do it: what the flow of `rules.eta` is held against."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import Any

from campaign_engine.rules.eta.terms import Load, Quota, SenderTerms


def sent_one_by_one(
    loads: Sequence[Load],
    senders: Mapping[int, SenderTerms],
    *,
    owners: Mapping[int, float],
    quotas: Mapping[str, Quota],
    now: datetime,
) -> dict[int, float]:
    """Return when the last message of each campaign leaves, in seconds from `now`."""
    left = {each.campaign_id: each.message_count for each in loads if each.message_count > 0}
    campaigns = {each.campaign_id: each for each in loads}
    free = {each: (sender.free_at - now).total_seconds() if sender.free_at else 0.0 for each, sender in senders.items()}
    series = {each: sender.series_count for each, sender in senders.items()}
    served = {(each.campaign_id, account): -1.0 for each in loads for account in each.paces}
    owner_free = dict.fromkeys((each.owner_id for each in loads), 0.0)
    logs: dict[str, list[float]] = {key: [] for key in quotas}
    last: dict[int, float] = {}
    order = 0.0

    open_now: dict[Any, tuple[float, float]] = {}

    def opens_at(hours: Any, at: float) -> float:
        opens, closes = open_now.get(hours, (0.0, 0.0))
        if not opens <= at < closes:
            opened = hours.opens_at(now + timedelta(seconds=at))
            opens, closes = ((each - now).total_seconds() for each in (opened, hours.open_until(opened)))
            open_now[hours] = opens, closes
        return max(at, opens)

    def ready_at(campaign: Load, account: int, at: float) -> float:
        ready = max(at, owner_free[campaign.owner_id])
        if served[campaign.campaign_id, account] >= 0:
            ready = max(ready, sent_at[campaign.campaign_id, account] + campaign.paces[account].message_delay_s)
        if campaign.starts_at is not None:
            ready = max(ready, (campaign.starts_at - now).total_seconds())
        for key in senders[account].quotas:
            ready = max(ready, quota_free(key, ready))
        return ready if campaign.hours is None else opens_at(campaign.hours, ready)

    def quota_free(key: str, at: float) -> float:
        steps = [((since - now).total_seconds(), count) for since, count in quotas[key].steps]
        count = [count for since, count in steps if since <= at][-1]
        log = [each for each in logs[key] if each > at - 86_400]
        if count is None or len(log) < count:
            return at
        return quota_free(key, min([log[len(log) - count] + 86_400, *(since for since, _ in steps if since > at)]))

    sent_at: dict[tuple[int, int], float] = {}
    while left:
        choices = []
        for account in senders:
            waiting = [
                (ready_at(campaigns[each], account, free[account]), served[each, account], each)
                for each in left
                if account in campaigns[each].paces
            ]
            if waiting:
                choices.append((*min(waiting), account))
        at, _, campaign_id, account = min(choices)
        if at == inf:
            break
        campaign, sender = campaigns[campaign_id], senders[account]
        pace = campaign.paces[account]
        order += 1
        left[campaign_id] -= 1
        last[campaign_id] = at
        sent_at[campaign_id, account], served[campaign_id, account] = at, order
        series[account] += 1
        wait = max(pace.message_interval_s, 1 / sender.per_s)
        if 0 < pace.longer_interval_after <= series[account]:
            wait, series[account] = max(wait, pace.greater_interval_s), 0
        free[account] = at + wait
        if campaign.owner_id in owners:
            owner_free[campaign.owner_id] = at + 1 / owners[campaign.owner_id]
        for key in sender.quotas:
            logs[key].append(at)
        if left[campaign_id] <= 0:
            del left[campaign_id]
    return last
