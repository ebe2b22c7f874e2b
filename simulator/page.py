"""The page for a person: numbers and counts, refreshed every two seconds without a script."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from simulator.delivering.outbox import DeliveryCounts
from simulator.simulation import Simulation

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; margin: 0; }
.tiles div { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; }
.tiles div { padding: .6rem .8rem; }
dt { font-size: .85rem; } dd { margin: 0; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); }
td.count, th.count { text-align: right; font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; }
"""


def render(simulation: Simulation) -> str:
    """Return the page as HTML; every value that came from outside is escaped."""
    summary: dict[str, Any] = simulation.ledger.summary()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="2">
<title>WhatsApp simulator</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>WhatsApp simulator</h1>
<p>It answers like Meta's Cloud API and like Evolution API, and delivers nothing to anybody. Settings:
<a href="/simulator/behaviour">behaviour</a>. Messages: <a href="/simulator/ledger">ledger</a>.
Counts: <a href="/simulator/summary">summary</a>.</p>
{_counts(summary, simulation.delivery.counts)}
{_numbers(simulation)}
{_instances(simulation)}
{_refusals(summary["refused"])}
{_repeats("Recipients who got more than one message", "to_key", summary["repeated_recipients"])}
{_repeats("Callback data seen more than once", "callback_data", summary["repeated_callback_data"])}
</main>
</body>
</html>
"""


def _counts(summary: Mapping[str, Any], webhooks: DeliveryCounts) -> str:
    tiles = {
        "Requests": summary["requests"],
        "Accepted": summary["accepted"],
        "Refused": sum(summary["refused"].values()),
        "Recipients": summary["unique_recipients"],
        "Got more than one": summary["repeated_recipients"]["count"],
        "Answers lost": summary["answers_lost"],
        "Updates sent": webhooks.sent,
        "Updates pending": webhooks.pending,
        "Updates given up": webhooks.failed,
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{value:,}</dd></div>" for name, value in tiles.items())
    times = ""
    if summary["first_at"] is not None:
        times = f"<p>First message {_time(summary['first_at'])}, last {_time(summary['last_at'])}.</p>"
    return f'<h2>So far</h2><dl class="tiles">{cells}</dl>{times}'


def _numbers(simulation: Simulation) -> str:
    rows = [
        (
            f"+{escape(number.display_phone_number)}",
            escape(number.verified_name),
            f"<code>{escape(number.phone_number_id)}</code>",
            f"{escape(number.status)}, {escape(number.quality_rating)}",
            f"<code>{escape(number.webhook_url or 'none')}</code>",
            simulation.ledger.by_number[number.phone_number_id].accepted,
        )
        for number in simulation.numbers
    ]
    if not rows:
        return "<h2>Numbers</h2><p>None is registered yet: <code>POST /simulator/numbers</code>.</p>"
    return _table("Numbers", ("Number", "Name", "Phone number id", "State", "Webhook", "Accepted"), rows)


def _instances(simulation: Simulation) -> str:
    rows = [
        (
            f"<code>{escape(instance.instance)}</code>",
            escape(instance.state),
            escape(instance.channel),
            f"<code>{escape(instance.webhook_url or 'none')}</code>",
            simulation.ledger.by_number[instance.instance].accepted,
        )
        for instance in simulation.instances
    ]
    return _table("Instances of Evolution API", ("Instance", "Session", "Channel", "Webhook", "Accepted"), rows)


def _refusals(refused: Mapping[str, int]) -> str:
    rows = [(f"<code>{escape(code)}</code>", count) for code, count in refused.items()]
    return _table("Refused, by code", ("Code", "Requests"), rows)


def _repeats(title: str, name: str, repeats: Mapping[str, Any]) -> str:
    rows = [(f"<code>{escape(each[name])}</code>", each["messages"]) for each in repeats["listed"]]
    return _table(title, (name, "Messages"), rows)


def _table(title: str, columns: Sequence[str], rows: Iterable[tuple[str | int, ...]]) -> str:
    """Return a table of cells that are HTML already, the last one of a row a count; nothing without rows."""
    lines = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + f'<td class="count">{count:,}</td></tr>'
        for *cells, count in rows
    )
    if not lines:
        return ""
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns[:-1])
    heads += f'<th scope="col" class="count">{columns[-1]}</th>'
    return (
        f'<h2>{title}</h2><div class="table"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _time(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'
