import msgspec
import pytest

from thermogate.agent.config import RleSettings
from thermogate.agent.simulated import Fleet
from thermogate.cli import main, simulate_fleet
from thermogate.cli.simulate_run import Progress, sentence, together
from thermogate.core.errors import ConfigError

CPU_ONLY = "t_s,device,util_pct,temp_c,power_w\n0,cpu,10,50,20\n1,cpu,11,51,21\n"
GPU = CPU_ONLY.replace("cpu", "gpu")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nodes", "0"], "--nodes 0"),
        (["--gpus", "100"], "--gpus 100"),
        (["--nodes", "2", "--processes", "3"], "--processes 3"),
        (["--prefix", "a/b"], "--prefix"),
        (["--period", "1ms"], "--period 1ms"),
        (["--clock-jump", "sim-*,10s"], "--clock-jump sim-*,10s"),
        (["--from", "nowhere.csv"], "nowhere.csv"),
        (["--broker", "http://127.0.0.1"], "mqtt.url"),
    ],
)
def test_what_cannot_be_simulated_is_named(arguments, said, tmp_path, capsys):
    assert main.main(["simulate", "--out", str(tmp_path), "--for", "1s", *arguments]) == main.EXIT_CONFIG
    assert said in capsys.readouterr().err


def test_recordings_come_from_files_and_folders_and_need_a_gpu(tmp_path):
    (tmp_path / "cpu.csv").write_text(CPU_ONLY)
    with pytest.raises(ConfigError, match="no recording of a GPU"):
        simulate_fleet.traces([tmp_path / "cpu.csv"], RleSettings())
    (tmp_path / "gpu.csv").write_text(GPU)
    kinds = [trace.device.kind for trace in simulate_fleet.traces([tmp_path], RleSettings())]
    assert kinds == ["cpu", "gpu"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no file"):
        simulate_fleet.traces([tmp_path / "empty"], RleSettings())


def test_the_folder_of_a_fleet_takes_the_same_fleet_again_and_no_other(tmp_path):
    traces = simulate_fleet.traces([], RleSettings())
    fleet = Fleet(prefix="sim", nodes=3, gpus=2, period_s=1.0, traces=traces)
    simulate_fleet.make(tmp_path, fleet)
    simulate_fleet.make(tmp_path, fleet)
    assert simulate_fleet.load(tmp_path) == fleet
    with pytest.raises(ConfigError, match="another fleet"):
        simulate_fleet.make(tmp_path, msgspec.structs.replace(fleet, gpus=3))


def test_a_folder_without_a_fleet_cannot_be_verified(tmp_path, capsys):
    assert main.main(["verify", "--manifest", str(tmp_path)]) == main.EXIT_CONFIG
    assert "no simulated fleet" in capsys.readouterr().err


def test_several_processes_are_told_as_one():
    parts = [
        Progress(time_ns=20, stored_until_ns=9, nodes=2, samples=10, waiting=3, ended=True),
        Progress(time_ns=21, stored_until_ns=15, nodes=3, samples=20, skipped=1),
    ]
    done = together(parts)
    assert (done.nodes, done.samples, done.waiting, done.skipped) == (5, 30, 3, 1)
    assert (done.stored_until_ns, done.ended) == (9, False)
    assert "3 messages wait" in sentence(done)
    assert "1 ticks skipped" in sentence(done)
