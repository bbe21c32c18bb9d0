import msgspec
from hypothesis import given
from hypothesis import strategies as st

from thermogate.core.clock import NS
from thermogate.dashboard.changes import FIELDS, Changes, Told, Whole, rounded
from thermogate.dashboard.fleet import FleetRow

NOW = 1_763_712_000 * NS


def row(node, *, state="ok", live=True, time_ns=NOW, **values):
    return FleetRow(
        node=node,
        kind="gpu",
        device="0",
        model="m",
        origin=None,
        time_ns=time_ns,
        age_s=0.0,
        state=state,
        text="",
        live=live,
        **values,
    )


class Page:
    """What a page makes of the messages, as static/rows.js does."""

    def __init__(self):
        self.rows = {}
        self.seq = None

    def whole(self, told):
        told = msgspec.json.decode(msgspec.json.encode(told))
        self.seq = told["seq"]
        self.rows = dict(zip(told["ids"], told["rows"], strict=True))

    def apply(self, told):
        told = msgspec.json.decode(msgspec.json.encode(told))
        assert told["seq"] == self.seq + 1
        self.seq = told["seq"]
        for field, (ids, values) in told.get("set", {}).items():
            for number, value in zip(ids, values, strict=True):
                self.rows[number][field] = value
        for number in told.get("gone", []):
            del self.rows[number]
        self.rows |= zip(told.get("added_ids", []), told.get("added", []), strict=True)

    def shown(self):
        return {
            shown["node"]: {name: shown.get(name) for name in FIELDS if name not in ("time_ns", "assumed")}
            for shown in self.rows.values()
        }


def expected(rows):
    page = Page()
    told = Told()
    told.update(rows, NOW)
    page.whole(told.whole())
    return page.shown()


ROWS = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(
        st.sampled_from(["ok", "hot", "stale"]),
        st.none() | st.floats(0, 1),
        st.none() | st.floats(0, 800),
        st.none() | st.floats(0, 2),
        st.booleans(),
    ),
)


@given(st.lists(ROWS, min_size=1, max_size=6))
def test_changes_lead_from_any_fleet_to_any_other(fleets):
    told, page = Told(), Page()
    for second, fleet in enumerate(fleets):
        rows = [
            row(node, state=s, util_ratio=u, power_w=p, rle=r, live=live, time_ns=NOW + second * NS)
            for node, (s, u, p, r, live) in fleet.items()
        ]
        changes = told.update(rows, NOW + second * NS, force=True)
        if second == 0:
            page.whole(told.whole())
        else:
            page.apply(changes)
        assert page.shown() == expected(rows)


def test_only_the_fields_that_changed_are_told():
    told = Told()
    told.update([row("a", temp_c=63.0, power_w=612.1), row("b", temp_c=50.0)], NOW)
    later = [row("a", temp_c=64.0, power_w=612.4, time_ns=NOW + NS), row("b", temp_c=50.0, time_ns=NOW + NS)]
    assert told.update(later, NOW + NS) == Changes(seq=2, now_ns=NOW + NS, set={"temp_c": ([0], [64.0])})


def test_nothing_new_is_nothing_to_tell_and_a_newer_sample_is():
    told = Told()
    assert told.update([], NOW) is None
    assert told.update([row("a")], NOW) is not None
    assert told.update([row("a")], NOW + NS) is None
    assert told.update([row("a", time_ns=NOW + NS)], NOW + NS) == Changes(seq=2, now_ns=NOW + NS)


def test_an_id_is_never_given_to_another_device():
    told = Told()
    told.update([row("a"), row("b")], NOW)
    gone = told.update([row("b")], NOW)
    assert gone == Changes(seq=2, now_ns=NOW, gone=(0,))
    back = told.update([row("b"), row("a")], NOW)
    assert back == Changes(seq=3, now_ns=NOW, added_ids=(2,), added=(row("a"),))
    assert told.whole() == Whole(seq=3, now_ns=NOW, ids=(1, 2), rows=(row("b"), row("a")))


def test_values_have_the_decimals_that_a_page_shows():
    shown = rounded(row("a", util_ratio=0.98765, temp_c=63.04, power_w=612.44, rle=0.4149, t_sustain_s=59.7))
    values = (shown.util_ratio, shown.temp_c, shown.power_w, shown.rle, shown.t_sustain_s)
    assert values == (0.99, 63.0, 612, 0.41, 60)
    assert rounded(row("a", power_w=21.27)).power_w == 21.3
    assert rounded(row("a")).time_ns == NOW
