"""The doors that Evolution API posts to: it signs nothing, so each account has an address that nobody else knows."""

from collections.abc import Sequence

from campaign_engine.errors import NotAuthenticated
from campaign_engine.providers.doors import KEY_FIELD, Door, Knock, KnownAccounts


def _senders(knock: Knock, accounts: KnownAccounts) -> Sequence[int]:
    found = accounts.with_key(knock.key)
    if not found:
        raise NotAuthenticated("This address is of no account of ours.", code="webhook_key_unknown")
    return found


DOOR = Door(
    path="evolution",
    most_bytes=8 << 20,  # with `base64` off, as we ask for, it is a few kilobytes
    known_by=KEY_FIELD,
    senders=_senders,
)
