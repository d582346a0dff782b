"""The files of the GraphiQL page, out of their jars."""

import zipfile
from pathlib import Path

from deploy.local.jars import Progress, fetch, folder

FILES = (
    "/graphiql.min.js",
    "/graphiql.min.css",
    "/umd/react.production.min.js",
    "/umd/react-dom.production.min.js",
)


def page() -> Path:
    """The folder with the four files, side by side."""
    return folder("graphiql") / "graphiql"


async def fetch_page(progress: Progress) -> None:
    """Put the files there."""
    jars = await fetch("graphiql", progress)
    page().mkdir(exist_ok=True)
    for jar in sorted(jars.glob("*.jar")):
        _extract(jar, page())


def _extract(jar: Path, target: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if name.endswith(FILES):
                (target / Path(name).name).write_bytes(archive.read(name))
