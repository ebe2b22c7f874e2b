"""Imports of contacts: the file is checked and stored at once, its rows are written in chunks by a job.

A chunk is one transaction: its contacts, its errors and how far the import has got. A second run goes on after the
last committed chunk, so the job may run twice.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import count, dropwhile, islice
from typing import BinaryIO

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from campaign_engine import following
from campaign_engine.errors import InvalidInput, NotFound
from campaign_engine.logs import get_logger
from campaign_engine.models import ContactImport, ContactList, ImportChunk, ImportedKey, ImportRowError, ImportStatus
from campaign_engine.providers.values import text_of
from campaign_engine.rules.files import contact_file
from campaign_engine.rules.files.contact_file import ContactFileError, FileFormat, Row
from campaign_engine.rules.files.csv_records import EXCERPT_CHARS, BadRow, detect_encoding
from campaign_engine.rules.phone import InvalidPhone, UnknownRegion, parse_phone
from campaign_engine.services.company import audit
from campaign_engine.services.people import contacts
from campaign_engine.services.people.contacts import NewContact

log = get_logger(__name__)

CHUNK_BYTES = 1 << 20
ROWS_PER_TRANSACTION = 2_000


def create(
    session: Session,
    *,
    company_id: int,
    user_id: int | None,
    filename: str,
    stream: BinaryIO,
    list_name: str | None,
    mapping: Mapping[str, str] | None,
    default_region: str,
    max_bytes: int,
) -> ContactImport:
    """Store a file to import, after looking at how it is written; `write_later` has a worker write its rows.

    Side effects: an entry in the audit log.

    Raises:
        InvalidInput: the file, the mapping or the region cannot be used; nothing is stored.
    """
    try:
        parse_phone("+5511900000001", default_region=default_region)
    except UnknownRegion as error:
        raise InvalidInput.field("default_region", str(error)) from error
    record = ContactImport(
        company_id=company_id,
        created_by=user_id,
        filename=text_of(filename, longest=200) or "",  # on Linux it may hold bytes that are no text
        size_bytes=0,
        file_format={},
        default_region=default_region,
    )
    session.add(record)
    session.flush()
    size = 0
    for part, piece in enumerate(iter(lambda: stream.read(CHUNK_BYTES), b"")):
        size += len(piece)
        if size > max_bytes:
            raise InvalidInput.field(
                "file", f"The file is larger than {max_bytes >> 20} MB; split it.", code="file_too_large"
            )
        session.add(ImportChunk(import_id=record.id, part=part, data=piece))
        session.flush()
        session.expire_all()
    record = session.get_one(ContactImport, record.id)
    try:
        encoding = detect_encoding(_chunks(session, record.id)) if size else None
        sample = next(_chunks(session, record.id), b"")[: contact_file.SAMPLE_BYTES]
        found = contact_file.inspect(sample, size=size, mapping=mapping, encoding=encoding)
    except ContactFileError as error:
        raise InvalidInput.field(error.field, error.sentence, code=error.reason_code) from error
    record.size_bytes = size
    record.file_format = found.to_json()
    if list_name is not None:
        record.list_id = contacts.ensure_list(session, company_id=company_id, name=list_name).id
    session.flush()
    audit.record(session, "import.created", company_id=company_id, subject=record.id, filename=record.filename)
    return record


def write_later(session: Session, record: ContactImport) -> None:
    """Let a worker write the rows of an import after the commit."""
    following.note(session, following.Import(record.id))


def get(session: Session, company_id: int, import_id: int) -> ContactImport:
    """Return an import of the company, as it is now; NotFound otherwise."""
    record = session.get(ContactImport, import_id, populate_existing=True)
    if record is None or record.company_id != company_id:
        raise NotFound("import", import_id)
    return record


def errors_of(session: Session, import_id: int, *, limit: int | None = None) -> Iterator[ImportRowError]:
    """Return the refused and repeated rows of an import, in the order of their lines."""
    query = (
        select(ImportRowError)
        .where(ImportRowError.import_id == import_id)
        .order_by(ImportRowError.line, ImportRowError.id)
        .limit(limit)
        .execution_options(yield_per=1000)
    )
    yield from session.scalars(query)


def unfinished(session: Session) -> list[int]:
    """Return the imports that still have rows to write: their job may have been lost."""
    return list(session.scalars(text("SELECT id FROM contact_imports WHERE status IN ('pending', 'running')")))


class Importer:
    """Reads the file of one import and writes it, a transaction's worth of rows at a time.

    Each chunk of the file is read in a transaction of its own, never while rows wait to be written.
    """

    def __init__(self, session: Session, import_id: int, *, rows_per_transaction: int = ROWS_PER_TRANSACTION) -> None:
        record = session.get_one(ContactImport, import_id)
        self._import_id = import_id
        self._rows_per_transaction = rows_per_transaction
        self._bytes_read = 0
        self.line_done = done = record.line_done
        rows = contact_file.read_rows(
            self._counted(_chunks(session, import_id)), FileFormat.from_json(record.file_format)
        )
        self._rows = dropwhile(lambda row: row.line <= done, rows)
        self.row_count = record.row_count

    def write_some(self, session: Session, *, now: datetime) -> bool:
        """Write the next rows in the caller's transaction; False when the import is over.

        Side effects: contacts, list members, error rows, and the import's own counts.
        """
        record = session.get(ContactImport, self._import_id, populate_existing=True, with_for_update=True)
        if record is None or record.status not in (ImportStatus.PENDING, ImportStatus.RUNNING):
            return False
        if record.line_done != self.line_done:
            # Another run of the same job is ahead of us, and will finish.
            return False
        record.status = ImportStatus.RUNNING
        batch = list(islice(self._rows, self._rows_per_transaction))
        if batch:
            self._write(session, record, batch)
            record.line_done = self.line_done = batch[-1].line
            self.row_count = record.row_count
        record.bytes_done = self._bytes_read
        if len(batch) < self._rows_per_transaction:
            record.status = ImportStatus.COMPLETED
            record.finished_at = now
            _drop_what_only_the_job_needs(session, record.id)
            log.info(
                "import.finished",
                import_id=record.id,
                rows=record.row_count,
                created=record.created_count,
                updated=record.updated_count,
                duplicates=record.duplicate_count,
                errors=record.error_count,
            )
        session.flush()
        return record.status == ImportStatus.RUNNING

    def _write(self, session: Session, record: ContactImport, batch: list[Row | BadRow]) -> None:
        errors: list[ImportRowError] = []
        understood: dict[str, tuple[Row, NewContact]] = {}
        repeats: list[tuple[Row, str]] = []  # of the key
        for row in batch:
            if isinstance(row, BadRow):
                errors.append(self._error(row.line, row.reason_code, row.sentence, row.raw_excerpt))
                continue
            try:
                phone = parse_phone(row.phone, default_region=record.default_region)
            except InvalidPhone as error:
                errors.append(self._error(row.line, error.reason, str(error), row.phone))
                continue
            if phone.key in understood:
                repeats.append((row, phone.key))
                continue
            contact = NewContact(
                phone=phone.e164, phone_key=phone.key, name=row.name, variables=row.variables, tags=row.tags
            )
            understood[phone.key] = (row, contact)
        first_lines = {key: row.line for key, (row, _) in understood.items()}
        for key, first_line in self._met_before(session, first_lines).items():
            first_lines[key] = first_line
            repeats.append((understood.pop(key)[0], key))
        for row, key in repeats:
            sentence = f"The same person as in line {first_lines[key]}; the first line counts."
            errors.append(self._error(row.line, "duplicate", sentence, row.phone))
        written = contacts.upsert_many(
            session, company_id=record.company_id, contacts=[contact for _, contact in understood.values()]
        )
        if record.list_id is not None and written.ids:
            contact_list = session.get_one(ContactList, record.list_id)
            contacts.add_to_list(session, contact_list, list(written.ids.values()))
        session.add_all(errors)
        record.row_count += len(batch)
        record.created_count += written.created_count
        record.updated_count += len(written.ids) - written.created_count
        record.duplicate_count += len(repeats)
        record.error_count += len(errors) - len(repeats)

    def _met_before(self, session: Session, lines: Mapping[str, int]) -> dict[str, int]:
        """Store the keys of this batch with their lines; return the first line of each key met before."""
        if not lines:
            return {}
        rows = session.execute(
            text(
                """
                WITH given AS (SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:lines AS bigint[]))
                  AS g(phone_key, line)), noted AS (
                  INSERT INTO contact_import_keys (import_id, phone_key, line)
                  SELECT :import_id, phone_key, line FROM given ON CONFLICT DO NOTHING
                )
                SELECT g.phone_key, k.line AS first_line FROM given g
                JOIN contact_import_keys k ON k.import_id = :import_id AND k.phone_key = g.phone_key
                """
            ),
            {"import_id": self._import_id, "keys": list(lines), "lines": list(lines.values())},
        ).all()
        return {row.phone_key: row.first_line for row in rows}

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._bytes_read += len(chunk)
            yield chunk

    def _error(self, line: int, code: str, sentence: str, excerpt: str) -> ImportRowError:
        return ImportRowError(
            import_id=self._import_id,
            line=line,
            code=str(code),
            reason=sentence,
            excerpt=excerpt.replace("\0", "")[:EXCERPT_CHARS],
        )


def fail(session: Session, import_id: int, *, reason: str, now: datetime) -> None:
    """End an import that cannot go on. What it wrote so far stays, and its counts say how much that is."""
    session.execute(
        text(
            "UPDATE contact_imports SET status = 'failed', failure = :reason, finished_at = :now"
            " WHERE id = :id AND status IN ('pending', 'running')"
        ),
        {"reason": reason, "now": now, "id": import_id},
    )
    _drop_what_only_the_job_needs(session, import_id)


def _drop_what_only_the_job_needs(session: Session, import_id: int) -> None:
    session.execute(delete(ImportChunk).where(ImportChunk.import_id == import_id))
    session.execute(delete(ImportedKey).where(ImportedKey.import_id == import_id))


def _chunks(session: Session, import_id: int) -> Iterator[bytes]:
    """Yield the pieces of the file in order, one at a time."""
    for part in count():
        data = session.scalar(
            select(ImportChunk.data).where(ImportChunk.import_id == import_id, ImportChunk.part == part)
        )
        if data is None:
            return
        yield data
