"""`thermogate up` and the commands around it, as their users run them."""

import asyncio
import collections
import json
import socket
import time

import pytest

from tests.e2e.running import RECORDINGS, export, recorded, run, up
from thermogate.core.mqtt import MqttClient, MqttSettings

pytestmark = pytest.mark.e2e

TRAINING = "headroom_training_1.csv"


def play(name=TRAINING, node="r1", speed=50):
    return ("--replay", f"{RECORDINGS / name},speed={speed},node={node}")


def assert_all_there_once(rows, name=TRAINING, node="r1"):
    """Every recorded sample of the node, once, with its values, in its order."""
    mine = [row for row in rows if row["node"] == node]
    assert {row["origin"] for row in mine} == {"replay"}
    played = recorded(name)
    stamps = collections.Counter((row["time"], row["kind"], row["device"]) for row in mine)
    assert max(stamps.values()) == 1
    for kind in ("gpu", "cpu"):
        stored = [(float(row["util_ratio"]), float(row["power_w"])) for row in mine if row["kind"] == kind]
        expected = [(float(r["util_pct"]) / 100, float(r["power_w"])) for r in played if r["device"] == kind]
        assert stored == expected
    assert len(mine) == len(played)


def ended(up_, node="r1"):
    return any(s["node"] == node and "ended" in s.get("text", "") for s in up_.get("nodes"))


def test_a_replay_is_stored_whole_and_exported_when_nothing_runs(tmp_path):
    data = tmp_path / "data"
    with up(data, *play(), *play("headroom_training_2.csv", "r2"), "--for", "15s") as running:
        assert running.process.wait(30) == 0, running.said
    rows = export(data)
    assert_all_there_once(rows)
    assert_all_there_once(rows, "headroom_training_2.csv", "r2")
    assert next(iter(rows[0])) == "time"
    assert {row["node"] for row in export(data, "--node", "r2")} == {"r2"}
    assert {row["kind"] for row in export(data, "--node", "r2", "--device", "gpu0")} == {"gpu"}


def test_killed_in_the_middle_of_a_replay_and_started_again_the_count_is_the_same(tmp_path):
    data = tmp_path / "data"
    for rows_before_the_kill in (20, 150):
        with up(data, *play()) as running:
            running.until(
                lambda least=rows_before_the_kill: running.get("info")["counters"]["samples"] >= least,
                "enough samples are stored",
            )
            running.kill()
    with up(data, *play()) as running:
        running.until(lambda: ended(running), "the recording ends")
        running.stop()
    assert_all_there_once(export(data))


def test_killed_after_the_end_of_a_replay_it_does_not_play_again(tmp_path):
    data = tmp_path / "data"
    with up(data, *play(speed=1000)) as running:
        running.until(lambda: ended(running), "the recording ends")
        running.kill()
    with up(data, *play(speed=1000)) as running:
        running.until(lambda: ended(running), "the recording ends")
        running.stop()
    assert_all_there_once(export(data))


def test_ctrl_c_stops_it_with_everything_stored(tmp_path):
    data = tmp_path / "data"
    with up(data, *play(speed=20)) as running:
        running.until(lambda: running.get("info")["counters"]["samples"] > 50, "samples are stored")
        running.stop()
    sent = collections.Counter(row["node"] for row in export(data))["r1"]
    ticks = sorted({row["time"] for row in export(data, "--node", "r1")})
    assert sent == 2 * len(ticks)  # both devices of every tick
    assert "stay in the spool" not in running.said


def test_without_a_gpu_the_shipped_recordings_play_and_are_labelled(tmp_path):
    with up(tmp_path / "data") as running:

        def both():  # each node's first sample is a write of its own
            found = [r for r in running.get("fleet") if r["kind"] == "gpu" and r.get("temp_c")]
            return found if len({row["node"] for row in found}) == 2 else []

        rows = running.until(both, "the GPUs of both recordings are shown")
        assert {row["origin"] for row in rows} == {"replay"}
        assert "REPLAY of" in running.said
        assert "no NVIDIA driver: GPU source off" in running.said
        assert "CPU power not measured" in running.said
        running.stop()


def test_every_query_works_over_http_and_on_the_folder_of_a_running_process(tmp_path):
    data = tmp_path / "data"
    with up(data, *play(speed=100)) as running:
        running.until(lambda: ended(running), "the recording ends")
        for where in (("--url", running.url), ("--data-dir", str(data))):
            fleet = json.loads(run("fleet", "--json", *where).stdout)
            assert {(row["node"], row["kind"]) for row in fleet} >= {("r1", "gpu"), ("r1", "cpu")}
            table = run("fleet", *where).stdout
            assert "r1 (replay)" in table
            series = json.loads(run("series", "r1", "gpu0", "power_w", "temp_c", "--json", *where).stdout)
            assert sum(point["count"] for point in series[0]["points"]) == 180
            assert run("series", "r1", "gpu0", "power_w", *where).stdout.startswith("TIME")
            assert "r1" in run("top", "temp_c", *where).stdout
            assert run("events", *where).returncode == 0
            assert run("gates", *where).returncode == 0
            assert len(run("export", "--node", "r1", *where).stdout.splitlines()) == 361
        running.stop()
    stored = json.loads(run("series", "r1", "gpu0", "power_w", "--json", data_dir=data).stdout)
    assert sum(point["count"] for point in stored[0]["points"]) == 180


def test_sub_prints_what_passes(tmp_path):
    with up(tmp_path / "data", *play(speed=5)) as running:
        done = run("sub", "thermogate/v1/node/r1/telemetry", "--broker", running.broker_url, "--count", "3")
        assert done.returncode == 0, done.stderr
        first = done.stdout.splitlines()[0]
        assert first.startswith("node/r1/telemetry: seq=")
        assert "gpu0 (replay)" in first
        assert " W, " in first
        running.stop()


def test_malformed_telemetry_is_quarantined_with_its_reason_and_never_stored(tmp_path):
    async def publish(url):
        async with MqttClient(MqttSettings(url=url), client_id="stranger") as client:
            await asyncio.wait_for(client.wait_connected(), 10)
            good = b"# thermogate/1 node=ghost spool=ab seq=1\ngpu,node=other,device=0 temp_c=1.0 1\n"
            for payload in (b"", b"\x00\xff garbage", b"gpu temp=1 1\n", good):
                await client.publish("thermogate/v1/node/ghost/telemetry", payload)
            await client.publish("thermogate/v1/node/ghost/event", b"{]")
            await client.publish("thermogate/v1/gate/node/ghost", b'{"state": "HOLD"}')

    data = tmp_path / "data"
    with up(data, *play(speed=20)) as running:
        running.until(lambda: running.get("info")["counters"]["samples"] > 0, "the collector listens")
        asyncio.run(publish(running.broker_url))
        running.until(lambda: running.get("info")["counters"]["quarantined"] == 5, "five are quarantined")
        assert not [row for row in running.get("fleet") if row["node"] in ("ghost", "other")]
        running.stop()
    kept = [
        json.loads(line)
        for file in sorted((data / "quarantine").iterdir())
        for line in file.read_text().splitlines()
    ]
    assert len(kept) == 5
    assert any("names node" in entry["reason"] or "line 2" in entry["reason"] for entry in kept)
    assert not [row for row in export(data) if row["node"] in ("ghost", "other")]


def test_a_port_in_use_is_one_sentence_and_exit_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("up", "--listen", f"127.0.0.1:{port}", "--for", "5s", data_dir=tmp_path / "data")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"thermogate: 127.0.0.1:{port} is in use")
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_written_is_one_sentence_and_exit_1(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("up", "--for", "5s", data_dir=tmp_path / "file" / "data")
    assert done.returncode == 1
    assert done.stderr.startswith("thermogate: data folder")
    assert len(done.stderr.splitlines()) == 1


def test_a_second_process_on_the_same_folder_is_told_who_has_it(tmp_path):
    with up(tmp_path / "data", *play(speed=1)) as running:
        assert running.url
        done = run("up", "--listen", "127.0.0.1:0", data_dir=tmp_path / "data")
        assert done.returncode == 1
        assert f"in use by process {running.process.pid}" in done.stderr
        running.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agent]\nperiod = 2\n", "agent.period: no such setting"),
        ("[agent]\nperiod_s = 'fast'\n", "agent.period_s: expected float, got str"),
        ("[analytics.modes]\nthermal = 'act'\n", "analytics.modes.thermal"),
    ],
)
def test_a_mistake_in_the_configuration_names_file_and_key_and_exits_78(tmp_path, text, said):
    config = tmp_path / "thermogate.toml"
    config.write_text(text)
    done = run("up", "--config", str(config), data_dir=tmp_path / "data")
    assert done.returncode == 78
    assert f"{config}: {said}" in done.stderr


@pytest.mark.parametrize(
    "option", ["nowhere.csv", f"{RECORDINGS / TRAINING},speed=fast", f"{RECORDINGS / TRAINING},pace=2"]
)
def test_a_replay_that_cannot_be_is_a_configuration_error(tmp_path, option):
    done = run("up", "--replay", option, "--listen", "127.0.0.1:0", data_dir=tmp_path / "data")
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr


def test_good_rows_of_a_damaged_recording_play_and_bad_ones_are_counted(tmp_path):
    damaged = tmp_path / "damaged.csv"
    now = time.time()
    rows = ["timestamp,device,util_pct,temp_c,power_w"]
    rows += [f"2025-10-29T00:00:{second:02d}Z,gpu,50,60,100" for second in range(10)]
    rows[4] = "2025-10-29T00:00:03Z,gpu,nan,60,100"
    rows[6] = "2025-10-29T00:00:01Z,gpu,50,60,100"
    damaged.write_text("\n".join(rows) + "\n2025-10-29T00:00:11Z,gpu,5")
    data = tmp_path / "data"
    with up(data, "--replay", f"{damaged},speed=50,node=r1") as running:
        running.until(lambda: ended(running), "the recording ends")
        running.stop()
    assert time.time() - now < 60
    assert len(export(data, "--node", "r1")) == 8
    assert "3 bad rows skipped" in running.said
    assert "line 5" in running.said


def overheating(path):
    """A made-up session: steady, then up to 2 C below the limit at full load, then cool again."""
    temps = [60.0] * 40 + [60 + 0.5 * step for step in range(43)] + [81.0] * 20 + [60.0] * 150
    rows = ["timestamp,device,util_pct,temp_c,power_w"]
    for second, temp_c in enumerate(temps):
        stamp = f"2025-10-29T00:{second // 60:02d}:{second % 60:02d}Z"
        rows.append(f"{stamp},gpu,{98 if second < 103 else 30},{temp_c},{190 if second < 103 else 60}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_an_overheating_node_is_held_in_shadow_with_its_reason_and_released_by_itself(tmp_path):
    data = tmp_path / "data"
    quick = [
        f"analytics.{s}" for s in ("thermal.heat_release_s=2", "gate.dwell_s=1", "thermal.heat_window_s=3")
    ]
    play = f"{overheating(tmp_path / 'hot.csv')},speed=10,node=hot1,temp_limit_c=83"
    with up(data, "--replay", play, *(word for s in quick for word in ("--set", s))) as running:

        def decision(state):
            return [d for d in running.get("decisions") if d["target"] == "hot1" and d["state"] == state]

        hold = running.until(lambda: decision("HOLD"), "the node is held")[-1]
        assert hold["mode"] == "shadow"
        assert 0 < hold["pace"] < 1
        assert hold["why"].startswith("gpu0 is at ")
        assert "its limit of 83 C" in hold["why"]
        assert hold["why"].endswith("(replay)")
        assert hold["because"][0]["threshold"]
        assert "RUN when gpu0" in hold["cjp"]["path"]
        assert hold["expires_at_ns"] > hold["issued_at_ns"]
        retained = run("sub", "thermogate/v1/gate/node/hot1", "--broker", running.broker_url, "--count", "1")
        assert "gate/node/hot1 (retained): HOLD" in retained.stdout
        assert "HOLD" in run("gates", "--url", running.url).stdout
        (row,) = [row for row in running.get("fleet") if row["node"] == "hot1"]
        assert row["gate"]["state"] == "HOLD"
        released = running.until(lambda: decision("RUN"), "the node is released")[-1]
        assert released["supersedes"]
        assert released["seq"] > hold["seq"]
        running.stop()
    assert "HOLD" in run("gates", "--all", data_dir=data).stdout
