"""An import of contacts from a file: the file itself, how far it has got, and the rows that were refused."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.json_types import Json
from campaign_engine.models.base import Base, Identified, Timestamped


class ImportStatus(StrEnum):
    """The life of an import."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class ContactImport(Identified, Timestamped, Base):
    """One file. `line_done` is the last line whose effect is committed, so a second run goes on after it.

    Counts: `row_count` read so far, of which `created_count` new contacts, `updated_count` known ones,
    `duplicate_count` repeats within the file, `error_count` refused.
    """

    __tablename__ = "contact_imports"
    __table_args__ = (CheckConstraint("status IN ('pending', 'running', 'completed', 'failed')", name="status"),)

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"), index=True)
    created_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    list_id: Mapped[int | None] = mapped_column(ForeignKey("contact_lists.id", ondelete="SET NULL"))
    filename: Mapped[str]
    size_bytes: Mapped[int]
    file_format: Mapped[Json]
    default_region: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=ImportStatus.PENDING)
    failure: Mapped[str | None]
    line_done: Mapped[int] = mapped_column(server_default="0")
    bytes_done: Mapped[int] = mapped_column(server_default="0")
    row_count: Mapped[int] = mapped_column(server_default="0")
    created_count: Mapped[int] = mapped_column(server_default="0")
    updated_count: Mapped[int] = mapped_column(server_default="0")
    duplicate_count: Mapped[int] = mapped_column(server_default="0")
    error_count: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]


class ImportChunk(Base):
    """A piece of the uploaded file, 1 MiB or less; the pieces are dropped when the import is over."""

    __tablename__ = "contact_import_chunks"

    import_id: Mapped[int] = mapped_column(ForeignKey("contact_imports.id", ondelete="CASCADE"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class ImportRowError(Identified, Base):
    """A refused or repeated row, with the reason a person can act on."""

    __tablename__ = "contact_import_errors"
    __table_args__ = (Index("ix_contact_import_errors_line", "import_id", "line"),)

    import_id: Mapped[int] = mapped_column(ForeignKey("contact_imports.id", ondelete="CASCADE"))
    line: Mapped[int]
    code: Mapped[str]
    reason: Mapped[str]
    excerpt: Mapped[str]


class ImportedKey(Base):
    """The equivalence keys an import has already met, by which it finds repeats within the file."""

    __tablename__ = "contact_import_keys"

    import_id: Mapped[int] = mapped_column(ForeignKey("contact_imports.id", ondelete="CASCADE"), primary_key=True)
    phone_key: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[int]
