"""The page for a person: numbers and counts, refreshed every two seconds without a script."""

from collections.abc import Mapping
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
    rows = "".join(
        f"<tr><td>+{escape(number.display_phone_number)}</td><td>{escape(number.verified_name)}</td>"
        f"<td><code>{escape(number.phone_number_id)}</code></td>"
        f"<td>{escape(number.status)}, {escape(number.quality_rating)}</td>"
        f"<td><code>{escape(number.webhook_url or 'none')}</code></td>"
        f'<td class="count">{simulation.ledger.use_of(number.phone_number_id).accepted:,}</td></tr>'
        for number in simulation.numbers
    )
    if not rows:
        return "<h2>Numbers</h2><p>None is registered yet: <code>POST /simulator/numbers</code>.</p>"
    return (
        '<h2>Numbers</h2><div class="table"><table><thead><tr>'
        '<th scope="col">Number</th><th scope="col">Name</th>'
        '<th scope="col">Phone number id</th><th scope="col">State</th><th scope="col">Webhook</th>'
        f'<th scope="col" class="count">Accepted</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _instances(simulation: Simulation) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(instance.instance)}</code></td><td>{escape(instance.state)}</td>"
        f"<td>{escape(instance.channel)}</td><td><code>{escape(instance.webhook_url or 'none')}</code></td>"
        f'<td class="count">{simulation.ledger.use_of(instance.instance).accepted:,}</td></tr>'
        for instance in simulation.instances
    )
    if not rows:
        return ""
    return (
        '<h2>Instances of Evolution API</h2><div class="table"><table><thead><tr>'
        '<th scope="col">Instance</th><th scope="col">Session</th>'
        '<th scope="col">Channel</th><th scope="col">Webhook</th>'
        f'<th scope="col" class="count">Accepted</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _refusals(refused: Mapping[str, int]) -> str:
    if not refused:
        return ""
    rows = "".join(
        f'<tr><td><code>{escape(code)}</code></td><td class="count">{count:,}</td></tr>'
        for code, count in refused.items()
    )
    return (
        '<h2>Refused, by code</h2><div class="table"><table><thead><tr><th scope="col">Code</th>'
        f'<th scope="col" class="count">Requests</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _repeats(title: str, name: str, repeats: Mapping[str, Any]) -> str:
    if not repeats["count"]:
        return ""
    rows = "".join(
        f'<tr><td><code>{escape(each[name])}</code></td><td class="count">{each["messages"]:,}</td></tr>'
        for each in repeats["listed"]
    )
    return (
        f'<h2>{title}</h2><div class="table"><table><thead><tr><th scope="col">{name}</th>'
        f'<th scope="col" class="count">Messages</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _time(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'
