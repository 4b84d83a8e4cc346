"""What the demo shows while it runs: the stages with their progress, then the live stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.observer import Observed

COLOURS = {"approve": "green", "review": "yellow", "decline": "red"}
REFRESH_PER_SECOND = 2
"""Drawing takes time too, and the demo shares two cores with all that it shows."""


class DemoView:
    """Draws on a terminal; prints one line a stage where there is none."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._addresses: Mapping[str, str] = {}

    def addresses(self, addresses: Mapping[str, str]) -> None:
        """Name → URL of what a person may open meanwhile."""
        self._addresses = addresses
        self.console.print(_addresses(addresses))

    def say(self, text: str) -> None:
        self.console.print(text)

    @contextmanager
    def stages(self) -> Iterator[Progress]:
        """Bars for stages that have a known amount of work."""
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            refresh_per_second=REFRESH_PER_SECOND,
        ) as progress:
            yield progress

    @contextmanager
    def live(self) -> Iterator[Live]:
        """The live stream's table."""
        with Live(console=self.console, refresh_per_second=REFRESH_PER_SECOND, transient=False) as live:
            yield live

    def stream(self, seen: Observed, wanted: int, lag: Mapping[str, float], model: Mapping[str, Any]) -> RenderableType:
        """One frame of the live part."""
        quantiles = seen.quantiles_ms()
        numbers = Table.grid(padding=(0, 2))
        numbers.add_column(no_wrap=True)
        numbers.add_column(no_wrap=True)
        numbers.add_row("decided", f"[bold]{len(seen.decided):,}[/] of {wanted:,}", f"{seen.rate():.0f}/s")
        numbers.add_row("event → decision", f"p50 {_ms(quantiles['p50'])}", f"p99 {_ms(quantiles['p99'])}")
        numbers.add_row("mix", _mix(seen), "")
        numbers.add_row("model", str(model.get("version")), _auc(model))
        numbers.add_row("lag", f"{int(sum(lag.values())):,} records" + _worst(lag), "")
        return Group(Panel(numbers, title="live", title_align="left"), _recent(seen), _addresses(self._addresses))

    def summary(self, result: Mapping[str, Any]) -> None:
        """The end of the demo, in one table."""
        table = Table(title="demo", title_justify="left", show_header=False)
        table.add_column(style="dim")
        table.add_column()
        model, latency = result["model"], result["latency_ms"]
        table.add_row("events", f"{result['events_ingested']:,} live, {result['history_events']:,} of history")
        table.add_row("decisions", f"{result['decisions']:,}")
        table.add_row("missing / contradicting", f"{result['missing_decisions']} / {result['duplicate_decisions']}")
        table.add_row("mix", ", ".join(f"{name} {count:,}" for name, count in result["decision_mix"].items()))
        table.add_row("event → decision", ", ".join(f"{name} {_ms(value)}" for name, value in latency.items()))
        table.add_row("throughput", f"{result['throughput_eps']:.0f} decisions/s")
        table.add_row("model", f"{model['version']}: {_auc(model)}, Brier {model['brier']:.4f}, ECE {model['ece']:.4f}")
        table.add_row(
            "warehouse", ", ".join(f"{name.split('.')[-1]} {n:,}" for name, n in result["warehouse_rows"].items())
        )
        table.add_row("dead letters", ", ".join(f"{k} {v}" for k, v in result["dead_letters"].items()) or "none")
        table.add_row("ledger", "[green]balanced[/]" if result["ledger_balanced"] else "[red]NOT BALANCED[/]")
        stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result["stage_seconds"].items())
        table.add_row("time", stages)
        self.console.print(table)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _mix(seen: Observed) -> str:
    total = sum(seen.mix.values()) or 1
    return "  ".join(
        f"[{COLOURS[name]}]{name} {seen.mix[name] / total:.0%}[/]" for name in ("approve", "review", "decline")
    )


def _worst(lag: Mapping[str, float]) -> str:
    """Who lags most."""
    if not lag:
        return ""
    name = max(lag, key=lambda key: lag[key])
    return f", most: {name}"


def _auc(model: Mapping[str, Any]) -> str:
    if model.get("auc") is None:
        return ""
    ceiling = model.get("auc_ceiling")
    beside = "" if ceiling is None else f" (ceiling {ceiling:.3f})"
    return f"AUC {model['auc']:.3f}{beside}"


def _recent(seen: Observed) -> Table:
    table = Table(title="last decisions", title_justify="left", expand=True, box=box.SIMPLE_HEAD)
    for column in ("amount", "p(default)", "exp. loss"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    table.add_column("decision", no_wrap=True, min_width=len("approve"))
    table.add_column("main reasons", ratio=1, no_wrap=True, overflow="ellipsis")
    for body in reversed(seen.recent):
        amount = body["features"].get("amount")
        probability, loss = body["probability_of_default"], body["expected_loss"]
        table.add_row(
            "–" if amount is None else f"{amount:.2f}",
            "–" if probability is None else f"{probability:.3f}",
            "–" if loss is None else f"{loss:.2f}",
            f"[{COLOURS[body['decision']]}]{body['decision']}[/]",
            " ".join(reason["text"] for reason in body["reasons"][:2]),
        )
    return table


def _addresses(addresses: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, url in addresses.items():
        table.add_row(f"[dim]{name}[/]", f"[link={url}]{url}[/]")
    return table
