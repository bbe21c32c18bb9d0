import multiprocessing
import time
from pathlib import Path

import pytest

from thermogate.cli import rundir
from thermogate.core.errors import UnavailableError


def test_a_folder_that_nobody_holds_is_not_running(tmp_path):
    assert rundir.running(tmp_path) is None
    with rundir.held(tmp_path):
        pass
    assert rundir.running(tmp_path) is None


def _hold(folder, ready):
    with rundir.held(folder):
        rundir.announce(folder, "http://127.0.0.1:1", "mqtt://127.0.0.1:2")
        ready.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(20)
    yield process
    process.kill()
    process.join(10)
    process.close()


def test_the_holder_can_be_found_and_keeps_others_out_until_it_is_killed(tmp_path, holder):
    assert rundir.running(tmp_path) == rundir.Running(holder.pid, "http://127.0.0.1:1", "mqtt://127.0.0.1:2")
    with pytest.raises(UnavailableError, match=rf"in use by process {holder.pid} \(http://127.0.0.1:1\)"):
        with rundir.held(tmp_path):
            pass
    holder.kill()
    holder.join(10)
    assert rundir.running(tmp_path) is None
    with rundir.held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be written: Not a directory"):
        with rundir.held(tmp_path / "file" / "data"):
            pass


def test_the_data_folder_follows_xdg(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert str(rundir.default_data_dir()) == "/srv/data/thermogate"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert rundir.default_data_dir().is_relative_to(Path.home())
