"""Reading a whole file of contacts, and saying in short what came out."""

from campaign_engine.rules.files.contact_file import SAMPLE_BYTES, Row, inspect, read_rows
from campaign_engine.rules.files.csv_records import BadRow, detect_encoding


def read(content: bytes | str, mapping: dict[str, str] | None = None) -> list[Row | BadRow]:
    content = content.encode() if isinstance(content, str) else content
    encoding = detect_encoding([content])
    fmt = inspect(content[:SAMPLE_BYTES], size=len(content), mapping=mapping, encoding=encoding)
    return list(read_rows([content], fmt))


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def outline(rows: list[Row | BadRow]) -> list[tuple[int, str]]:
    """Each row as its line and its phone, or its line and ! with what is wrong with it."""
    return [(row.line, row.phone if isinstance(row, Row) else f"!{row.reason_code}") for row in rows]
