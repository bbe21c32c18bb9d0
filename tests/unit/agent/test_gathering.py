import asyncio
import threading
from concurrent.futures import Future

from thermogate.agent.gathering import wait_all


async def test_it_waits_for_the_last_of_the_calls():
    calls = [Future() for _ in range(3)]
    waiting = asyncio.create_task(wait_all(calls, 60))
    for call in calls:
        await asyncio.sleep(0)
        assert not waiting.done()
        thread = threading.Thread(target=call.set_result, args=(None,))
        thread.start()
        thread.join()
    await asyncio.wait_for(waiting, 10)


async def test_a_call_that_fails_has_returned_too():
    call = Future()
    call.set_exception(OSError("no"))
    await asyncio.wait_for(wait_all([call], 60), 10)
    assert isinstance(call.exception(), OSError)


async def test_calls_that_have_returned_already_are_not_waited_for():
    calls = [Future() for _ in range(8)]
    for call in calls:
        call.set_result(1)
    await asyncio.wait_for(wait_all(calls, 60), 10)
    await asyncio.wait_for(wait_all([], 60), 10)


async def test_a_call_that_hangs_is_not_waited_for_longer_than_asked():
    hanging, done = Future(), Future()
    done.set_result(1)
    await asyncio.wait_for(wait_all([hanging, done], 0.01), 10)
    assert not hanging.done()
    hanging.set_result(1)


def test_a_call_that_returns_after_the_loop_has_closed_harms_nothing(caplog):
    hanging = Future()
    asyncio.run(wait_all([hanging], 0.01))
    hanging.set_result(1)
    assert caplog.records == []
