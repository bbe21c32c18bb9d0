"""What operators have said and how long it holds. The most specific word about a target goes first."""

from collections.abc import Sequence

from thermogate.core.gate_messages import Override

FLEET = "all"
_Key = tuple[str, str]


class Overrides:
    """The newest word about each target.

    A word is taken back by a newer one that is over already, never by an empty topic, which anybody may
    publish. Until the old word would have ended, no word as old as it is taken again.
    """

    def __init__(self) -> None:
        self._words: dict[_Key, Override] = {}
        self._since: dict[_Key, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._words)

    def put(self, word: Override, now_ns: int, guard_ns: int = 0) -> bool:
        """Take a word; False for one that is older than another about the same target.

        `guard_ns`: until when at least none that is older is taken again.
        """
        key = (word.kind, word.target)
        issued_ns, until_ns = self._since.get(key, (0, 0))
        if word.issued_at_ns < issued_ns and now_ns < until_ns:
            return False
        self._since[key] = word.issued_at_ns, max(until_ns, word.until_ns, guard_ns)
        self._words[key] = word
        return True

    def drop_over(self, now_ns: int) -> list[Override]:
        """Forget the words whose time is over, and return them."""
        over = [word for word in self._words.values() if now_ns >= word.until_ns]
        for word in over:
            del self._words[word.kind, word.target]
        self._since = {key: since for key, since in self._since.items() if now_ns < since[1]}
        return over

    def guarded_ns(self, kind: str, target: str) -> int:
        """Until when a word about the target is of use, if only to refuse older ones; 0 when none is."""
        return self._since.get((kind, target), (0, 0))[1]

    def about_node(self, node: str, groups: tuple[str, ...], now_ns: int) -> Override | None:
        """The word in force about a node: its own, its groups', the fleet's."""
        if not self._words:
            return None
        keys = [("node", node), *(("group", group) for group in groups), ("fleet", FLEET)]
        return self._first(keys, now_ns)

    def about_job(self, job: str, now_ns: int) -> Override | None:
        """The word in force about a job."""
        return self._first([("job", job), ("fleet", FLEET)], now_ns) if self._words else None

    def about(self) -> list[_Key]:
        """(kind, target) of every word."""
        return list(self._words)

    def _first(self, keys: Sequence[_Key], now_ns: int) -> Override | None:
        for key in keys:
            word = self._words.get(key)
            if word is not None and word.from_ns <= now_ns < word.until_ns:
                return word
        return None
