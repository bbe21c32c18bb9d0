"""What is wrong with the files of TLS is said by their names; renewed ones are taken when they are good."""

import shutil
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from tests.certificates import Authority
from thermogate.core import certificate
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt_settings import MqttSettings, parse_url
from thermogate.core.mqtt_tls import Credentials, tls_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.pair("n17")


def settings(authority=None, pair=None, **more):
    given = {"ca_file": str(authority.certificate)} if authority else {}
    if pair:
        given |= {"cert_file": str(pair.cert), "key_file": str(pair.key)}
    return MqttSettings(**{"url": "mqtts://localhost", **given, **more})


def test_a_good_pair_makes_a_context_of_tls_1_2_or_newer_that_checks_the_name(authority, pair):
    context = tls_context(settings(authority, pair))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] == 1


def test_certificate_and_key_may_stand_in_one_file(authority, pair, tmp_path):
    both = tmp_path / "both.pem"
    both.write_text(pair.key.read_text() + pair.cert.read_text())
    assert tls_context(settings(authority, cert_file=str(both)))


@pytest.mark.parametrize("which", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), ("", "in PEM"), ("-----BEGIN X-----\n", "in PEM"), ("cut", "in PEM")],
)
def test_a_file_that_is_none_is_named_with_its_setting(authority, pair, tmp_path, which, content, told):
    file = tmp_path / "broken.pem"
    whole = {"ca_file": authority.certificate, "cert_file": pair.cert, "key_file": pair.key}[
        which
    ].read_text()
    if content is not None:
        file.write_text(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(ConfigError, match=rf"mqtt\.{which} .*{told}") as caught:
        tls_context(settings(authority, pair, **{which: str(file)}))
    assert str(file) in str(caught.value)


def test_a_key_of_another_certificate_is_named(authority, pair):
    other = authority.pair("n18")
    with pytest.raises(ConfigError, match=rf"{other.key}: is not the key of mqtt\.cert_file {pair.cert}"):
        tls_context(settings(authority, pair, key_file=str(other.key)))


def test_a_key_with_a_passphrase_is_refused_instead_of_asking_the_terminal(authority, pair, tmp_path):
    file = tmp_path / "secret.key"
    file.write_text(pair.key.read_text().replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"))
    with pytest.raises(ConfigError, match=rf"{file}: is encrypted"):
        tls_context(settings(authority, pair, key_file=str(file)))


def test_a_key_without_a_certificate_is_refused(authority, pair):
    with pytest.raises(ConfigError, match=r"without mqtt\.cert_file"):
        tls_context(settings(authority, key_file=str(pair.key)))


def test_a_user_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match=r"mqtt\.username") as caught:
        parse_url("mqtts://n17:hunter2@broker")
    assert "hunter2" not in str(caught.value)


def test_a_certificate_tells_its_owner_and_its_time(authority):
    found = certificate.read(str(authority.pair("gpu-node.example", days=30).cert))
    now = datetime.now(UTC)
    assert found.name == "gpu-node.example"
    assert timedelta(hours=-1) < now - found.not_before < timedelta(hours=1)
    assert timedelta(days=29) < found.not_after - now < timedelta(days=31)


def test_a_certificate_that_is_cut_off_is_a_configuration_error(authority, pair, tmp_path):
    der = ssl.PEM_cert_to_DER_cert(pair.cert.read_text())
    for size in range(len(der)):
        file = tmp_path / "cut.pem"
        file.write_text(ssl.DER_cert_to_PEM_cert(der[:size]))
        with pytest.raises(ConfigError, match=r"cut\.pem"):
            certificate.read(str(file))


class Renewal:
    """A client's files that somebody renews while they are in use."""

    def __init__(self, authority, folder):
        self.authority = authority
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.password = folder / "password"
        self.password.write_text("old\n")
        self.copy(authority.pair("n17", file="first"))
        files = {"cert_file": self.cert, "key_file": self.key, "password_file": self.password}
        self.credentials = Credentials(
            settings(authority, username="n17", **{name: str(file) for name, file in files.items()})
        )
        self.credentials.load()

    def copy(self, pair, *, key=True):
        shutil.copy(pair.cert, self.cert)
        if key:
            shutil.copy(pair.key, self.key)


@pytest.fixture
def renewal(authority, tmp_path):
    return Renewal(authority, tmp_path)


def test_files_that_have_not_changed_are_not_taken_again(renewal):
    before = renewal.credentials.context
    assert not renewal.credentials.refresh()
    assert renewal.credentials.context is before


def test_a_pair_renewed_by_halves_is_taken_when_it_is_whole(renewal):
    before, new = renewal.credentials.context, renewal.authority.pair("n17", file="second")
    renewal.copy(new, key=False)
    for _ in range(2):
        with pytest.raises(ConfigError, match="renew both together"):
            renewal.credentials.refresh()
        assert renewal.credentials.context is before
    renewal.copy(new)
    assert renewal.credentials.refresh()
    assert renewal.credentials.context is not before


def test_a_renewed_certificate_that_has_expired_is_not_taken(renewal):
    before = renewal.credentials.context
    renewal.copy(renewal.authority.pair("n17", file="stale", days=-1))
    with pytest.raises(ConfigError, match="is valid from"):
        renewal.credentials.refresh()
    assert renewal.credentials.context is before


def test_a_new_password_is_taken_and_one_that_is_gone_stays(renewal):
    renewal.password.write_text("new\n")
    assert not renewal.credentials.refresh()
    assert renewal.credentials.password == "new"
    renewal.password.unlink()
    with pytest.raises(ConfigError, match=r"mqtt\.password_file"):
        renewal.credentials.refresh()
    assert renewal.credentials.password == "new"
