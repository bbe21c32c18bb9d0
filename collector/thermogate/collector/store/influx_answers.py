"""What InfluxDB answers to InfluxQL."""

from typing import Any

import msgspec


class Series(msgspec.Struct):
    """Rows of one measurement and set of tags, as InfluxQL answers them."""

    name: str = ""
    tags: dict[str, str | None] = {}
    columns: list[str] = []
    values: list[list[Any]] = []


class Result(msgspec.Struct):
    """What one statement gave."""

    series: list[Series] = []
    error: str = ""


class Answers(msgspec.Struct):
    """What a request gave, whose statements were answered or which was refused as a whole."""

    results: list[Result] = []
    error: str = ""
