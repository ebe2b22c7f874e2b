"""Sustained messages a second, what each costs, and how that compares with another engine.

Everything an installation has takes part, on the same machine: RQ workers, scheduler, PostgreSQL, Redis, the web
process, and the simulator, which posts its signed webhooks to it (`sent` and `delivered` of each message, `read` of
most; what falls due within 200 ms goes into one POST of at most 1,000 updates, as Meta batches). Two limits are
charged for every message. The rows are written beforehand; the middle of a longer run is measured.
"""

import time
from dataclasses import asdict, dataclass

from tests.bench import peer
from tests.bench.figures import Figure, Result
from tests.bench.options import Options
from tests.bench.works import SENDERS, UNOBSTRUCTED, WIDE, Moment, Opening, Works, cores

PROMISED_PER_S = 1_000
"""Meta's highest throughput of one number."""

PROMISED_STATEMENTS = 0.2
PROMISED_TIMES_THE_PEER = 1.3
RAMP_UP_S = 5.0
FASTEST_PER_S = 4_000


@dataclass(frozen=True, slots=True)
class Setting:
    """One run: the provider's latency, and the accounts with their calls in flight."""

    latency_ms: int
    in_flight: int
    accounts: int

    def __str__(self) -> str:
        accounts = "1 account" if self.accounts == 1 else f"{self.accounts} accounts"
        return f"{self.latency_ms} ms, {self.in_flight} in flight, {accounts}"

    @property
    def most_per_s(self) -> float:
        """What the calls in flight allow, or more than two cores ever did."""
        if self.latency_ms == 0:
            return FASTEST_PER_S
        return min(FASTEST_PER_S, self.accounts * self.in_flight / self.latency_ms * 1000)

    @property
    def peer_messages(self) -> int:
        """How many messages keep the peer busy for about ten seconds."""
        return 25_000 if self.latency_ms == 0 else 12_000


ONE_ACCOUNT = (Setting(0, 64, 1), Setting(50, 64, 1), Setting(100, 128, 1))
TWO_ACCOUNTS = (Setting(0, 50, 2), Setting(50, 64, 2))
QUICK = (Setting(50, 16, 1),)

SIMULATOR = (
    *UNOBSTRUCTED,
    *("--sent-delay-ms", "200", "--delivered-delay-ms", "200-1000", "--read-delay-ms", "300-1500"),
    *("--webhook-batch-ms", "200", "--webhook-batch-size", "1000"),
)
"""The webhooks follow their messages within seconds, so that the middle of a run has all of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured in the middle of one run. `cores` is by part of the works."""

    setting: str
    has_webhooks: bool
    seconds: float
    messages: int
    per_s: float
    sender_cpu_us: float
    statements_per_message: float
    boundaries_per_message: float
    updates_applied_per_s: float
    webhooks_waiting: int
    sent_twice: int
    cores: dict[str, float]
    peer_per_s: float | None

    def __str__(self) -> str:
        peer_said = f"; the peer {self.peer_per_s:,.0f}/s" if self.peer_per_s is not None else ""
        used = ", ".join(f"{name} {value:.2f}" for name, value in self.cores.items())
        webhooks = "with" if self.has_webhooks else "without"
        return f"{self.setting}, {webhooks} webhooks: {self.per_s:,.0f}/s{peer_said}; cores: {used}"


def measure(opening: Opening, options: Options) -> Result:
    """Run every setting; beside those of two accounts the peer, and a run without webhooks, as the peer has none."""
    figures: list[Figure] = []
    runs: list[Run] = []
    for setting in QUICK if options.quick else ONE_ACCOUNT:
        run = _run(opening, setting, options)
        runs.append(run)
        figures += _figures(run, promised=PROMISED_PER_S if setting.latency_ms else None)
    for setting in () if options.quick else TWO_ACCOUNTS:
        run = _run(opening, setting, options)
        runs.append(run)
        figures += _figures(run, promised=None)
        if options.peer is not None:
            alike = _run(opening, setting, options, has_webhooks=False)
            runs.append(alike)
            figures += [_comparison(each, alike.peer_per_s or 0) for each in (alike, run)]
    if options.peer is None:
        print("Not compared with another engine: --peer names none.")
    return Result(tuple(figures), {"runs": [asdict(run) for run in runs]})


def _run(opening: Opening, setting: Setting, options: Options, *, has_webhooks: bool = True) -> Run:
    """Send without an end in sight and measure the middle. Without webhooks the peer goes first."""
    seconds = options.seconds_or(12.0, quick=0.5)
    ramp_up_s = 0.5 if options.quick else RAMP_UP_S
    count = int(setting.most_per_s * (seconds + ramp_up_s + 2))
    with opening() as plant:
        plant.start_simulator(*SIMULATOR, "--latency-ms", str(setting.latency_ms))
        peer_per_s = None if has_webhooks else _let_peer_send(plant, setting, options)
        plant.start_web()
        plant.start_others()
        owner = plant.create_company(campaign_rate_limit=WIDE)
        accounts = plant.create_accounts(owner[0], setting.accounts, rate_limit=WIDE, max_in_flight=setting.in_flight)
        if not has_webhooks:
            for number in accounts.values():
                plant.register(number, access_token=f"token-{number}")
        list_id = plant.create_audience(owner[0], first=0, size=count)
        campaign_id = plant.start_campaign(owner, account_ids=list(accounts), list_id=list_id)
        plant.wait_until_prepared([campaign_id])
        accepted_before = plant.accepted()
        plant.start_senders()
        plant.until(lambda: plant.accepted() > accepted_before, "the first message arrives")
        time.sleep(ramp_up_s)
        before = plant.read()
        wait_until = time.monotonic() + seconds
        while time.monotonic() < wait_until and plant.accepted() < accepted_before + 0.97 * count:
            time.sleep(0.25)
        after = plant.read()
        run = _evaluate(plant, setting, before, after, has_webhooks=has_webhooks, peer_per_s=peer_per_s)
    print(run, flush=True)
    return run


def _let_peer_send(plant: Works, setting: Setting, options: Options) -> float | None:
    if options.peer is None:
        return None
    plant.register(peer.NUMBER, access_token=peer.ACCESS_TOKEN)
    return peer.run(
        options.peer, setting.peer_messages, setting.in_flight, servers=plant.servers, judge=plant.simulator_url
    )


def _evaluate(
    plant: Works, setting: Setting, before: Moment, after: Moment, *, has_webhooks: bool, peer_per_s: float | None
) -> Run:
    messages = after.accepted - before.accepted
    seconds = after.accepted_at - before.accepted_at
    used = cores(before, after)
    sent = plant.statements_of(SENDERS, before, after)
    return Run(
        setting=str(setting),
        has_webhooks=has_webhooks,
        seconds=round(seconds, 2),
        messages=messages,
        per_s=round(messages / seconds, 1),
        sender_cpu_us=round(1e6 * used[SENDERS] * (after.at - before.at) / messages, 1),
        statements_per_message=round(sent.statements / messages, 4),
        boundaries_per_message=round(sent.boundaries / messages, 4),
        updates_applied_per_s=round((after.applied - before.applied) / (after.at - before.at), 1),
        webhooks_waiting=int(plant.number("SELECT count(*) FROM webhook_events WHERE applied_at IS NULL")),
        sent_twice=plant.simulated()["repeated_callback_data"]["count"],
        cores={name: round(value, 3) for name, value in used.items()},
        peer_per_s=peer_per_s,
    )


def _figures(run: Run, *, promised: float | None) -> list[Figure]:
    return [
        Figure(name=f"{run.setting}: messages", value=run.per_s, unit="per second", at_least=promised),
        Figure(name=f"{run.setting}: sender CPU", value=run.sender_cpu_us, unit="µs per message"),
        Figure(
            name=f"{run.setting}: statements",
            value=run.statements_per_message,
            unit="per message",
            at_most=PROMISED_STATEMENTS,
        ),
        Figure(name=f"{run.setting}: status updates applied", value=run.updates_applied_per_s, unit="per second"),
    ]


def _comparison(run: Run, peer_per_s: float) -> Figure:
    return Figure(
        name=f"{run.setting}, {'with' if run.has_webhooks else 'without'} webhooks: the peer's {peer_per_s:,.0f}/s",
        value=run.per_s / peer_per_s,
        unit="times",
        at_least=PROMISED_TIMES_THE_PEER,
    )
