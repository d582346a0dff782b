"""What the stack is doing, as a list that fills itself in a terminal, and as plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

DONE = ("ready", "stopped")


class _Seconds(ProgressColumn):
    """To a tenth: most steps take less than two."""

    max_refresh = 0.1

    def render(self, task: Task) -> Text:
        seconds = task.finished_time if task.finished else task.elapsed
        return Text(f"{seconds or 0:6.1f} s", style="dim")


class StepList:
    """A Report (see Stack): each step is a line with its seconds and what it does now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<14}"),
            _Seconds(),
            TextColumn("[dim]{task.fields[state]}"),
            console=console,
        )
        self._steps: dict[str, tuple[TaskID, float]] = {}

    def __call__(self, step: str, state: str) -> None:
        if step not in self._steps:
            self._add(step, state)
        task, start = self._steps[step]
        self._progress.update(task, state=state, completed=1 if state in DONE else 0)
        if state in DONE and not self._console.is_terminal:
            self._console.print(f"{step:<14} {state:<8} {time.monotonic() - start:5.1f} s")

    def close(self) -> None:
        """End the list; the next step begins another."""
        if self._progress.live.is_started:
            self._progress.stop()
        for task, _ in self._steps.values():
            self._progress.remove_task(task)
        self._steps.clear()

    def _add(self, step: str, state: str) -> None:
        if self._console.is_terminal:
            self._progress.start()
        self._steps[step] = self._progress.add_task(step, total=1, state=state), time.monotonic()
