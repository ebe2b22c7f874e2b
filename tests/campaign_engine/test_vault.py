"""Secrets at rest: what is written with a key is read with it, also after newer keys have come."""

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from campaign_engine.vault import SecretUnreadable, Vault

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
VAULT = Vault([OLD])


@given(secret=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_secret_comes_back_as_it_was_and_is_not_seen_in_between(secret: str) -> None:
    stored = VAULT.encrypt(secret)
    assert VAULT.decrypt(stored) == secret
    assert len(secret) < 4 or secret.encode() not in stored


def test_the_same_secret_is_never_stored_the_same_way() -> None:
    assert VAULT.encrypt("EAAG") != VAULT.encrypt("EAAG")


def test_keys_are_rotated_without_a_stop() -> None:
    stored = VAULT.encrypt("EAAG")
    rotated = Vault([NEW, OLD])
    assert rotated.decrypt(stored) == "EAAG"
    # What is written from now on needs the newest key alone, so that the old one can go.
    assert Vault([NEW]).decrypt(rotated.encrypt("EAAG")) == "EAAG"
    with pytest.raises(SecretUnreadable):
        VAULT.decrypt(rotated.encrypt("EAAG"))


@pytest.mark.parametrize("damage", [b"", b"gAAAAA", b"EAAG in clear", b"\xff\x00"])
def test_what_no_key_wrote_is_unreadable_and_says_what_to_look_at(damage: bytes) -> None:
    with pytest.raises(SecretUnreadable, match="ENCRYPTION_KEY") as refusal:
        VAULT.decrypt(damage)
    assert OLD not in str(refusal.value)


def test_a_stored_secret_that_was_tampered_with_is_unreadable() -> None:
    stored = bytearray(VAULT.encrypt("EAAG"))
    stored[-10] ^= 1
    with pytest.raises(SecretUnreadable):
        VAULT.decrypt(bytes(stored))
    with pytest.raises(SecretUnreadable):
        Vault([OTHER]).decrypt(VAULT.encrypt("EAAG"))


def test_the_keys_are_not_shown() -> None:
    vault = Vault([NEW, OLD])
    assert NEW not in f"{vault!r} {vars(vault)}"
    assert OLD not in f"{vault!r} {vars(vault)}"
