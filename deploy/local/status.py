"""What runs in a state folder, as seen from outside."""

from rich.table import Table

from deploy.local.addresses import Addresses
from deploy.local.ports import PART_OF, listens
from deploy.local.processes import noted
from deploy.local.services import is_ready


async def table(stack: Addresses) -> Table:
    """A row for each process: whether it listens, where, and what it takes."""
    answers = "ready" if await is_ready(stack.gateway_url) else "not ready"
    rows = Table(title=f"{stack.gateway_url} is {answers}", title_justify="left")
    for heading in ("part", "state"):
        rows.add_column(heading)
    for heading in ("port", "process", "memory"):
        rows.add_column(heading, justify="right")
    for name, port in stack.ports.items():
        rows.add_row(*await _row(stack, name, port))
    return rows


async def _row(stack: Addresses, name: str, port: int) -> tuple[str, ...]:
    process = noted(stack.state.pid_file(PART_OF.get(name, name)))
    if process is None:
        return name, "[red]not running", str(port), "", ""
    state = "[green]listening" if await listens(port) else "[yellow]silent"
    family = [process, *process.children(recursive=True)]
    megabytes = sum(member.memory_info().rss for member in family) / 1024**2
    return name, state, str(port), str(process.pid), f"{megabytes:,.0f} MB"
