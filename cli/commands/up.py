"""`campaign-engine up`: everything on this machine, with embedded servers where no address is given."""

import os
import secrets
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

import click
import requests
from redis.exceptions import BusyLoadingError, RedisError

from campaign_engine import config as configuration
from campaign_engine import logs, migrations, redis_clients
from campaign_engine.config import Config
from campaign_engine.core import create_core
from campaign_engine.rules.states import CAMPAIGN_IS_OVER
from cli import demo
from cli.commands.campaigns import read_progress
from cli.context import fail
from cli.embedded import ports
from cli.embedded.installation import Installation
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from cli.progress_view import View, line_of
from cli.supervisor import Child, Died, Supervisor

SIMULATOR_PORT = 8800
READY_TIMEOUT_S = 60.0
LOADING_TIMEOUT_S = 60.0
SHOWN_REFUSED = 12
PATIENCE_S = 60.0
"""If nothing moves in a campaign for this long, it is not watched any more."""


@click.command()
@click.option("--no-simulator", is_flag=True, help="Do not run the WhatsApp simulator (and no demonstration).")
@click.option("--no-demo", is_flag=True, help="Do not create and send the demonstration campaign on the first run.")
@click.option("--port", type=click.IntRange(1, 65535), help="The web's port. Default: WEB_PORT (8000).")
def up(no_simulator: bool, no_demo: bool, port: int | None) -> None:
    """Run everything: PostgreSQL and Redis (embedded unless their URLs are set), simulator, workers, scheduler, web.

    Stays until Ctrl-C, which stops every process within five seconds.
    """
    config = configuration.load()
    if port is not None:
        config = replace(config, web_port=port)
    logs.configure(log_format="text", level="ERROR")
    if not ports.is_free(config.web_port):
        fail(
            f"port {config.web_port} is taken by another program."
            " Stop it, or choose another port with --port N or WEB_PORT."
        )
    with ExitStack() as stack:
        installation = stack.enter_context(Installation(config.var_dir))
        supervisor = stack.enter_context(Supervisor(installation))
        config = _start_servers(config, installation, supervisor)
        if not _redis_answers(config, supervisor):
            return
        _say("Bringing the database schema up to date")
        migrations.upgrade(config.database_url or "")
        simulator_url = None if no_simulator else _start_simulator(config, supervisor)
        _start_processes(config, supervisor)
        waiting = supervisor.wait_until_ready(READY_TIMEOUT_S)
        if supervisor.stop_requested:
            return
        if waiting:
            names = ", ".join(sorted(waiting))
            fail(f"{names}: not ready after {READY_TIMEOUT_S:.0f} s. The reason is in {installation.log_dir}.")
        with create_core(config).app_context():
            if simulator_url is not None:
                _demonstrate(config, installation, supervisor, simulator_url, wanted=not no_demo)
            _tell_addresses(config, installation, simulator_url)
            if simulator_url is not None and not no_demo:
                _go_on(installation, supervisor)
        _stay(supervisor)


def _say(sentence: str) -> None:
    click.echo(f"· {sentence}")


def _start_servers(config: Config, installation: Installation, supervisor: Supervisor) -> Config:
    """Start the servers without an address, and return the configuration with all addresses and keys."""
    given = configuration.load_given()
    if given.database_url is None:
        _say("Starting PostgreSQL")
        postgres = EmbeddedPostgres(installation)
        supervisor.start_service(postgres)
        installation.update_local(database_url=postgres.url)
    if given.redis_url is None:
        _say("Starting Redis")
        redis = EmbeddedRedis(installation)
        supervisor.start_service(redis)
        installation.update_local(redis_url=redis.url)
    return replace(configuration.load(), web_port=config.web_port)


def _redis_answers(config: Config, supervisor: Supervisor, *, patience_s: float = LOADING_TIMEOUT_S) -> bool:
    """Wait while Redis loads its data; return whether it answers, False when a stop was requested meanwhile.

    Ends with exit code 1 if it is away, or loads for longer than `patience_s`.
    """
    connection = redis_clients.for_requests(config)
    give_up_at = time.monotonic() + patience_s
    told = False
    while not supervisor.stop_requested:
        try:
            connection.ping()
        except BusyLoadingError:
            if time.monotonic() >= give_up_at:
                fail(f"Redis at REDIS_URL is still loading its data after {patience_s:.0f} s. Start again later.")
            if not told:
                _say("Waiting for Redis, which is loading its data")
                told = True
            supervisor.wait(0.1)
        except RedisError as error:
            fail(f"Redis at REDIS_URL does not answer ({type(error).__name__}). Start it, or unset REDIS_URL.")
        else:
            return True
    return False


def _start_simulator(config: Config, supervisor: Supervisor) -> str:
    port = SIMULATOR_PORT if ports.is_free(SIMULATOR_PORT) else ports.any_free()
    url = f"http://127.0.0.1:{port}"
    _say(f"Starting the WhatsApp simulator at {url}")
    argv = [
        sys.executable,
        "-m",
        "simulator",
        "--port",
        str(port),
        "--state-dir",
        str(config.var_dir / "simulator"),
        "--parent-dies",
    ]
    supervisor.start(Child("simulator", argv, is_ready=lambda: _answers(f"{url}/simulator/healthz")))
    return url


def _start_processes(config: Config, supervisor: Supervisor) -> None:
    _say("Starting workers, scheduler and web")
    env = {**os.environ, "WEB_PORT": str(config.web_port)}
    command = [sys.executable, "-m", "cli"]
    supervisor.start(Child("workers", [*command, "workers"], env=env))
    supervisor.start(Child("scheduler", [*command, "scheduler"], env=env))
    health = f"http://{_reachable(config.web_host)}:{config.web_port}/healthz"
    supervisor.start(Child("web", [*command, "web"], env=env, is_ready=lambda: _answers(health)))


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=0.5).ok
    except requests.RequestException:
        return False


def _demonstrate(
    config: Config, installation: Installation, supervisor: Supervisor, simulator_url: str, *, wanted: bool
) -> None:
    """On the first run make and send the demonstration; later only let both sides know each other's address."""
    first = wanted and not demo.exists()
    if first:
        password = secrets.token_urlsafe(9)
        installation.update_local(demo_password=password)
        demo.create_people(password)
    webhook_url = f"http://{_reachable(config.web_host)}:{config.web_port}/webhooks/cloud"
    demo.register_number(simulator_url=simulator_url, webhook_url=webhook_url)
    if first:
        _say(f"Importing {demo.CONTACTS_FILE.name}")
        import_id = demo.import_contacts()
        record = demo.wait_for_import(import_id, timeout_s=READY_TIMEOUT_S)
        if record is None:
            fail(f"the import does not finish. The reason is in {installation.log_dir / 'workers.log'}.")
        click.echo(
            f"  {record.row_count} rows: {record.created_count} contacts,"
            f" {record.duplicate_count} repeated, {record.error_count} refused"
        )
        rows = demo.refused_rows(import_id)
        for line, reason in rows[:SHOWN_REFUSED]:
            click.echo(f"    line {line}: {reason}")
        if len(rows) > SHOWN_REFUSED:
            click.echo(f"    and {len(rows) - SHOWN_REFUSED} more, on the page of the import")
        campaign_id = demo.start_campaign()
        installation.update_local(demo_campaign=campaign_id)
        _say(f"Sending the demo campaign ({campaign_id}) through the simulator")
        _watch(campaign_id, supervisor)
        if not supervisor.stop_requested:
            installation.update_local(demo_campaign=None)


def _go_on(installation: Installation, supervisor: Supervisor, *, patience_s: float = PATIENCE_S) -> None:
    """Go on watching the demonstration, once, if the first run was interrupted; other campaigns are on their pages."""
    campaign_id = installation.read_local().get("demo_campaign")
    if not isinstance(campaign_id, int) or supervisor.stop_requested:
        return
    if demo.goes_on(campaign_id):
        _say(f"Going on with the demo campaign ({campaign_id})")
        _watch(campaign_id, supervisor, patience_s=patience_s)
    if not supervisor.stop_requested:
        installation.update_local(demo_campaign=None)


def _watch(campaign_id: int, supervisor: Supervisor, *, patience_s: float = PATIENCE_S) -> None:
    """Show a campaign's progress until it is complete with its last statuses, or nothing moves for a while."""
    view = View()
    settle_until = 0.0
    moved_at, counts = time.monotonic(), None
    while not supervisor.stop_requested:
        shown, zone = read_progress(campaign_id)
        over = shown.status in CAMPAIGN_IS_OVER or shown.status == "paused"
        if over and not settle_until:
            settle_until = time.monotonic() + 8
        if shown.counts != counts:
            moved_at, counts = time.monotonic(), shown.counts
        waits = not over and time.monotonic() - moved_at >= patience_s
        done = over and (time.monotonic() > settle_until or shown.counts["sent"] == 0)
        view.show(line_of(shown, zone=zone), last=done or waits)
        if waits:
            _say("It waits; its page shows how it goes on")
        if done or waits:
            return
        _tell_deaths(supervisor, 0.25)


def _tell_addresses(config: Config, installation: Installation, simulator_url: str | None) -> None:
    url = config.public_url or f"http://{_reachable(config.web_host)}:{config.web_port}"
    password = installation.read_local().get("demo_password")
    click.echo("")
    click.echo(f"  Campaigns   {url}")
    if password:
        click.echo(f"  Sign in     {demo.EMAIL}   {password}")
    else:
        click.echo("  Sign in     with a user of yours: campaign-engine user create --email E --role admin")
    if simulator_url is not None:
        click.echo(f"  Simulator   {simulator_url}")
    click.echo(f"  Logs        {installation.log_dir}")
    click.echo("\nRunning until Ctrl-C.")


def _stay(supervisor: Supervisor) -> None:
    while not supervisor.stop_requested:
        _tell_deaths(supervisor, 60)
    click.echo("Stopping.")


def _tell_deaths(supervisor: Supervisor, timeout_s: float) -> None:
    for event in supervisor.wait(timeout_s):
        if isinstance(event, Died):
            click.echo(f"· {event.name} ended (exit code {event.exit_code}); started again in {event.restart_in_s:g} s")
