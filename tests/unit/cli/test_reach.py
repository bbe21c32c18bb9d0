"""Whether a service could run what is installed."""

from pathlib import Path

import pytest

from thermogate.cli import reach
from thermogate.core.errors import ConfigError


def test_what_every_user_can_read_is_fine():
    reach.check([Path("/usr/bin/env")])


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660])
def test_a_configuration_that_only_its_owner_reads_is_named_with_its_mode(tmp_path, mode):
    file = tmp_path / "thermogate.toml"
    file.touch()
    file.chmod(mode)
    with pytest.raises(
        ConfigError, match=rf"^-rw-.*{file}: the user thermogate .*may not read it: chmod o\+r"
    ):
        reach.check_config(file)
    file.chmod(0o644)
    reach.check_config(file)


@pytest.mark.parametrize("place", ["/home/ann/venv/bin/thermogate", "/root", "/tmp/t/python"])
def test_what_services_do_not_see_is_refused_with_the_cure(place):
    with pytest.raises(ConfigError, match=r"which services do not see: .*-m venv /opt/thermogate"):
        reach.check([Path(place)])


def test_a_link_is_followed_to_where_services_do_not_see(tmp_path):
    link = tmp_path / "python"
    link.symlink_to("/root")
    with pytest.raises(ConfigError, match="below"):
        reach.check([link])


def test_a_folder_that_others_cannot_pass_is_named(tmp_path):
    program = tmp_path / "closed" / "python"
    program.parent.mkdir(mode=0o700)
    program.touch(0o755)
    first_closed = next(  # pytest's own folders may be closed as well
        folder for folder in reversed(program.parents) if not folder.stat().st_mode & 0o001
    )
    with pytest.raises(ConfigError, match=f"^{first_closed} is not readable for every user"):
        reach.check([program], hidden_roots=())
