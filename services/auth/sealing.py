"""What must be read again is encrypted at rest: signing keys, secrets of second factors, messages not yet sent."""

import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12


class Keyring:
    """Keys that are derived from the installation's one secret, by HKDF-SHA-256 (RFC 5869), one for each purpose."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def derived(self, purpose: str) -> bytes:
        """32 bytes that are the same for the same secret and purpose."""
        return HKDF(SHA256(), 32, salt=None, info=f"neurectomy {purpose}".encode()).derive(self._secret)

    def sealed(self, plain: bytes, purpose: str, owner: str) -> bytes:
        """AES-256-GCM under the purpose's key, bound to its owner's id: a row copied to another owner does not open."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.derived(purpose)).encrypt(nonce, plain, owner.encode())

    def opened(self, sealed: bytes, purpose: str, owner: str) -> bytes:
        """What was sealed. Raises cryptography's InvalidTag when secret, purpose, owner or a byte is another."""
        return AESGCM(self.derived(purpose)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], owner.encode())
