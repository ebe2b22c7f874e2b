"""Secrets at rest: provider tokens are stored encrypted and leave only towards the provider."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class SecretUnreadable(Exception):
    """A stored secret was written with a key that is no longer configured."""


class Vault:
    """Encrypt and decrypt short secrets with Fernet keys, newest first.

    The newest key writes; every key reads, so that keys can be rotated without a stop.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key.encode()) for key in keys])

    def encrypt(self, secret: str) -> bytes:
        """Return the token to store."""
        return self._fernet.encrypt(secret.encode())

    def decrypt(self, token: bytes) -> str:
        """Return the secret.

        Raises:
            SecretUnreadable: none of the configured keys wrote it.
        """
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken as error:
            raise SecretUnreadable(
                "A stored secret cannot be read: ENCRYPTION_KEY lacks the key it was written with."
            ) from error
