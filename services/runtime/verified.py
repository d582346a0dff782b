"""What was verified lately: principals by the digest of their token, until then, or until they are revoked."""

import time
from collections.abc import Callable
from hashlib import sha256

from services.runtime.caller import Principal
from services.runtime.errors import TokenInvalid

SIZE = 10_000


def marks(principal: Principal) -> tuple[str, ...]:
    """The names, as in revocations.py, of the revocations that concern it; none for who has no log-in."""
    organization = principal.organization_id
    match principal.subject_type:
        case "user":
            return f"session:{principal.session_id}", f"member:{organization}/{principal.subject}"
        case "api_key":
            return f"api_key:{principal.subject}", f"api_keys:{organization}"
    return ()


class Verified:
    """A bounded memory, in which what a revocation concerns is found without a search."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[bytes, tuple[float, Principal]] = {}
        self._marked: dict[str, set[bytes]] = {}
        self.hits = 0
        self.forgotten = 0
        """Rises with each revocation: an answer that was asked for before one may be older than it."""

    def get(self, token: str) -> Principal | None:
        """The token's principal, if it is known and good now. Raises TokenInvalid for what cannot be sent as text."""
        try:
            found = self._entries.get(sha256(token.encode()).digest())
        except UnicodeEncodeError as error:
            raise TokenInvalid from error
        if found is not None and self._clock() < found[0]:
            self.hits += 1
            return found[1]
        return None

    def keep(self, token: str, principal: Principal, until: float) -> None:
        """Remember it until then; the oldest goes where there is no room."""
        digest = sha256(token.encode()).digest()
        self._drop(digest)
        if len(self._entries) >= SIZE:
            self._drop(next(iter(self._entries)))
        self._entries[digest] = until, principal
        for mark in marks(principal):
            self._marked.setdefault(mark, set()).add(digest)

    def forget(self, name: str) -> None:
        """Forget whom a revocation concerns. What a member may do is also what the organization's API keys may."""
        self.forgotten += 1
        kind, _, key = name.partition(":")
        names = (name, f"api_keys:{key.partition('/')[0]}") if kind == "member" else (name,)
        for digest in [digest for each in names for digest in self._marked.get(each, ())]:
            self._drop(digest)

    def clear(self) -> None:
        """Forget all."""
        self.forgotten += 1
        self._entries.clear()
        self._marked.clear()

    def _drop(self, digest: bytes) -> None:
        _, principal = self._entries.pop(digest, (0.0, None))
        for mark in marks(principal) if principal else ():
            self._marked[mark].discard(digest)
            if not self._marked[mark]:
                del self._marked[mark]
