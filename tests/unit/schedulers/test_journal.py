"""The journal: on disk before anything is set, old or new and never half, and never guessed at."""

import pytest

from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.schedulers.adapter import Mark
from thermogate.schedulers.journal import Journal

NODE = ("node", "n17")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "journal.json"


def opened(file, scheduler="slurm"):
    journal = Journal(file, scheduler)
    journal.open()
    return journal


def test_what_is_set_is_there_again_and_what_is_cleared_is_not(file):
    journal = opened(file)
    journal.set(NODE, {"drain": "thermogate: hot"}, done=False)
    assert opened(file).marks(NODE) == {"drain": Mark("thermogate: hot", done=False)}
    journal.set(NODE, {"drain": "thermogate: hot"}, done=True)
    journal.set(("job", "7"), {"hold": "", "signal": "12"}, done=True)
    again = opened(file)
    assert again.marks(NODE) == {"drain": Mark("thermogate: hot")}
    assert set(again.targets()) == {NODE, ("job", "7")}
    journal.clear(NODE, ("drain",))
    journal.clear(("job", "7"), ("hold",))
    assert opened(file).targets() == (("job", "7"),)


def test_only_its_owner_may_read_it_and_no_other_file_is_left(file):
    opened(file).set(NODE, {"drain": ""}, done=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"scheduler":"slurm","marks":{"rack/1":{"a":{}}}}'])
def test_a_damaged_one_stops_the_service_and_says_what_to_do(file, content):
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"journal\.json"):
        opened(file)


def test_that_of_another_scheduler_is_refused(file):
    opened(file, "kubernetes").set(NODE, {"taint": ""}, done=True)
    with pytest.raises(ConfigError, match="journal of kubernetes"):
        opened(file)


def test_where_it_cannot_be_written_nothing_may_be_set(file):
    file.parent.write_text("a file in the way")
    with pytest.raises(UnavailableError, match="cannot be written"):
        Journal(file, "slurm").set(NODE, {"drain": ""}, done=False)
