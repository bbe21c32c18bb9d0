"""The page in a real browser, over devices that repeat what real ones were recorded doing."""

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect

from tests.fake_fleet import FakeFleet, decision
from thermogate.core.clock import NS, SystemClock
from thermogate.core.decision import Opinion, State
from thermogate.core.model import Event
from thermogate.core.wire import Point
from thermogate.dashboard import token_file, tokens
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.settings import DashboardSettings

CHROMIUM = "/usr/bin/chromium"
ROOT = Path(__file__).parents[2]
SESSIONS = sorted((ROOT / "tests" / "recordings" / "rle_sessions").glob("*gpu*.csv"))
SESSIONS += sorted((ROOT / "tests" / "recordings" / "rle_sessions").glob("headroom*.csv"))
PICTURES = ROOT / "test-artifacts"
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
WHY = "gpu0 collapsed 4 times in 10 min (threshold 3): hold new work at pace 60 %"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists() and "CI" not in os.environ, reason=f"there is no {CHROMIUM} here"
    ),
]


def now_ns():
    return SystemClock().utc_ns()


@asynccontextmanager
async def serving(query, listen="127.0.0.1:0", bounds=None, **more):
    """Where the page is."""
    settings = DashboardSettings(listen=listen, **{"poll_s": 0.2, "heartbeat_s": 1.0, **more})
    told = {"broker_url": "mqtt://127.0.0.1:1883", "store": "in memory", "bounds": bounds or {}}
    answers = Answers(query, SystemClock(), settings, **told)
    async with Dashboard(answers, settings) as dashboard:
        running = asyncio.create_task(dashboard.run())
        yield dashboard.url
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def sampling(fleet):
    """A sample a second of every device that is not silent."""

    async def sample():
        while True:
            await asyncio.sleep(1)
            fleet.tick(now_ns())

    running = asyncio.create_task(sample())
    yield
    running.cancel()


@pytest.fixture
async def browser():
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield launched
        await launched.close()


@asynccontextmanager
async def opened(browser, url, *, size=DESKTOP, scheme="dark"):
    """A page that may not complain, reach another host or break its own security policy."""
    complaints = []
    context = await browser.new_context(viewport=size, color_scheme=scheme)
    page = await context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(url) or complaints.append(f"asked {asked.url}"))
    await page.goto(url)
    yield page
    await context.close()
    assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text] == []


def cell(page, node, device):
    return page.locator(f'.cell[data-node="{node}"][data-device="{device}"]')


async def picture(page, name):
    PICTURES.mkdir(exist_ok=True)
    await page.screenshot(path=PICTURES / f"page-{name}.png")


def troubled_fleet(*, nodes, gpus, now):
    """One node replayed, one gone, one in repair, one held; a silent device and a hot one."""
    fleet = FakeFleet(SESSIONS, nodes=nodes, gpus=gpus, now_ns=now, replayed=["gpu-02"])
    for place, device in enumerate(fleet.devices):
        fleet.warmer_c[device] = place * 13 % 29 - 14
    fleet.warmer_c["gpu-01", "1"] = 24
    fleet.silent = {("gpu-02", "2"), *(device for device in fleet.devices if device[0] == "gpu-03")}
    fleet.set_status("gpu-03", now, online=False, text="connection lost")
    fleet.collapse_event("gpu-01", "0", now - 100 * NS)
    lost = "gpu1 was lost from the bus and has not come back for 120 s (threshold 60 s)"
    old = "gpu2 reaches its limit in 34 s (threshold 60 s)"
    fleet.query.decision_list = [
        decision("gpu-01", State.HOLD, WHY, now_ns=now - 30 * NS, id_="A"),
        decision("gpu-04", State.REPAIR, lost, now_ns=now - 40 * NS, id_="B", mode="enforce", pace=0.0),
        decision("gpu-02", State.HOLD, old, now_ns=now - 900 * NS, id_="C", expires_at_ns=now - 600 * NS),
    ]
    return fleet


async def test_one_replayed_device_is_read_opened_and_followed_live(browser):
    now = now_ns()
    fleet = FakeFleet(SESSIONS[1:2], nodes=1, gpus=1, now_ns=now, replayed=["gpu-01"])
    fleet.collapse_event("gpu-01", "0", now - 60 * NS)
    async with serving(fleet.query) as url, sampling(fleet), opened(browser, url) as page:
        device = cell(page, "gpu-01", "gpu0")
        await expect(device).to_have_attribute("data-live", "true")
        await expect(device).to_contain_text("replay")
        shown = float(await device.locator(".cell-value").inner_text())
        recorded = {point.fields["temp_c"] for point in fleet.query.points["gpu", "gpu-01", "0"]}
        assert shown in {round(temp) for temp in recorded}
        await device.click()
        await expect(page.locator("#detail-title")).to_have_text("gpu-01 / GPU 0replay")
        await expect(page.locator("#chart-title")).to_have_text("Last 5 min · REPLAY")
        before = await last_point(page)
        await expect(page.locator("#chart")).not_to_have_attribute("data-last-ns", str(before), timeout=5000)
        assert await last_point(page) > before
        assert int(await page.locator("#chart").get_attribute("data-spans")) >= 3
        assert len(await drawn(page, "Power")) > 250
        assert set(await drawn(page, "limit")) == {83, None}
        await picture(page, "one-device")


async def last_point(page):
    await page.wait_for_selector("#chart[data-last-ns]")
    return int(float(await page.locator("#chart").get_attribute("data-last-ns")))


async def drawn(page, name):
    """The values of a line of the chart, None where it is broken."""
    script = "name => document.getElementById('chart').data.find(trace => trace.name === name).y"
    return await page.evaluate(script, name)


async def test_500_devices_are_on_one_page_with_their_states_in_words(browser):
    now = now_ns()
    fleet = troubled_fleet(nodes=63, gpus=8, now=now)
    async with serving(fleet.query) as url, sampling(fleet), opened(browser, url) as page:
        await expect(page.locator(".cell")).to_have_count(504)
        await expect(page.locator("#map")).to_have_attribute("data-density", "compact")
        await expect(page.locator("#sum-devices")).to_have_text("504")
        await expect(page.locator("#sum-nodes-note")).to_have_text("1 offline")
        await expect(cell(page, "gpu-03", "gpu0")).to_have_attribute("data-state", "offline")
        await expect(cell(page, "gpu-03", "gpu0")).to_contain_text("off")
        await expect(cell(page, "gpu-04", "gpu7")).to_have_attribute("data-state", "repair")
        await expect(page.locator('.node[data-node="gpu-02"]')).to_contain_text("replay")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await picture(page, "500-dark")
        await page.locator("#find").fill("gpu-6")
        await expect(page.locator(".node:visible")).to_have_count(4)


async def test_8000_devices_are_followed_found_and_opened(browser):
    fleet = troubled_fleet(nodes=1000, gpus=8, now=now_ns())
    async with serving(fleet.query, poll_s=1.0, heartbeat_s=15.0) as url, sampling(fleet):
        async with opened(browser, url) as page:
            page.set_default_timeout(60_000)
            await expect(page.locator(".cell")).to_have_count(8000, timeout=60_000)
            followed = cell(page, "gpu-01", "gpu0")
            said = await followed.get_attribute("title")
            await expect(followed).not_to_have_attribute("title", said, timeout=60_000)
            await picture(page, "8000-dark")
            await page.locator("#find").fill("gpu-777")
            await expect(page.locator(".node:visible")).to_have_count(1, timeout=60_000)
            said = await cell(page, "gpu-777", "gpu3").get_attribute("title")
            await expect(cell(page, "gpu-777", "gpu3")).not_to_have_attribute("title", said, timeout=60_000)
            await cell(page, "gpu-777", "gpu3").click()
            await expect(page.locator("#detail-title")).to_have_text("gpu-777 / GPU 3", timeout=60_000)
            await picture(page, "8000-device")


async def test_a_device_that_comes_is_added_and_one_that_goes_is_removed(browser):
    now = now_ns()
    fleet = FakeFleet(SESSIONS, nodes=3, gpus=2, now_ns=now)
    async with serving(fleet.query) as url, sampling(fleet), opened(browser, url) as page:
        await expect(page.locator(".cell")).to_have_count(6)
        arrived = FakeFleet(SESSIONS, nodes=4, gpus=2, now_ns=now_ns())
        fleet.query.add(arrived.query.points["gpu", "gpu-04", "1"])
        await expect(cell(page, "gpu-04", "gpu1")).to_be_visible()
        fleet.silent = {("gpu-02", "0"), ("gpu-02", "1")}
        fleet.query.points["gpu", "gpu-02", "0"].clear()
        del fleet.query.points["gpu", "gpu-02", "0"], fleet.query.points["gpu", "gpu-02", "1"]
        del fleet.query.status["gpu-02"]
        await expect(page.locator(".cell")).to_have_count(5)
        await expect(page.locator("#sum-devices")).to_have_text("5")


async def test_with_tokens_on_a_browser_logs_in_and_out(browser, tmp_path):
    file = tmp_path / "tokens.json"
    text, token = tokens.make("me", "read", now_ns())
    token_file.edit(file, lambda known: (*known, token))
    fleet = FakeFleet(SESSIONS, nodes=2, gpus=2, now_ns=now_ns())
    page = await browser.new_page(viewport=DESKTOP, color_scheme="dark")
    async with serving(fleet.query, tokens_file=str(file)) as url, sampling(fleet):
        await page.goto(f"{url}#gpu-01/gpu0")
        await page.locator("#token").fill("thermogate_wrong")
        await page.locator("#token").press("Enter")
        await expect(page.locator("#wrong")).to_have_text(
            "this token is not known here, or was revoked", timeout=20_000
        )
        await picture(page, "login")
        await page.locator("#token").fill(text)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator(".cell")).to_have_count(4, timeout=20_000)
        await last_point(page)
        assert await page.evaluate("document.cookie") == ""
        await page.goto(f"{url}login")
        await expect(page.locator(".cell")).to_have_count(4, timeout=20_000)
        await picture(page, "logged-in")
        await page.locator("#logout").click()
        await expect(page.locator("#token")).to_be_visible(timeout=20_000)
        await page.locator("#token").fill(text)
        await page.locator("#token").press("Enter")
        await expect(page.locator("body")).to_have_attribute("data-link", "live", timeout=20_000)
        token_file.edit(file, lambda _: ())
        await expect(page.locator("#token")).to_be_visible(timeout=20_000)
    await page.close()


async def test_500_devices_in_the_light_scheme(browser):
    fleet = troubled_fleet(nodes=63, gpus=8, now=now_ns())
    async with serving(fleet.query) as url, opened(browser, url, scheme="light") as page:
        await expect(page.locator(".cell")).to_have_count(504)
        await picture(page, "500-light")


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_a_device_and_the_decisions_with_their_why_lines(browser, scheme):
    now = now_ns()
    fleet = troubled_fleet(nodes=4, gpus=4, now=now)
    async with serving(fleet.query) as url, sampling(fleet), opened(browser, url, scheme=scheme) as page:
        held = page.locator('#decisions .decision[data-target="gpu-01"]')
        await expect(held.locator(".why")).to_have_text(f"node gpu-01 {WHY}")
        await expect(held).to_contain_text("shadow")
        await expect(held).to_contain_text("pace 60 %")
        await expect(page.locator('.decision[data-target="gpu-02"]')).to_have_attribute("data-force", "false")
        await held.locator("summary").click()
        await expect(held).to_contain_text("released after 10 min without a collapse")
        await picture(page, f"fleet-{scheme}")
        await cell(page, "gpu-01", "gpu0").click()
        await expect(page.locator("#detail-gate .why")).to_contain_text(WHY)
        await last_point(page)
        await picture(page, f"device-{scheme}")
        await expect(held.locator("details")).to_have_attribute("open", "")


async def test_a_device_shows_its_signals_who_else_asks_and_what_was_done_also_on_a_phone(browser):
    now = now_ns()
    fleet = FakeFleet(SESSIONS, nodes=1, gpus=1, now_ns=now)
    for second in range(600, 0, -10):
        signals = {"overload": 4.0 - second / 300, "volatility": 1.0}
        fleet.query.add([Point("signal", "gpu-01", "gpu0", "", "", signals, now - second * NS)])
    other = Opinion(policy="cooling", state=State.REPAIR, pace=0.0, mode="shadow", why="a fan dies")
    fleet.query.decision_list = [
        decision("gpu-01", State.RUN, "has cooled", now_ns=now - 3600 * NS, id_="A", pace=1.0),
        decision("gpu-01", State.HOLD, WHY, now_ns=now, id_="B", mode="enforce", others=(other,)),
    ]
    data = {"kind": "node", "target": "gpu-01", "scheduler": "slurm", "host": "head", "outcome": "done"}
    fleet.query.event_list.append(
        Event(node="gpu-01", event="gate_applied", time_ns=now, text="gpu-01 is drained", data=data)
    )
    bounds = {"overload": 3.0}
    async with serving(fleet.query, bounds=bounds) as url, opened(browser, url, size=PHONE) as page:
        await expect(page.locator("#decisions .applied")).to_contain_text("slurm on head")
        await cell(page, "gpu-01", "gpu0").click()
        overload = page.locator('#signals [data-signal="overload"]')
        await expect(overload).to_have_attribute("data-over", "true")
        await expect(overload).to_contain_text("over 3 for")
        assert await overload.locator(".signal-bound").count() == 1
        await expect(page.locator('#signals [data-signal="volatility"]')).to_contain_text("no bound")
        await page.locator("#detail-gate summary").click()
        await expect(page.locator("#detail-gate .others")).to_contain_text(
            "cooling REPAIR, pace 0 % shadow a fan dies"
        )
        await expect(page.locator("#applied")).to_contain_text("gpu-01 is drained")
        await page.locator("#before .spell").last.scroll_into_view_if_needed()
        await expect(page.locator("#before .spell")).to_be_in_viewport()
        await expect(page.locator("#before .spell")).to_contain_text("has cooled")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await picture(page, "phone-explained")


async def test_stale_and_offline_devices_show_the_word_and_no_value(browser):
    now = now_ns()
    fleet = troubled_fleet(nodes=4, gpus=2, now=now)
    fleet.silent.add(("gpu-01", "1"))
    fleet.query.points["gpu", "gpu-01", "1"][:] = [fleet.query.points["gpu", "gpu-01", "1"][0]]
    async with serving(fleet.query) as url, opened(browser, url) as page:
        stale, offline = cell(page, "gpu-01", "gpu1"), cell(page, "gpu-03", "gpu0")
        await expect(stale).to_have_attribute("data-state", "stale")
        await expect(stale.locator(".cell-value")).to_have_text("stale")
        await expect(stale).to_contain_text("no sample since")
        await expect(offline.locator(".cell-value")).to_have_text("offline")
        await expect(page.locator("#attention")).to_contain_text("gpu-03, 2 devices")
        await stale.click()
        await expect(page.locator("#detail-now")).to_contain_text("–")
        await picture(page, "stale")


async def test_an_empty_fleet_says_what_to_do_and_fills_by_itself(browser):
    fleet = FakeFleet(SESSIONS, nodes=0, gpus=0, now_ns=now_ns())
    async with serving(fleet.query) as url, opened(browser, url) as page:
        await expect(page.locator("#empty")).to_contain_text("No device has reported yet")
        await expect(page.locator("#empty")).to_contain_text("mqtt://127.0.0.1:1883")
        await expect(page.locator("#empty")).to_contain_text("thermogate up --replay FILE")
        await picture(page, "empty")
        arrived = FakeFleet(SESSIONS, nodes=1, gpus=1, now_ns=now_ns())
        fleet.query.add(point for points in arrived.query.points.values() for point in points)
        await expect(page.locator(".cell")).to_have_count(1)
        await expect(page.locator("#empty")).to_be_hidden()


async def test_a_lost_stream_is_told_greyed_and_comes_back_by_itself(browser):
    fleet = troubled_fleet(nodes=4, gpus=4, now=now_ns())
    page = await browser.new_page(viewport=DESKTOP, color_scheme="dark")
    async with sampling(fleet):
        async with serving(fleet.query) as url:
            await page.goto(f"{url}#gpu-01/gpu0")
            await last_point(page)
            await expect(page.locator("body")).to_have_attribute("data-link", "live")
        await expect(page.locator("#banner")).to_contain_text("Connection lost since")
        await expect(page.locator("#banner")).to_contain_text("showing nothing newer")
        assert float(await page.locator("main").evaluate("main => getComputedStyle(main).opacity")) < 0.7
        await picture(page, "connection-lost")
        before = await last_point(page)
        async with serving(fleet.query, url.removeprefix("http://").rstrip("/")):
            await expect(page.locator("body")).to_have_attribute("data-link", "live", timeout=20_000)
            await expect(page.locator("#banner")).to_be_hidden()
            await expect(page.locator("#chart")).not_to_have_attribute("data-last-ns", str(before))
            await page.close()


async def test_a_store_that_cannot_answer_is_told(browser):
    fleet = FakeFleet(SESSIONS, nodes=1, gpus=2, now_ns=now_ns())
    async with serving(fleet.query) as url, opened(browser, url) as page:
        await expect(page.locator(".cell")).to_have_count(2)
        fleet.query.broken = "the database is away"
        await expect(page.locator("#banner")).to_contain_text("The store cannot answer since")
        await expect(page.locator("#banner")).to_contain_text("the database is away")
        fleet.query.broken = ""
        await expect(page.locator("#banner")).to_be_hidden()


async def test_a_time_without_samples_is_a_break_in_the_line(browser):
    now = now_ns()
    fleet = FakeFleet(SESSIONS, nodes=1, gpus=1, now_ns=now)
    points = fleet.query.points["gpu", "gpu-01", "0"]
    points[:] = [point for point in points if not 60 * NS < now - point.time_ns < 90 * NS]
    async with serving(fleet.query) as url, opened(browser, url) as page:
        await page.goto(f"{url}#gpu-01/gpu0")
        await last_point(page)
        values = await drawn(page, "Temperature")
        assert values[:-1].count(None) == 1
        assert await drawn(page, "Power")


async def test_the_keyboard_reaches_every_device_and_the_address_keeps_it(browser):
    fleet = FakeFleet(SESSIONS, nodes=2, gpus=4, now_ns=now_ns())
    async with serving(fleet.query) as url, sampling(fleet), opened(browser, url) as page:
        await cell(page, "gpu-01", "gpu0").focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "Enter"):
            await page.keyboard.press(key)
        await expect(page.locator("#detail-title")).to_have_text("gpu-02 / GPU 1")
        await page.reload()
        await expect(page.locator("#detail-title")).to_have_text("gpu-02 / GPU 1")
        await page.locator("label", has_text="15 min").click()
        await expect(page.locator("#chart-title")).to_have_text("Last 15 min")
        await page.keyboard.press("Escape")
        await expect(page.locator("#detail")).to_be_hidden()
        await expect(cell(page, "gpu-02", "gpu1")).to_be_focused()


async def test_what_comes_from_outside_is_shown_as_text(browser):
    now = now_ns()
    fleet = FakeFleet(SESSIONS, nodes=1, gpus=1, now_ns=now)
    why = '<img src=x onerror="document.title=1"><b>bold</b>'
    fleet.query.decision_list = [decision("gpu-01", State.HOLD, why, now_ns=now, id_="A")]
    async with serving(fleet.query) as url, opened(browser, url) as page:
        await expect(page.locator("#decisions .why")).to_contain_text(why)
        assert await page.locator(".why img, .why b").count() == 0


async def test_a_phone_shows_the_fleet_and_a_device_without_scrolling_sideways(browser):
    fleet = troubled_fleet(nodes=4, gpus=4, now=now_ns())
    async with serving(fleet.query) as url, sampling(fleet), opened(browser, url, size=PHONE) as page:
        await expect(page.locator(".cell")).to_have_count(16)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await picture(page, "phone")
        await cell(page, "gpu-01", "gpu0").click()
        await last_point(page)
        await picture(page, "phone-device")
        await page.locator("#detail-close").click()
        await expect(page.locator("#detail")).to_be_hidden()


async def test_a_page_that_is_open_for_weeks_forgets_what_is_old_and_no_decision_in_force(browser):
    fleet = FakeFleet(SESSIONS[:1], nodes=1, gpus=1, now_ns=now_ns())
    async with serving(fleet.query) as url, opened(browser, url) as page:
        kept = await page.evaluate(
            """async () => {
                const { Decisions, Events } = await import("/static/lists.js");
                const [events, decisions] = [new Events(), new Decisions()];
                const issued = (n, target) => ({
                    id: String(n), kind: "node", target, issued_at_ns: n, expires_at_ns: 1e9,
                });
                decisions.add(issued(-1, "quiet"));
                for (let n = 0; n < 20000; n++) {
                    events.add({ node: "n1", event: "xid", time_ns: n });
                    decisions.add(issued(n, `n${n % 5}`));
                }
                const last = events.newest()[0].time_ns;
                const force = decisions.inForce(0).map((decision) => decision.target).sort();
                return [events.byKey.size, decisions.byId.size, last, force.join(" ")];
            }"""
        )
    assert max(kept[:2]) <= 4000
    assert kept[2:] == [19_999, "n0 n1 n2 n3 n4 quiet"]
