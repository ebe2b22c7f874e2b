"""How many statements a process sends to PostgreSQL, counted by the server's own log.

The embedded server has no `pg_stat_statements`. Its log names each statement with the port it came from, and the
ports a process holds say whose it was. Writing a few hundred lines a second costs the server next to nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

LOG_SETTINGS = MappingProxyType(
    {"log_statement": "all", "log_parameter_max_length": "0", "log_line_prefix": "%m [%p] %r "}
)

_STATEMENT = re.compile(rb"\((\d+)\) LOG:  (?:statement|execute [^:]+): *(\S*)")
_BOUNDARIES = frozenset({b"BEGIN", b"COMMIT", b"ROLLBACK", b""})
"""The empty statement is how a connection pool asks whether the server is there."""


@dataclass(frozen=True, slots=True)
class Statements:
    """What some connections sent: statements, and beside them what begins and ends their transactions."""

    statements: int
    boundaries: int


def position(log: Path) -> int:
    """Return where the log ends now."""
    return log.stat().st_size


def count(log: Path, *, since: int, through: int, ports: Iterable[int]) -> Statements:
    """Count what was logged between two positions for connections from these ports."""
    wanted = {str(port).encode() for port in ports}
    with log.open("rb") as file:
        file.seek(since)
        written = file.read(through - since)
    first_words = Counter(word.upper().rstrip(b";") for port, word in _STATEMENT.findall(written) if port in wanted)
    boundaries = sum(first_words[word] for word in _BOUNDARIES)
    return Statements(first_words.total() - boundaries, boundaries)
