"""What the graph service reads from its environment."""

from pydantic import SecretStr

from services.runtime.settings import ServiceSettings


class GraphSettings(ServiceSettings):
    """See ServiceSettings for the rest."""

    neo4j_url: str
    """bolt://host:7687, or neo4j+s://host for a server with a certificate."""
    neo4j_user: str
    neo4j_password: SecretStr
    neo4j_database: str = "neo4j"
    agent_store_target: str
    """Whose changes are followed."""
