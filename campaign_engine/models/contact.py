"""Contacts, the lists they are on, and the people who asked not to be written to."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campaign_engine.models.base import Base, Identified, Timestamped


class Contact(Identified, Timestamped, Base):
    """A person with a number. Two spellings that reach the same person share `phone_key`, which is unique.

    `phone` is E.164 with the plus sign; `wa_id` is the alias that the provider answered with.
    """

    __tablename__ = "contacts"
    __table_args__ = (
        Index("uq_contacts_phone_key", "company_id", "phone_key", unique=True),
        Index("ix_contacts_wa_id", "company_id", "wa_id", postgresql_where=text("wa_id IS NOT NULL")),
        Index("ix_contacts_tags", "tags", postgresql_using="gin"),
    )

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    phone: Mapped[str]
    phone_key: Mapped[str]
    wa_id: Mapped[str | None]
    name: Mapped[str | None]
    variables: Mapped[dict[str, str]] = mapped_column(server_default="{}")
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")


class ContactList(Identified, Timestamped, Base):
    """A named set of contacts."""

    __tablename__ = "contact_lists"
    __table_args__ = (Index("uq_contact_lists_name", "company_id", "name", unique=True),)

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"))
    name: Mapped[str]


class ListMember(Base):
    """A contact on a list."""

    __tablename__ = "contact_list_members"

    list_id: Mapped[int] = mapped_column(ForeignKey("contact_lists.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True, index=True)


class OptOut(Base):
    """A person who must not be written to, by equivalence key, so that it outlives the contact and every import.

    `kind`: `opted_out` by the person, `blocked` by the company (blocklist), `held` because a reply may have meant it
    and somebody of the company has to decide. `source` is where it came from (`api`, `reply`, `button`, ...).
    """

    __tablename__ = "opt_outs"
    __table_args__ = (CheckConstraint("kind IN ('opted_out', 'blocked', 'held')", name="kind"),)

    company_id: Mapped[int] = mapped_column(ForeignKey("companies.id"), primary_key=True)
    phone_key: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(server_default="opted_out")
    source: Mapped[str]
    note: Mapped[str | None]
    campaign_id: Mapped[int | None] = mapped_column(ForeignKey("campaigns.id", ondelete="SET NULL"))
    opted_out_at: Mapped[datetime]
