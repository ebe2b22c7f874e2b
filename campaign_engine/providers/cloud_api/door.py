"""The door that Meta posts to: each body is signed, and a challenge comes first (docs/wire.md, Webhook signature)."""

import hashlib
import hmac
from collections.abc import Sequence

from campaign_engine.errors import NotAllowed, NotAuthenticated
from campaign_engine.providers.cloud_api.webhooks import numbers_in
from campaign_engine.providers.doors import Door, Knock, KnownAccounts
from campaign_engine.providers.values import object_in


def signature_of(secret: str, body: bytes) -> str:
    """Return the `X-Hub-Signature-256` that Meta sends for `body`: HMAC-SHA256 over the raw bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def secrets_equal(one: str, other: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _senders(knock: Knock, accounts: KnownAccounts) -> Sequence[int]:
    """Return the accounts named in a body whose app secret signed it.

    A body may name numbers of several companies. It speaks only for those whose own secret made the signature, so
    that nobody can report on another company's messages. A body about templates or the business account names no
    number: then any known secret will do.

    Raises:
        NotAuthenticated: no secret of ours made the signature.
    """
    signature = knock.headers.get("x-hub-signature-256", "")
    numbers = numbers_in(object_in(knock.body) or {})
    verdicts: dict[str, bool] = {}
    signed: list[int] = []
    for account_id, secret in accounts.secrets("app_secret", numbers=numbers):
        if secret not in verdicts:
            verdicts[secret] = secrets_equal(signature_of(secret, knock.body), signature)
        if verdicts[secret]:
            signed.append(account_id)
    if not signed:
        raise NotAuthenticated("The signature is of no account of ours.", code="signature_unknown")
    return signed


def _greet(knock: Knock, accounts: KnownAccounts) -> str:
    """Return Meta's challenge when it knows a verify token of ours.

    Raises:
        NotAllowed: it does not.
    """
    token = knock.query.get("hub.verify_token", "")
    known = any(secrets_equal(secret, token) for _, secret in accounts.secrets("verify_token"))
    if knock.query.get("hub.mode") != "subscribe" or not known:
        raise NotAllowed("No account has this verify token.", code="verify_token_unknown")
    return knock.query.get("hub.challenge", "")


DOOR = Door(
    path="cloud",
    most_bytes=3 << 20,  # docs/wire.md, Webhook delivery
    known_by="app_secret",
    senders=_senders,
    greet=_greet,
)
