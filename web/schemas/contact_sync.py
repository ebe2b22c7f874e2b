"""Contacts out of the phone of an account."""

from marshmallow import fields

from campaign_engine.services.people.contacts import MAX_LIST_NAME_CHARS
from web.schemas.base import Schema
from web.schemas.fields import Id, Name


class ContactSyncRequestSchema(Schema):
    """Where the people of an address book go."""

    list = Name(
        max_chars=MAX_LIST_NAME_CHARS,
        metadata={"description": "The list they are put on; by default one named like the account."},
    )


class ContactSyncSchema(Schema):
    """What has been asked for; the list fills in the background."""

    account_id = Id()
    list_id = Id()
    list = fields.String()
