"""What the auth process reads from its environment."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, SecretStr, model_validator

from services.auth.passwords import Profile
from services.auth.signing_keys import Life
from services.runtime.settings import ServiceSettings


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
    encryption_secret: Annotated[SecretStr, Field(min_length=32)]
    """What signing keys and other secrets are encrypted with in the database; the same for all replicas."""
    signing_key_days: Annotated[int, Field(ge=0, le=3_650)] = 30
    """For how long a key signs tokens before another takes its place; 0 for as long as nobody rotates."""
    signing_key_notice_seconds: Annotated[int, Field(ge=1, le=86_400)] = 90
    """For how long a new key is published before it signs: longer than anyone may cache the key set."""
    password_profile: Profile = Profile.RFC_9106_LOW_MEMORY
    password_threads: Annotated[int, Field(ge=1, le=64)] = 2
    """How many passwords are hashed at once; each takes the profile's memory."""

    def life_of_keys(self) -> Life:
        """How long signing keys do what."""
        return Life(self.access_token_seconds, self.signing_key_notice_seconds, self.signing_key_days)

    @model_validator(mode="after")
    def _no_anonymous_production(self) -> Self:
        if self.anonymous_organization and self.environment == "production":
            raise ValueError("ANONYMOUS_ORGANIZATION must not be set with ENVIRONMENT=production")
        return self
