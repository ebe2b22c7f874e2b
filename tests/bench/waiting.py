"""What a thousand running campaigns cost that all wait: for their hours, for a limit, for their account's pace.

A timer belongs to a lane, never to a message, so that what waits costs only the periodic verification.
"""

import time
from collections.abc import Mapping
from typing import Any

from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import ELSEWHERE, UNOBSTRUCTED, WIDE, Opening, Works, closed_hours, cores

PROMISED_CORES = 0.03
CAMPAIGNS = 1_000
ACCOUNTS = 50
PEOPLE = 20
SETTLED_BELOW_CORES = 0.15


def measure(opening: Opening, options: Options) -> Result:
    """Start the campaigns, wait until all of them wait, and measure the CPU of all processes together."""
    seconds = options.seconds_or(60.0, quick=0.5)
    per_account = 1 if options.quick else CAMPAIGNS // ACCOUNTS
    kinds = _kinds()
    counts = [1, 1, 1] if options.quick else [ACCOUNTS // 3 + 1, ACCOUNTS // 3 + 1, ACCOUNTS // 3]
    with opening() as plant:
        plant.start_simulator(*UNOBSTRUCTED, "--latency-ms", "0", "--sent-delay-ms", "0", "--read-share", "0")
        plant.start_web()
        plant.start_others()
        plant.start_senders()
        campaign_ids: list[int] = []
        for (account, campaign), count in zip(kinds, counts, strict=True):
            # A company has its own limits; one company a kind, with people of its own.
            owner = plant.create_company(campaign_rate_limit=WIDE)
            list_id = plant.create_audience(owner[0], first=0, size=PEOPLE)
            for account_id in plant.create_accounts(owner[0], count, **{"rate_limit": WIDE, **account}):
                campaign_ids += plant.start_campaigns(
                    owner, per_account, account_ids=[account_id], list_id=list_id, **campaign
                )
        plant.wait_until_prepared(campaign_ids, timeout_s=120)
        if not options.quick:
            _wait_until_quiet(plant)
        before = plant.read()
        time.sleep(seconds)
        after = plant.read()
        waiting = plant.number(
            "SELECT count(*) FROM campaigns WHERE id = ANY(:ids) AND status = 'running' AND pending_count > 0",
            ids=campaign_ids,
        )
    used = cores(before, after)
    elsewhere = used.pop(ELSEWHERE)
    return Result(
        (
            Figure(name="running campaigns that wait", value=waiting, unit="campaigns", at_least=len(campaign_ids)),
            Figure(
                name="CPU of all processes together", value=sum(used.values()), unit="cores", at_most=PROMISED_CORES
            ),
            *(Figure(name=f"of these {name}", value=value, unit="cores") for name, value in used.items()),
        ),
        {
            "seconds": seconds,
            "accounts": sum(counts),
            "sent_meanwhile": after.accepted - before.accepted,
            "elsewhere_cores": round(elsewhere, 3),
        },
    )


def _kinds() -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return what an account and a campaign of each kind have: hours that are closed, a limit, a pace."""
    return [
        ({}, {"working_hours": closed_hours()}),
        ({"rate_limit": "1/day"}, {}),
        ({"message_interval_s": 86_000}, {}),
    ]


def _wait_until_quiet(plant: Works) -> None:
    """Wait until the start of so many campaigns is over: until five seconds cost little."""
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        before = plant.read()
        time.sleep(5)
        used = cores(before, plant.read())
        used.pop(ELSEWHERE)
        if sum(used.values()) < SETTLED_BELOW_CORES:
            return
