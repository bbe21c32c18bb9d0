from thermogate.agent.app import apart
from thermogate.core.model import Event


def event(kind, device="", time_ns=5):
    return Event(node="n17", event=kind, time_ns=time_ns, text="", device_kind="gpu", device=device)


def test_events_that_a_store_would_take_for_one_get_stamps_of_their_own():
    events = [
        event("xid", "3"),
        event("xid", "3"),
        event("xid", "4"),
        event("gpu_lost", "3"),
        event("xid", "3"),
    ]
    assert [e.time_ns for e in apart(events)] == [5, 6, 5, 5, 7]
    assert [e.time_ns for e in apart([event("xid", "3", 5), event("xid", "3", 9)])] == [5, 9]
