"""CSV files that are written while the client reads them, so that a large one needs neither memory nor patience."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Response, stream_with_context
from sqlalchemy.orm import Session

from web.transactions import transaction

ROWS_A_PIECE = 500

# Cells that a spreadsheet would run as it opens the file; plain numbers, even telephone numbers, are harmless.
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")


def csv_download(filename: str, header: Sequence[str], rows: Callable[[Session], Iterable[Sequence[Any]]]) -> Response:
    """Return a CSV file of `rows(session)`, which is read in a transaction of its own while it is sent."""

    def pieces() -> Iterator[str]:
        yield _written([header])
        with transaction() as session:
            waiting = iter(rows(session))
            while some := list(islice(waiting, ROWS_A_PIECE)):
                yield _written(some)

    return Response(
        stream_with_context(pieces()),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


def cell(value: Any) -> str:
    """Return a value as a cell; what looks like a formula is quoted with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text) else text


def _written(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([cell(value) for value in row] for row in rows)
    return buffer.getvalue()
