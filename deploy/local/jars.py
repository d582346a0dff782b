"""Jars that a lock file names: fetched once per user, and compared with their hashes at every start.

`python -m deploy.local.jars NAME` writes locks/NAME/jgo.lock.toml anew from locks/NAME/jgo.toml.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.env import EnvironmentBuilder, EnvironmentSpec, LockedDependency, LockFile
from jgo.maven import MavenContext

from deploy.local.failure import StackError

LOCKS = Path(__file__).with_name("locks")
LOCK = "jgo.lock.toml"
AT_ONCE = 8
ATTEMPTS = 3
TIMEOUT_SECONDS = 30

Progress = Callable[[int, int], None]
"""Gets how many jars are there, and of how many."""


def cache() -> Path:
    """Where fetched files are kept for every checkout of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neurectomy"


def folder(name: str) -> Path:
    """Where the jars of locks/NAME/jgo.lock.toml are kept; another lock has another folder."""
    return cache() / f"{name}-{_sha256(LOCKS / name / LOCK)[:12]}"


async def fetch(name: str, progress: Progress) -> Path:
    """A folder with exactly the jars of locks/NAME/jgo.lock.toml. Raises StackError naming the one that is broken."""
    target = folder(name)
    target.mkdir(parents=True, exist_ok=True)
    jars = LockFile.load(LOCKS / name / LOCK).dependencies
    loop = asyncio.get_running_loop()
    with _threads() as pool:
        checks = [loop.run_in_executor(pool, provide, jar, target / file_name(jar)) for jar in jars]
        for done, check in enumerate(asyncio.as_completed(checks), start=1):
            await check
            progress(done, len(jars))
    return target


def provide(jar: LockedDependency, target: Path) -> None:
    """Fetch the jar if it is not there; raise StackError if it is not the one that was locked."""
    if not target.exists():
        _download(jar, target)
    elif (digest := _sha256(target)) != jar.sha256:
        raise StackError(
            f"The jar {target} is broken: its SHA-256 is {digest}, and the lock file says {jar.sha256}. "
            "Remove it and start again; it is then fetched anew."
        )


def file_name(jar: LockedDependency) -> str:
    """As Maven names it."""
    return "-".join(filter(None, (jar.artifactId, jar.version, jar.classifier))) + f".{jar.packaging}"


def _download(jar: LockedDependency, target: Path) -> None:
    """Through a folder of its own: what is under the target's name is always whole."""
    for attempt in range(1, ATTEMPTS + 1):
        with TemporaryDirectory(dir=target.parent, prefix="incoming-") as incoming:
            try:
                file = _resolve(jar, Path(incoming))
            except (requests.RequestException, RuntimeError) as error:
                failure = StackError(f"{target.name} could not be fetched ({error}). The first start needs a network.")
            else:
                if _sha256(file) == jar.sha256:
                    file.replace(target)
                    return
                failure = StackError(f"{target.name} was fetched {attempt} times, never with its SHA-256 {jar.sha256}.")
    raise failure


def _resolve(jar: LockedDependency, folder: Path) -> Path:
    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    maven = MavenContext(repo_cache=folder, remote_repos=repositories, timeout=TIMEOUT_SECONDS)
    component = maven.project(jar.groupId, jar.artifactId).at_version(jar.version)
    return Path(component.artifact(jar.classifier or "", jar.packaging).resolve())


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="jars")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def lock(name: str) -> None:
    """Resolve locks/NAME/jgo.toml and write down every jar with its hash."""
    with chdir(LOCKS / name), TemporaryDirectory() as folder:
        builder = EnvironmentBuilder(context=MavenContext(repo_cache=Path(folder)))
        builder.resolve_lockfile(EnvironmentSpec.load(Path("jgo.toml"))).save(Path(LOCK))


if __name__ == "__main__":
    lock(sys.argv[1])
