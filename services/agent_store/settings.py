"""What the agent store reads from its environment."""

from pydantic import SecretStr

from services.runtime.settings import ServiceSettings


class AgentStoreSettings(ServiceSettings):
    """See ServiceSettings for the rest."""

    database_url: SecretStr
    """postgresql://user:password@host:5432/name, of a role that row-level security binds."""
    redis_url: SecretStr
    """redis://host:6379/0, where events are relayed to; writes go on without it."""
