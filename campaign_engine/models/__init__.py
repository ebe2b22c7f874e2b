"""The tables: mapped columns and invariants, no queries. Services are the only writers."""

from campaign_engine.models.account import Account, AccountStatus
from campaign_engine.models.base import Base
from campaign_engine.models.campaign import Campaign, CampaignAccount, CampaignRecipient
from campaign_engine.models.company import Company
from campaign_engine.models.contact import Contact, ContactList, ListMember, OptOut
from campaign_engine.models.contact_import import ContactImport, ImportChunk, ImportedKey, ImportRowError, ImportStatus
from campaign_engine.models.message import Message
from campaign_engine.models.notification import AuditEntry, Notification
from campaign_engine.models.reply import Reply
from campaign_engine.models.template import Template
from campaign_engine.models.user import ApiToken, Role, User
from campaign_engine.models.webhook_event import WebhookEvent

__all__ = [
    "Account",
    "AccountStatus",
    "ApiToken",
    "AuditEntry",
    "Base",
    "Campaign",
    "CampaignAccount",
    "CampaignRecipient",
    "Company",
    "Contact",
    "ContactImport",
    "ContactList",
    "ImportChunk",
    "ImportRowError",
    "ImportStatus",
    "ImportedKey",
    "ListMember",
    "Message",
    "Notification",
    "OptOut",
    "Reply",
    "Role",
    "Template",
    "User",
    "WebhookEvent",
]
