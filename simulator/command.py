"""The command line of the simulator: `python -m simulator`."""

import asyncio
import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from simulator import checks
from simulator.behaviour import SETTINGS, Behaviour, Check, Setting
from simulator.errors import InvalidField, StateDirDamaged, StateDirInUse

_PR_SET_PDEATHSIG = 1


class _Parts(click.ParamType[Any]):
    """A text of several parts; `wanted` says how it should look."""

    def __init__(self, name: str, read: Callable[[str], object], wanted: str) -> None:
        self.name = name
        self._read = read
        self._wanted = wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._read(value)
        except ValueError:
            self.fail(f"{value!r} is not {self._wanted}.", param, ctx)


def _milliseconds(text: str) -> float | list[float]:
    times = [float(part) for part in text.split("-")]
    return times[0] if len(times) == 1 else times


def _codes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _rule(text: str) -> tuple[str, str]:
    suffix, rule = text.split("=", 1)
    return suffix, rule


_TYPES: dict[Check, click.ParamType[Any]] = {
    checks.share: click.FLOAT,
    checks.number: click.FLOAT,
    checks.count: click.INT,
    checks.positive: click.INT,
    checks.code: click.INT,
    checks.range_ms: _Parts("MS|MS-MS", _milliseconds, "a time in milliseconds, nor a range like 500-2000"),
    checks.codes: _Parts("CODE,...", _codes, "a list of error codes like 131026,131049"),
    checks.rules: _Parts("SUFFIX=RULE", _rule, "like 0001=fail:131026"),
}


def _option(setting: Setting) -> Callable[[Any], Any]:
    """Return the option of one setting; an option that is not given leaves the default of the setting."""
    name = setting.name.replace("_", "-")
    return click.option(
        f"--{name}/--no-{name}" if setting.check is checks.flag else f"--{name}",
        setting.name,
        type=_TYPES.get(setting.check),
        default=None,
        multiple=setting.check is checks.rules,
        help=f"{setting.explanation}{_shown(setting)}",
    )


def _shown(setting: Setting) -> str:
    """Return the default as the option would take it, for the help text."""
    default = setting.default
    if setting.check is checks.rules:
        return ""
    if isinstance(default, bool):
        return f"  [default: {'on' if default else 'off'}]"
    if isinstance(default, tuple):
        separator = "-" if setting.check is checks.range_ms else ","
        return f"  [default: {separator.join(_plain(each) for each in default)}]"
    return f"  [default: {_plain(default)}]" if isinstance(default, (int, float)) or default else ""


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _behaviour_options(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(SETTINGS.values()):
        command = _option(setting)(command)
    return command


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. There is no password.")
@click.option("--port", type=click.IntRange(0, 65535), default=8800, show_default=True, help="0 takes a free one.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep numbers and ledger here, and go on with them after a restart.",
)
@click.option("--parent-dies", is_flag=True, help="Stop when the process that started this one dies (Linux).")
@_behaviour_options
def simulator(host: str, port: int, state_dir: Path | None, parent_dies: bool, **settings: Any) -> None:
    """Pretend to be WhatsApp: Meta's Cloud API and Evolution API on one port, with webhooks, limits and faults.

    Every setting can also be changed while it runs, with PATCH /simulator/behaviour.
    """
    # Imported late: the command line of the engine imports this module and has no need of a web server.
    from simulator.server import serve

    if parent_dies:
        _die_with_parent()
    settings["number_rules"] = dict(settings["number_rules"]) or None
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        behaviour = Behaviour().with_changes(given)
    except InvalidField as invalid:
        raise click.UsageError(f"--{invalid.field.replace('_', '-')} {invalid.problem}") from None
    try:
        asyncio.run(serve(host=host, port=port, behaviour=behaviour, state_dir=state_dir, announce=_announce))
    except (StateDirInUse, StateDirDamaged) as unusable:
        _refuse(str(unusable))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _refuse(f"port {port} on {host} is already in use; choose another with --port")
        _refuse(f"cannot start: {error}")


def _announce(address: str) -> None:
    click.echo(f"WhatsApp simulator at {address}")


def _refuse(reason: str) -> NoReturn:
    click.echo(f"simulator: {reason}", err=True)
    sys.exit(1)


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends. Does nothing where that cannot be asked."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        # It died between the two calls, and nobody will tell us any more.
        sys.exit(0)
