"""Webhooks of providers: checked, stored as they came, answered at once; applied later by `delivery-events`.

There is no session, no CSRF token and no limit here: the signature says who speaks, or for Evolution API, which signs
nothing, the unguessable end of the address.
"""

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.config import Config
from campaign_engine.db import transaction
from campaign_engine.errors import NotAllowed, NotAuthenticated
from campaign_engine.logs import get_logger
from campaign_engine.models import Account
from campaign_engine.services.accounts import accounts
from campaign_engine.services.webhooks import deliveries
from jobs.enqueueing import enqueue_delivery_events
from web.bodies import MEBIBYTE, body_limit, whole_body
from web.hints import hint
from web.runtime import runtime

log = get_logger(__name__)

_KEYED = "/webhooks/evolution/"

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")


def cloud_bytes(config: Config) -> int:  # noqa: ARG001
    """Return the most a webhook of the Cloud API may have: 3 MB (docs/wire.md, Webhook delivery)."""
    return 3 * MEBIBYTE


def evolution_bytes(config: Config) -> int:  # noqa: ARG001
    """Return the most a webhook of Evolution API may have; with `base64` off, as we ask for, it is a few kilobytes."""
    return 8 * MEBIBYTE


@blueprint.get("/cloud")
def verify_cloud() -> Response:
    """Answer Meta's challenge when it knows a verify token of ours (docs/wire.md, Webhook verification)."""
    token, challenge = request.args.get("hub.verify_token", ""), request.args.get("hub.challenge", "")
    with transaction() as session:
        known = deliveries.verify_token_is_known(session, vault=runtime().vault, token=token)
    if request.args.get("hub.mode") != "subscribe" or not known:
        log.warning("webhook.verification_refused")
        raise NotAllowed("No account has this verify token.", code="verify_token_unknown")
    return Response(challenge, mimetype="text/plain")


@blueprint.post("/cloud")
@body_limit(cloud_bytes)
def receive_cloud() -> Response:
    """Store a webhook that one of our accounts' app secrets signed."""
    body = whole_body()
    signature = request.headers.get("X-Hub-Signature-256", "")
    with transaction() as session:
        signed_by = _signed_by(session, body, signature)
        if not signed_by:
            log.warning("webhook.refused", size=len(body))
            raise NotAuthenticated("The signature is of no account of ours.", code="signature_unknown")
        deliveries.store(session, provider="cloud_api", account_ids=signed_by, body=body, now=utc_now())
        hint(session, enqueue_delivery_events)
    return Response(status=200)


@blueprint.post("/evolution/<account_key>")
@blueprint.post("/evolution/<account_key>/<event>")
@body_limit(evolution_bytes)
def receive_evolution(account_key: str, event: str = "") -> Response:  # noqa: ARG001
    """Store a webhook that came to the address of an account; `byEvents` appends the event to it."""
    body = whole_body()
    with transaction() as session:
        account_id = accounts.id_with_webhook_key(session, account_key)
        if account_id is None:
            log.warning("webhook.refused", size=len(body))
            raise NotAuthenticated("This address is of no account of ours.", code="webhook_key_unknown")
        deliveries.store(session, provider="evolution", account_ids=[account_id], body=body, now=utc_now())
        hint(session, enqueue_delivery_events)
    return Response(status=200)


def address_for(account: Account) -> str:
    """Return where the provider of an account is to post its webhooks; a secret where the address has a key."""
    public = runtime().config.public_url or request.host_url.rstrip("/")
    return f"{public}/webhooks/{f'evolution/{account.webhook_key}' if account.webhook_key else 'cloud'}"


def loggable_path(path: str) -> str:
    """Return the path of a request without the key that may be in it."""
    return _KEYED if path.startswith(_KEYED) else path


def _signed_by(session: Session, body: bytes, signature: str) -> list[int]:
    try:
        return deliveries.accounts_that_signed(session, vault=runtime().vault, body=body, signature=signature)
    except RecursionError:
        # Nested deeper than the parser goes: nobody's webhook, and anybody may send it.
        return []
