"""Writes the boards, dashboards/<data source>/<board>.json; with --check it only says which are stale."""

import json
import sys
from pathlib import Path

import influx_boards
import prometheus_boards
from panels import Board, Source, board_json

_FOLDER = Path(__file__).parent / "dashboards"
_SOURCES: dict[Source, dict[str, Board]] = {
    "influxdb": influx_boards.BOARDS,
    "prometheus": prometheus_boards.BOARDS,
}


def main(arguments: list[str]) -> int:
    """0 when every board is written or, with --check, fresh."""
    files = {
        _FOLDER / source / f"{name}.json": json.dumps(board_json(board, source), indent=1) + "\n"
        for source, boards in _SOURCES.items()
        for name, board in boards.items()
    }
    stale = [file for file, text in files.items() if not file.exists() or file.read_text() != text]
    for file in stale:
        name = file.relative_to(_FOLDER)
        if "--check" in arguments:
            sys.stderr.write(f"grafana/dashboards/{name} is stale: run `make docs`\n")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(files[file])
            sys.stdout.write(f"wrote {name}\n")
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
