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

from simulator.behaviour import SETTINGS, Behaviour, Kind, Setting
from simulator.errors import InvalidField, StateDirDamaged, StateDirInUse

_PR_SET_PDEATHSIG = 1


class _Milliseconds(click.ParamType[Any]):
    """One time or a range: `500`, or `500-2000`."""

    name = "MS|MS-MS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            times = [float(part) for part in str(value).split("-")]
        except ValueError:
            self.fail(f"{value!r} is not a time in milliseconds, nor a range like 500-2000.", param, ctx)
        return times[0] if len(times) == 1 else times


class _Codes(click.ParamType[Any]):
    """Error codes with commas between them: `131026,131049`."""

    name = "CODE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of error codes like 131026,131049.", param, ctx)


class _Rule(click.ParamType[Any]):
    """A rule for the recipients with this ending: `0001=fail:131026`."""

    name = "SUFFIX=RULE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        suffix, separator, rule = str(value).partition("=")
        if not separator:
            self.fail(f"{value!r} is not like 0001=fail:131026.", param, ctx)
        return suffix, rule


def _option(setting: Setting) -> Callable[[Any], Any]:
    """Return the option of one setting; an option that is not given leaves the default of the setting."""
    flag = "--" + setting.name.replace("_", "-")
    kinds: dict[Kind, Any] = {
        Kind.SHARE: click.FLOAT,
        Kind.AMOUNT: click.FLOAT,
        Kind.COUNT: click.INT,
        Kind.POSITIVE: click.INT,
        Kind.CODE: click.INT,
        Kind.RANGE_MS: _Milliseconds(),
        Kind.CODES: _Codes(),
        Kind.RULES: _Rule(),
    }
    if setting.kind is Kind.FLAG:
        return click.option(
            f"{flag}/--no-{flag[2:]}",
            setting.name,
            default=None,
            help=f"{setting.explanation}{_shown(setting)}",
        )
    return click.option(
        flag,
        setting.name,
        type=kinds.get(setting.kind, click.STRING),
        default=None,
        multiple=setting.kind is Kind.RULES,
        help=f"{setting.explanation}{_shown(setting)}",
    )


def _shown(setting: Setting) -> str:
    """Return the default as the option would take it, for the help text."""
    default = setting.default
    if setting.kind is Kind.RULES:
        return ""
    if isinstance(default, bool):
        return f"  [default: {'on' if default else 'off'}]"
    if isinstance(default, tuple):
        separator = "-" if setting.kind is Kind.RANGE_MS else ","
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
