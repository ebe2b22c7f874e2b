"""`campaign-engine doctor`: is every part well, what is stuck, and what to do about it."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import click
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.core import engine
from campaign_engine.services.messages import planning
from campaign_engine.services.messages.planning import Line
from campaign_engine.services.outlook import diagnosis, progress
from cli.context import json_option, print_json, transaction, with_engine
from jobs import start_times, status, waking


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; `remedy` says what to do when it is not well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


@click.command()
@json_option
@with_engine
def doctor(as_json: bool) -> None:
    """Check every part, show the addresses in use, say what is stuck and what to do.

    Exit code 1 when something is not well.
    """
    config = engine().config
    findings = list(_findings(config))
    ok = all(finding.ok for finding in findings)
    if as_json:
        print_json(
            {
                "ok": ok,
                "database_url": config.database_url,
                "redis_url": config.redis_url,
                "checks": [asdict(finding) for finding in findings],
            }
        )
    else:
        click.echo(f"PostgreSQL  {_masked(config.database_url)}\nRedis       {_masked(config.redis_url)}")
        click.echo("            (--json shows them with their passwords)\n")
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.name}: {finding.detail}")
            if not finding.ok and finding.remedy:
                click.echo(f"     -> {finding.remedy}")
    sys.exit(0 if ok else 1)


def _masked(url: str | None) -> str:
    """Return an address without its password: people paste doctor's output into tickets."""
    return re.sub(r"(://[^:@/]*:)[^@/]*@", r"\1***@", url or "")


def _findings(config: Config) -> Iterator[Finding]:
    database = _database()
    yield database
    connection = engine().redis
    redis = _redis(connection)
    yield redis
    if redis.ok:
        yield from _processes(config, connection)
    if database.ok:
        yield from _work(config, connection if redis.ok else None)
        yield from _what_needs_a_person()


def _database() -> Finding:
    try:
        with transaction() as session:
            version = session.scalar(text("SHOW server_version"))
            revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return Finding(
            "database",
            ok=False,
            detail=reason,
            remedy="Is it running, and is DATABASE_URL right? Without a schema: campaign-engine db upgrade.",
        )
    return Finding("database", ok=True, detail=f"PostgreSQL {version}, schema {revision}")


def _redis(connection: Redis) -> Finding:
    try:
        info = connection.info()
        policy = info.get("maxmemory_policy")
        aof = bool(info.get("aof_enabled"))
    except RedisError as error:
        return Finding("redis", ok=False, detail=type(error).__name__, remedy="Is it running, and is REDIS_URL right?")
    detail = f"Redis {info.get('redis_version')}, {info.get('used_memory_human')} in use"
    if policy not in (None, "noeviction"):
        return Finding(
            "redis",
            ok=False,
            detail=f"{detail}, maxmemory-policy {policy}",
            remedy="Set maxmemory-policy noeviction: an evicted key is a limit forgotten.",
        )
    return Finding("redis", ok=True, detail=detail + ("" if aof else ", no AOF: a restart forgets limits and timers"))


def _processes(config: Config, connection: Redis) -> Iterator[Finding]:
    alive = start_times.is_alive(connection)
    yield Finding(
        "scheduler",
        ok=alive,
        detail="running" if alive else "no sign of life",
        remedy="Start it: campaign-engine scheduler.",
    )
    for queue in status.of_queues(connection):
        wanted = config.workers_of(queue.name)
        yield Finding(
            f"queue {queue.name}",
            ok=queue.workers > 0 or wanted == 0,
            detail=f"{queue.workers} workers, {queue.queued} queued, {queue.scheduled} deferred,"
            f" {queue.started} running, {queue.failed} failed",
            remedy="Start workers: campaign-engine workers.",
        )


def _work(config: Config, connection: Redis | None) -> Iterator[Finding]:
    with transaction() as session:
        found = diagnosis.standing(session, unknown_grace_s=config.unknown_grace_s, now=utc_now())
        miscounted = progress.miscounted(session)
        busy = {line: planning.busy_lanes(session, line) for line in Line}
    stuck_if: list[tuple[str, int, str]] = [
        (
            "overdue campaigns",
            found.overdue_campaigns,
            "Are scheduler and campaign-scheduler workers running?",
        ),
        ("unprepared campaigns", found.unprepared_campaigns, "Are campaign-scheduler workers running?"),
        (
            "stale claims",
            found.stale_claims,
            "The verification turns them to unknown; is the scheduler running?",
        ),
        ("miscounted campaigns", len(miscounted), f"Please report it, with these ids: {miscounted[:10]}."),
    ]
    for name, count, remedy in stuck_if:
        yield Finding(name, ok=count == 0, detail=str(count), remedy=remedy)
    yield Finding(
        "unknown messages",
        ok=found.overdue_unknown == 0,
        detail=f"{found.unknown_messages}, {found.overdue_unknown} for longer than UNKNOWN_GRACE_S",
        remedy="No webhook has settled them; resend or dismiss them on their campaign's page.",
    )
    yield Finding(
        "waiting webhooks",
        ok=found.oldest_webhook_s < 60,
        detail=f"{found.waiting_webhooks}, the oldest since {found.oldest_webhook_s:.0f} s",
        remedy="Are delivery-events workers running?",
    )
    if connection is not None:
        idle = sum(len(set(lanes) - waking.lanes_with_a_turn(connection, lanes, line)) for line, lanes in busy.items())
        yield Finding(
            "lanes",
            ok=idle == 0,
            detail=f"{sum(map(len, busy.values()))} busy, {idle} without a turn",
            remedy="The verification arms them within VERIFY_INTERVAL_S; is the scheduler running?",
        )


def _what_needs_a_person() -> Iterator[Finding]:
    with transaction() as session:
        found = diagnosis.troubles(session, providers=engine().providers, now=utc_now())
    looked_for: list[tuple[str, Sequence[diagnosis.Trouble], str]] = [
        (
            "deactivated accounts",
            found.deactivated_accounts,
            "Cure the cause at the provider, then: campaign-engine account reactivate ID.",
        ),
        ("account warnings", found.warned_accounts, "They send all the same; see the page of the accounts."),
        (
            "accounts without a webhook",
            found.accounts_without_webhook,
            "Set the webhook up (docs/operations.md): without it nothing is known of what was delivered.",
        ),
        (
            "campaigns waiting for a person",
            found.waiting_campaigns,
            "Cure the cause, then: campaign-engine campaign resume ID (start ID after a missed start).",
        ),
    ]
    for name, each, remedy in looked_for:
        yield Finding(name, ok=not each, detail=_listed(each), remedy=remedy)
    yield Finding("campaigns stopped at closing time", ok=True, detail=_listed(found.closed_campaigns))


def _listed(each: Sequence[diagnosis.Trouble]) -> str:
    return "; ".join(map(str, each)) or "none"
