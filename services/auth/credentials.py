"""Who proves to be whom by a password: the same statements, hash and audit entry for a user that there is not."""

from dataclasses import dataclass
from uuid import UUID

from services.auth.attempts import Attempts
from services.auth.audit import INSTALLATION, Entry, append
from services.auth.origin import Origin
from services.auth.passwords import Checked, Passwords
from services.auth.store import accounts as rows
from services.auth.store import passwords as password_rows
from services.runtime.errors import CredentialsInvalid, Overloaded, StoreUnavailable
from services.runtime.postgres import STORE, Database, Row, Statements

MAX_EMAIL = 254


@dataclass(frozen=True, slots=True)
class Proven:
    """A user whose password was right, with one of their memberships: the columns of SELECT_CREDENTIALS."""

    row: Row
    checked: Checked

    async def hold(self, statements: Statements) -> None:
        """Store the hash anew where that is due, and let password and membership be changed only after the transaction.

        Raises CredentialsInvalid where either was changed since the proof: what ended all sessions must end this, too.
        """
        row = self.row
        if self.checked.rehashed:
            await password_rows.replace(statements, row["user_id"], self.checked.rehashed, row["password_hash"])
        proven = row["user_id"], row["password_version"], row["organization_id"], row["version"]
        if not await password_rows.stands(statements, *proven):
            raise CredentialsInvalid


class Credentials:
    """Checks e-mail and password."""

    def __init__(self, database: Database, passwords: Passwords, attempts: Attempts) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts

    async def prove(self, email: str, password: str, organization_id: UUID | None, origin: Origin) -> Proven:
        """To be called inside an attempt. Raises CredentialsInvalid, after it has been written down."""
        async with self._database.all_tenants(read_only=True) as statements:
            row = await rows.credentials(statements, email[: MAX_EMAIL + 1], organization_id)
        try:
            checked = await self._passwords.check(password, row["password_hash"] if row else None)
        except CredentialsInvalid:
            await self.note_failure("log_in.fail", email, row, origin)
            raise
        assert row is not None
        return Proven(row, checked)

    async def note_failure(self, action: str, email: str, row: Row | None, origin: Origin) -> None:
        """Write down that a secret was wrong."""
        organization_id = row["organization_id"] if row else INSTALLATION
        await self.note(organization_id, self.strangers(action, email, row, origin))

    async def note(self, organization_id: UUID, failure: Entry) -> None:
        """Raises StoreUnavailable also where the database is busy: Overloaded would take the attempt back."""
        try:
            async with self._database.tenant(organization_id) as statements:
                await append(statements, organization_id, failure)
        except Overloaded as error:
            raise StoreUnavailable(STORE) from error

    def strangers(self, action: str, email: str, row: Row | None, origin: Origin) -> Entry:
        """For the chain of the user's organization, or the installation's for nobody, which names no e-mail address."""
        target, details = str(row["user_id"]) if row else "", {"account": self._attempts.digest(email)}
        return Entry(action, "", "stranger", target=target, address=origin.address, details=details)
