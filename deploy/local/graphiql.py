"""The files of the GraphiQL page, out of their jars."""

import zipfile
from pathlib import Path

from deploy.local.jars import Progress, fetch

FILES = (
    "/graphiql.min.js",
    "/graphiql.min.css",
    "/umd/react.production.min.js",
    "/umd/react-dom.production.min.js",
)


async def fetch_page(progress: Progress) -> Path:
    """A folder with the four files, side by side."""
    jars = await fetch("graphiql", progress)
    page = jars / "graphiql"
    page.mkdir(exist_ok=True)
    for jar in sorted(jars.glob("*.jar")):
        _extract(jar, page)
    return page


def _extract(jar: Path, page: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if name.endswith(FILES):
                (page / Path(name).name).write_bytes(archive.read(name))
