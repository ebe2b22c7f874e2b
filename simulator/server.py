"""The HTTP server: the wires, the control API and the page on one port, until it is told to stop."""

import asyncio
import gc
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from simulator import page
from simulator.behaviour import Behaviour
from simulator.cloud import webhooks as cloud_webhooks
from simulator.cloud.api import CloudApi
from simulator.control_api import ControlApi
from simulator.delivering.outbox import SignedRequest, Update
from simulator.evolution import webhooks as evolution_webhooks
from simulator.evolution.api import EvolutionApi
from simulator.simulation import Simulation
from simulator.state.instances import Instance
from simulator.state.journal import Journal, NoJournal
from simulator.state.lines import Line
from simulator.state.numbers import Number

# A stop must be over within one second; this is what is left of it here.
_SHUTDOWN_TIMEOUT_S = 0.1
_LARGEST_BODY = 1024 * 1024


def application(simulation: Simulation) -> web.Application:
    """Return the web application of a simulation. Each wire is a module; the next adds its routes here."""
    app = web.Application(client_max_size=_LARGEST_BODY)
    app.add_routes(CloudApi(simulation).routes())
    app.add_routes(EvolutionApi(simulation).routes())
    app.add_routes(ControlApi(simulation).routes())

    async def show_page(_request: web.Request) -> web.Response:
        html = page.render(simulation).encode("utf-8", "replace")
        return web.Response(body=html, content_type="text/html", charset="utf-8")

    app.router.add_get("/", show_page)
    return app


async def serve(
    *,
    host: str,
    port: int,
    behaviour: Behaviour,
    state_dir: Path | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT. `announce` is given the address once the port is open.

    Raises OSError (port taken, directory unusable), StateDirInUse and StateDirDamaged.
    """
    # The oldest generation of garbage is the ledger, which only grows. A walk over it took 0.3 s at 300,000 messages,
    # and no arrival was noted in that time.
    gc.set_threshold(2_000, 10, 1_000_000_000)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    journal = NoJournal() if state_dir is None else Journal(state_dir)
    simulation = Simulation(behaviour=behaviour, journal=journal, pack=_pack)
    runner = web.AppRunner(
        application(simulation), access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S
    )
    try:
        simulation.restore()
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        announce(site_address(runner, host))
        await stop.wait()
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), timeout=2 * _SHUTDOWN_TIMEOUT_S)
        await simulation.close()


def _pack(line: Line, updates: Sequence[Update]) -> Iterable[tuple[SignedRequest, Sequence[Update]]]:
    """Put updates of one line into webhooks of its wire."""
    if isinstance(line, Number):
        return [(cloud_webhooks.sign(line, updates), updates)]
    if isinstance(line, Instance):
        return evolution_webhooks.written(line, updates)
    raise TypeError(f"{line!r} has no wire")


def site_address(runner: web.AppRunner, host: str) -> str:
    """Return the address that was opened, with the port the system chose when 0 was asked for."""
    port = runner.addresses[0][1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
