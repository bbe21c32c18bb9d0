"""One quiet line that says how it goes: painted over on a terminal, once a minute elsewhere."""

import asyncio
import sys
import time

from thermogate.cli import render
from thermogate.core.errors import StoreError
from thermogate.dashboard.answers import Answers

_PAINT_S = 1.0


class StatusLine:
    """`run` shows the line until cancelled; `close` leaves the last one standing."""

    def __init__(self, answers: Answers, interval_s: float) -> None:
        self._answers = answers
        self._paints = sys.stdout.isatty()
        self._interval_s = _PAINT_S if self._paints else interval_s
        self._open = False

    async def run(self) -> None:
        """Show the line every interval, for ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                text = await self._text()
            except StoreError as err:
                text = render.plain(f"the store does not answer: {err}")
            sys.stdout.write(f"\r\x1b[K{text}" if self._paints else text + "\n")
            sys.stdout.flush()
            self._open = self._paints

    def close(self) -> None:
        """End the painted line."""
        if self._open:
            sys.stdout.write("\n")

    async def _text(self) -> str:
        rows = await self._answers.fleet()
        counters = self._answers.info().counters
        parts = [
            time.strftime("%H:%M:%S"),
            _count(len({row.node for row in rows}), "node"),
            _count(len(rows), "device"),
            f"{counters.get('samples', 0):,} samples stored",
        ]
        for state in ("repair", "collapse", "throttled", "hot", "stale", "offline"):
            number = sum(row.state == state for row in rows)
            parts += [f"{number} {state}"] if number else []
        held = len({row.node for row in rows if row.gate is not None and row.gate.state != "RUN"})
        parts += [f"{held} held"] if held else []
        return "  ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
