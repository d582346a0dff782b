"""What the auth process reads from its environment."""

from pathlib import Path
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, SecretStr, field_validator, model_validator

from services.auth.attempts import Limits
from services.auth.mailers import checked
from services.auth.passwords import Profile
from services.auth.signing_keys import Life
from services.runtime.settings import ServiceSettings

Count = Annotated[int, Field(ge=1, le=1_000_000)]


class AuthSettings(ServiceSettings):
    """See the fields."""

    auth_target: str = ""
    """Not needed here: auth verifies with its own keys."""
    database_url: SecretStr
    redis_url: SecretStr
    """redis://host:6379/0, where attempts are counted and revocations are told; there is a way without it for both."""
    service_credentials: dict[str, str] = Field(default_factory=dict)
    """Service name -> SHA-256 of its secret in hexadecimal, as a JSON object."""
    anonymous_organization: UUID | None = None
    """The organization that callers without a token may read. Not in production."""
    access_token_seconds: Annotated[int, Field(ge=10, le=3_600)] = 600
    refresh_token_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 2_592_000
    """How long a session lives that is not used; 30 days."""
    session_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = 7_776_000
    """How long a session lives at most before a password is asked for again; 90 days."""
    refresh_grace_seconds: Annotated[float, Field(ge=0, le=60)] = 10.0
    """For how long a used refresh token gets the same successor again: tabs that refresh at once stay logged in."""
    encryption_secret: Annotated[SecretStr, Field(min_length=32)]
    """What signing keys and other secrets are encrypted with in the database; the same for all replicas."""
    second_factor_issuer: Annotated[str, Field(min_length=1, max_length=100, pattern="^[^:]+$")] = "Neurectomy"
    """What authenticator apps call this installation."""
    signing_key_days: Annotated[int, Field(ge=0, le=3_650)] = 30
    """For how long a key signs tokens before another takes its place; 0 for as long as nobody rotates."""
    signing_key_notice_seconds: Annotated[int, Field(ge=1, le=86_400)] = 90
    """For how long a new key is published before it signs: longer than anyone may cache the key set."""
    password_profile: Profile = Profile.RFC_9106_LOW_MEMORY
    password_memory_mb: Annotated[int, Field(ge=1, le=1_048_576)] = 256
    """What hashes may take together; so many are computed at once as fit in. At least one of the profile must."""
    password_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """How many more may wait. Beyond that the answer is OVERLOADED, at once."""

    attempts_per_pair: Count = 10
    """Wrong passwords or codes by one address on one account before pauses begin: 1, 2, 4 s, up to 15 minutes."""
    attempts_per_address: Count = 30
    """The same by one address on all accounts, but those that it has logged in to before."""
    attempts_per_account: Count = 20
    """The same on one account by all addresses that have not logged in to it before; pauses grow to 30 s only."""
    deeds_per_address: Count = 20
    """Registrations, requests to reset a password and unknown codes by one address, each, before pauses begin."""
    attempt_pause_seconds: Annotated[float, Field(gt=0, le=30)] = 1.0
    """The first pause, which each further attempt doubles."""
    resets_per_account: Count = 3
    """Requests to reset one account's password before pauses of 20 minutes begin."""

    smtp_url: SecretStr | None = None
    """smtp://USER:PASSWORD@HOST:587, which must offer STARTTLS unless `?starttls=off` is added, or smtps://...:465."""
    mail_folder: Path | None = None
    """Instead: where mails are written to, one file each. With neither, none are sent."""
    mail_from: str = "Neurectomy <neurectomy@localhost>"
    public_url: str = "http://127.0.0.1:4000"
    """Where users find the front end: what links in mails begin with."""

    def life_of_keys(self) -> Life:
        """How long signing keys do what."""
        return Life(self.access_token_seconds, self.signing_key_notice_seconds, self.signing_key_days)

    @model_validator(mode="after")
    def _no_anonymous_production(self) -> Self:
        if self.anonymous_organization and self.environment == "production":
            raise ValueError("ANONYMOUS_ORGANIZATION must not be set with ENVIRONMENT=production")
        return self

    @model_validator(mode="after")
    def _room_for_a_hash(self) -> Self:
        if self.password_memory_mb < self.password_profile.megabytes:
            raise ValueError(f"PASSWORD_MEMORY_MB must be {self.password_profile.megabytes} at least for this profile")
        return self

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            checked(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _one_way_for_mail(self) -> Self:
        if self.smtp_url and self.mail_folder:
            raise ValueError("SMTP_URL and MAIL_FOLDER must not be set together")
        return self

    def limits(self) -> Limits:
        """How many attempts are free."""
        return Limits(
            pair=self.attempts_per_pair,
            address=self.attempts_per_address,
            account=self.attempts_per_account,
            deeds=self.deeds_per_address,
            first_seconds=self.attempt_pause_seconds,
            resets=self.resets_per_account,
        )
