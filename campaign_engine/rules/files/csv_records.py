"""A CSV file of any origin and size, as records: its encoding, its lines, its quotation marks.

The csv module does the parsing, but an open quotation mark may not swallow the rest of the file. `contact_file.py`
decides what the cells mean.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_FIELD_CHARS: Final = 10_000  # more than twice the longest message
MAX_RECORD_CHARS: Final = 64 * 1024  # stays below csv.field_size_limit(), 131,072
EXCERPT_CHARS: Final = 200

_SENTENCES: Final = {
    "bad_quotes": 'The quotation marks of the row do not match: write " inside a quoted cell as "".',
    "unclosed_quote": "A quotation mark is opened in this row and not closed.",
    "row_too_long": f"The row is longer than {MAX_RECORD_CHARS} characters.",
    "field_too_long": f"A cell of the row is longer than {MAX_FIELD_CHARS} characters.",
    "nul_character": "The row contains a NUL character.",
    "undecodable": "The row contains characters that cannot be read: save the file as CSV UTF-8.",
}

_BOMS: Final = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NOT_IN_CP1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be read. `raw_excerpt` is its first 200 characters, without NUL: not for logs."""

    line: int
    reason_code: str
    sentence: str
    raw_excerpt: str


class Record(NamedTuple):
    """The cells of a record as they stand, and its text. `line` is where it starts, counted from 1."""

    line: int
    cells: list[str]
    lines: list[str]


def detect_encoding(chunks: Iterable[bytes], *, complete: bool = True) -> str:
    """Return the codec of a whole file: utf-8, utf-8-sig, utf-16, cp1252 or latin-1; memory stays constant.

    A byte order mark decides. Else it is UTF-8 unless as many bytes break its rules as characters obey them,
    so that one damaged row does not turn the names of all others into "JoÃ£o"; else Windows-1252, or Latin-1
    when a byte is used that Windows-1252 leaves open. Chunks that are not `complete` may end inside a character.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    head = b""
    obeying = breaking = 0
    is_cp1252 = True
    for chunk, is_end in _with_end(chunks):
        if len(head) < 3:
            head += chunk[:3]
            for bom, codec in _BOMS.items():
                if head.startswith(bom):
                    return codec
        text = decoder.decode(chunk, is_end and complete)
        if not text.isascii():
            replaced = text.count("\ufffd")
            breaking += replaced
            obeying += len(text) - len(text.encode("ascii", "ignore")) - replaced
        is_cp1252 = is_cp1252 and not _NOT_IN_CP1252.search(chunk)
    if not breaking or obeying > breaking:
        return "utf-8"
    return "cp1252" if is_cp1252 else "latin-1"


def lines_of(chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Yield the lines of a CRLF, CR or LF file, each with a line feed, cut off at the longest length of a record."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    longest = MAX_RECORD_CHARS + 1
    pending = ""
    for chunk, is_end in _with_end(chunks):
        first, *others = decoder.decode(chunk, is_end).split("\n")
        pending = (pending + first)[:longest]
        for line in others:
            yield pending + "\n"
            pending = line[:longest]
    if pending:
        yield pending


def records(lines: Iterable[str], delimiter: str, first_line: int) -> Iterator[Record | BadRow]:
    """Yield every record of the lines, the first of which is number `first_line`; a broken one costs only itself."""
    feed = _LineFeed(lines, first_line)
    reader = csv.reader(feed, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        try:
            record = Record(feed.line, next(reader), feed.taken)
            if feed.chars > MAX_FIELD_CHARS and any(len(cell) > MAX_FIELD_CHARS for cell in record.cells):
                raise _Broken("field_too_long")
        except StopIteration:
            return
        except (csv.Error, _Broken) as failure:
            yield _refused(feed.line, feed.taken[:1], _reason(failure, feed))
            feed.reject()
        else:
            fault = _fault_in(record)
            yield _refused(record.line, record.lines, fault) if fault else record
            feed.accept()


def bad_row(line: int, lines: Sequence[str], *, reason_code: str, sentence: str) -> BadRow:
    """Return the refusal of a record that starts at `line` and has these lines."""
    excerpt = "".join(lines)[:EXCERPT_CHARS].rstrip("\n").replace("\0", "\ufffd")  # PostgreSQL takes no NUL
    return BadRow(line, reason_code, sentence, excerpt)


def _refused(line: int, lines: Sequence[str], reason_code: str) -> BadRow:
    return bad_row(line, lines, reason_code=reason_code, sentence=_SENTENCES[reason_code])


class _Broken(Exception):
    def __init__(self, reason_code: str) -> None:
        self.reason_code = reason_code


class _LineFeed:
    """Feed lines to csv.reader and keep those of the current record, so that they can be read again.

    The next `_alone` lines were swallowed by a broken record; each must be a record by itself. So no line is read more
    than twice, whatever the file.
    """

    def __init__(self, lines: Iterable[str], line: int) -> None:
        self._lines = iter(lines)
        self._again: deque[str] = deque()
        self._alone = 0
        self.line = line
        self.taken: list[str] = []
        self.chars = 0
        self.is_at_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.taken and self._alone:
            raise _Broken("unclosed_quote")
        try:
            line = self._again.popleft() if self._again else next(self._lines)
        except StopIteration:
            self.is_at_end = True
            raise
        self.taken.append(line)
        self.chars += len(line)
        if self.chars > MAX_RECORD_CHARS:
            raise _Broken("unclosed_quote" if len(self.taken) > 1 else "row_too_long")
        return line

    def accept(self) -> None:
        """Go on behind the record."""
        self._go_on(len(self.taken))

    def reject(self) -> None:
        """Go on behind the record's first line; the line that broke it may begin a record of many lines."""
        swallowed = self.taken[1:]
        last_is_alone = self.is_at_end
        self._go_on(1)
        if swallowed:
            self._again.extendleft(reversed(swallowed))
            self._alone = len(swallowed) if last_is_alone else len(swallowed) - 1

    def _go_on(self, line_count: int) -> None:
        self.line += line_count
        self._alone = max(0, self._alone - 1)
        self.taken = []
        self.chars = 0
        self.is_at_end = False


def _reason(failure: csv.Error | _Broken, feed: _LineFeed) -> str:
    if isinstance(failure, _Broken):
        return failure.reason_code
    return "unclosed_quote" if feed.is_at_end else "bad_quotes"


def _fault_in(record: Record) -> str | None:
    for line in record.lines:
        if "\0" in line:
            return "nul_character"
        if "\ufffd" in line:
            return "undecodable"
    return None


def _with_end(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for chunk in chunks:
        yield chunk, False
    yield b"", True
