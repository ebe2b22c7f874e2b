"""Webhooks of providers: checked, stored as they came, answered at once; applied later by `delivery-events`.

Each provider declares its door, and the doors are mounted here. There is no session, no CSRF token and no limit: the
door says whose a webhook is, by a signature or by the unguessable end of the address.
"""

from collections.abc import Iterable

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from campaign_engine.clock import utc_now
from campaign_engine.core import engine
from campaign_engine.errors import NotAllowed, NotAuthenticated
from campaign_engine.logs import get_logger
from campaign_engine.models import Account
from campaign_engine.providers.base import Provider
from campaign_engine.providers.doors import Knock
from campaign_engine.services.webhooks import deliveries
from campaign_engine.services.webhooks.known_accounts import AccountsBehindTheDoor
from web.bodies import body_limit, whole_body
from web.transactions import transaction

log = get_logger(__name__)


def doors_of(providers: Iterable[Provider]) -> Blueprint:
    """Return the doors of these providers, each at its path below `/webhooks/`."""
    blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")
    for provider in providers:
        _mount(blueprint, provider)
    return blueprint


def _mount(blueprint: Blueprint, provider: Provider) -> None:
    name, door = provider.traits.name, provider.door

    @body_limit(lambda _: door.most_bytes)
    def receive(account_key: str = "", event: str = "") -> Response:  # noqa: ARG001
        """Store a webhook on behalf of the accounts that sent it."""
        knock = _knock(whole_body(), account_key)
        with transaction() as session:
            try:
                account_ids = door.senders(knock, _known_to(provider, session))
            except NotAuthenticated:
                log.warning("webhook.refused", size=len(knock.body))
                raise
            deliveries.store(session, provider=name, account_ids=account_ids, body=knock.body, now=utc_now())
        return Response(status=200)

    # Some append the kind of event to the address of an account.
    for tail in ("/<account_key>", "/<account_key>/<event>") if door.is_keyed else ("",):
        blueprint.add_url_rule(f"/{door.path}{tail}", f"receive_{name}", receive, methods=["POST"])
    greet = door.greet
    if greet is None:
        return

    @blueprint.get(f"/{door.path}", endpoint=f"greet_{name}")
    def answer() -> Response:
        """Prove to the provider that it has found us."""
        with transaction() as session:
            try:
                said = greet(_knock(b"", ""), _known_to(provider, session))
            except NotAllowed:
                log.warning("webhook.verification_refused")
                raise
        return Response(said, mimetype="text/plain")


def _knock(body: bytes, key: str) -> Knock:
    headers = {name.lower(): value for name, value in request.headers}
    return Knock(headers=headers, query=request.args.to_dict(), body=body, key=key)


def _known_to(provider: Provider, session: Session) -> AccountsBehindTheDoor:
    return AccountsBehindTheDoor(session, provider.traits, engine().vault)


def address_for(account: Account) -> str:
    """Return where the provider of an account should post its webhooks; with a key in it, the address is a secret."""
    public = engine().config.public_url or request.host_url.rstrip("/")
    tail = f"/{account.webhook_key}" if account.webhook_key else ""
    return f"{public}/webhooks/{engine().providers[account.provider].door.path}{tail}"


def loggable_path(path: str) -> str:
    """Return the path of a request without the key that may be in it: of a webhook's no more than the door."""
    root, *parts = path.split("/")
    return f"{root}/webhooks/{parts[1]}/" if parts[:1] == ["webhooks"] and len(parts) > 2 else path
