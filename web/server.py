"""The web process: gunicorn with threads, the application built once before the fork.

There are two processes, because threads share an interpreter, and one slow answer (an export, a question to a provider)
must leave room for the others. Workers check every second that their parent lives, and end when it does not.
"""

import errno
import os
import socket
import sys
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.glogging import Logger as GunicornLogger  # type: ignore[import-untyped]

from campaign_engine.config import Config
from campaign_engine.logs import get_logger
from web.app import create_app

log = get_logger(__name__)

WORKERS = 2
GRACE_S = 2
"""How long requests may take to end after SIGTERM; the whole stop stays under three seconds."""

KEEPALIVE_S = 15
BACKLOG = 512


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: an address or a secret is missing.
        SystemExit: with 1, after one line on standard error, when it cannot listen on the address.
    """
    app = create_app(config)
    listener = _listen(config.web_host, config.web_port)
    log.info("web.started", host=config.web_host, port=config.web_port, pid=os.getpid())
    _Server(app, listener, config).run()


def processes_and_threads(config: Config) -> tuple[int, int]:
    """Return how the configured threads are spread over processes."""
    processes = min(WORKERS, config.web_threads)
    return processes, -(-config.web_threads // processes)


class _Logger(GunicornLogger):  # type: ignore[misc]
    """Leaves gunicorn's lines to the handlers of the process."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002
        """Keep the handlers as they are; gunicorn's lines about its own life are of no use to an operator."""
        self.error_log.propagate = True
        self.error_log.setLevel("WARNING")
        self.access_log.propagate = False


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, set up from our configuration alone."""

    def __init__(self, app: Flask, listener: socket.socket, config: Config) -> None:
        self._app = app
        self._listener = listener.detach()  # gunicorn closes it
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        processes, threads = processes_and_threads(self._config)
        settings = {
            "bind": f"fd://{self._listener}",
            "worker_class": "gthread",
            "workers": processes,
            "threads": threads,
            "preload_app": True,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": GRACE_S,
            "timeout": 60,  # seconds without a sign of life from a worker's main thread
            "backlog": BACKLOG,
            "control_socket_disable": True,
            "logger_class": _Logger,
            "proc_name": "campaign-engine web",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Return the application, built before the fork."""
        return self._app


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket: gunicorn would try a taken port for five seconds and report it in eleven lines."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        sys.stderr.write(f"web: {_sentence(error, host, port)}\n")
        raise SystemExit(1) from error
    return listener


def _sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is already in use; stop what uses it or set WEB_PORT"
    if error.errno == errno.EACCES:
        return f"port {port} may not be opened by this user; set WEB_PORT to 1024 or more"
    return f"cannot listen on {host}:{port}: {error.strerror or error}; set WEB_HOST and WEB_PORT"
