import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import binary
from tests.signed import DECISION, KEY, NOW_NS, OVERRIDE, TRUSTED
from thermogate.core import wire
from thermogate.core.decision import GateDecision, State
from thermogate.core.errors import ConfigError, SignatureError
from thermogate.core.gate_messages import Override
from thermogate.core.signing import SigningKey, TrustedKeys

DOCS = Path(__file__).parents[3] / "docs" / "signing.md"


def refusal(
    payload: bytes, trusted: TrustedKeys = TRUSTED, of: type = GateDecision, now_ns: int = NOW_NS
) -> str:
    with pytest.raises(SignatureError) as caught:
        trusted.check(payload, wire.decode(payload, of), now_ns)
    return caught.value.reason


@pytest.mark.parametrize("message", [DECISION, OVERRIDE])
def test_a_sealed_message_passes_and_its_signature_stands_last(message):
    sealed, payload = KEY.seal(message)
    TRUSTED.check(payload, sealed)
    assert payload == wire.encode(sealed)
    assert wire.decode(payload, type(message)) == sealed
    assert list(json.loads(payload))[-2:] == ["issuer", "signature"]
    assert msgspec.structs.replace(sealed, issuer="", signature="") == message


@settings(max_examples=300)
@given(data=st.data())
def test_no_change_of_a_signed_payload_passes(data):
    _, payload = KEY.seal(DECISION)
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = bytearray(payload)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        message = wire.decode(bytes(changed), GateDecision)
    except wire.WireError:
        return
    with pytest.raises(SignatureError):
        TRUSTED.check(bytes(changed), message, NOW_NS)


def test_each_way_to_cheat_is_named():
    sealed, payload = KEY.seal(DECISION)
    signature = f',"signature":"{sealed.signature}"'.encode()
    assert refusal(wire.encode(DECISION)) == "unsigned"
    assert refusal(payload.replace(signature, b"")) == "unsigned"
    assert refusal(payload.replace(b'"HOLD"', b'"RUN"')) == "forged"
    assert refusal(SigningKey.generate().seal(DECISION)[1]) == "foreign"
    assert refusal(payload.replace(b'"seq":7', b'"seq":7,"seq":8')) == "malformed"
    assert refusal(payload[:-1] + b',"state":"RUN"}') == "malformed"
    assert refusal(payload[:-1] + signature + b"}") == "malformed"
    assert refusal(b"{" + signature[1:] + b"," + payload[1:]) == "malformed"
    assert refusal(payload + b"\n") == "malformed"
    assert refusal(payload[:-1] + b" }") == "malformed"
    loose = sealed.signature[:-3] + chr(ord(sealed.signature[-3]) + 1) + "=="  # its unused bits set
    assert refusal(payload.replace(sealed.signature.encode(), loose.encode())) in ("malformed", "forged")


def test_an_override_does_not_pass_for_a_decision():
    """The same bytes under the other name: the kind of the message is signed with it."""
    sealed, payload = KEY.seal(Twin(**msgspec.structs.asdict(DECISION)))
    assert wire.decode(payload, GateDecision).signature == sealed.signature
    assert refusal(payload) == "forged"


class Twin(GateDecision, frozen=True, omit_defaults=True, kw_only=True):
    """As a decision, by another name."""


def test_a_newer_version_may_say_more_but_nothing_twice():
    _, payload = KEY.seal(Newer(**msgspec.structs.asdict(OVERRIDE), more="m"))
    TRUSTED.check(payload, wire.decode(payload, Override), NOW_NS)
    twice = payload.replace(b'"more":"m"', b'"more":"m","more":"n"')
    assert refusal(twice, of=Override) == "malformed"
    assert refusal(payload.replace(b'"more":"m"', b'"more":"n"'), of=Override) == "forged"


class Newer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    kind: str
    target: str
    state: State
    issued_at_ns: int
    from_ns: int
    until_ns: int
    why: str
    by: str
    pace: float = 1.0
    schema: str = "thermogate/1"
    more: str = ""
    issuer: str = ""
    signature: str = ""


Newer.__name__ = "Override"


def test_a_key_counts_until_its_end_and_for_its_purpose(tmp_path):
    file = tmp_path / "trusted"
    file.write_text(f"# who\n\ngate {KEY.public} until=2025-11-21T08:00:00Z for=decision # the first\n")
    trusted = TrustedKeys.load(file)
    _, decision = KEY.seal(DECISION)
    _, override = KEY.seal(OVERRIDE)
    trusted.check(decision, wire.decode(decision, GateDecision), NOW_NS - 1)
    assert refusal(decision, trusted, now_ns=NOW_NS) == "ended"
    assert refusal(override, trusted, Override, NOW_NS - 1) == "purpose"


def test_a_trusted_file_is_read_again_when_it_changes(tmp_path, caplog):
    file = tmp_path / "trusted"
    file.write_text("# nobody\n")
    trusted = TrustedKeys.load(file)
    sealed, payload = KEY.seal(DECISION)
    assert refusal(payload, trusted) == "foreign"
    file.write_text(f"gate {KEY.public}\n")
    trusted.check(payload, sealed, NOW_NS)
    file.write_text("nonsense\n")
    trusted.check(payload, sealed, NOW_NS)
    assert "line 1" in caplog.text
    file.unlink()
    assert refusal(payload, trusted) == "foreign"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gate", "expected: NAME PUBLIC_KEY"),
        ("ga/te QUJD", "is no name"),
        ("gate not-base64!", "no public key in base64"),
        ("gate QUJD", "32 bytes, and not 3"),
        ("gate KEY until=tomorrow", "expected a time such as"),
        ("gate KEY until=2025-11-21T08:00:00", "needs its zone"),
        ("gate KEY for=lunch", "expected decision or override"),
        ("gate KEY for=decision for=override", "once each"),
        ("two KEY", "is that of one"),
        ("one OTHER", "there is a key one already"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, said):
    file = tmp_path / "trusted"
    line = line.replace("KEY", KEY.public).replace("OTHER", SigningKey.generate().public)
    file.write_text(f"# comment\none {KEY.public}\n{line}\n")
    with pytest.raises(ConfigError, match=re.escape(f"{file}: line 3: ")) as caught:
        TrustedKeys.load(file)
    assert said in str(caught.value)


def test_trusted_keys_that_others_may_write_are_refused(tmp_path):
    file = tmp_path / "trusted"
    file.write_text(f"one {KEY.public}\n")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="others may write it"):
        TrustedKeys.load(file)


def test_a_key_is_for_its_owner_alone_and_never_overwritten(tmp_path):
    file = tmp_path / "deep" / "gate.key"
    KEY.save(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(file).key_id == KEY.key_id
    with pytest.raises(ConfigError, match="not overwritten"):
        SigningKey.generate().save(file)
    assert [path.name for path in file.parent.iterdir()] == ["gate.key"]
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        SigningKey.load(file)


def test_a_new_key_in_the_file_signs_from_then_on(tmp_path):
    KEY.save(tmp_path / "gate.key")
    key = SigningKey.load(tmp_path / "gate.key")
    new = SigningKey.generate()
    new.save(tmp_path / "gate.key", over=True)
    assert key.seal(DECISION)[0].issuer == new.key_id
    (tmp_path / "gate.key").unlink()
    assert key.seal(DECISION)[0].issuer == new.key_id


def test_what_is_no_key_is_named(tmp_path):
    file = tmp_path / "gate.key"
    with pytest.raises(ConfigError, match=re.escape(f"{file}: there is no such key")):
        SigningKey.load(file)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for body, said in ((b"what", "is no private key"), (other, "of another kind")):
        file.write_bytes(body)
        file.chmod(0o600)
        with pytest.raises(ConfigError, match=said):
            SigningKey.load(file)


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.fixture
def published(tmp_path):
    """A payload as somebody else finds it, and the public key."""
    (tmp_path / "payload.json").write_bytes(KEY.seal(DECISION)[1])
    (tmp_path / "public.txt").write_text(KEY.public)
    return tmp_path


def test_the_example_in_python_verifies_with_cryptography_alone(published):
    (code,) = examples("python")
    assert "thermogate" not in re.sub(r'b"thermogate/1 GateDecision\\n"', "", code)
    command = [sys.executable, "-c", code]
    assert (
        subprocess.run(command, cwd=published, check=True, capture_output=True, text=True).stdout == "HOLD\n"
    )
    payload = published / "payload.json"
    payload.write_bytes(payload.read_bytes().replace(b"HOLD", b"RUN"))
    assert subprocess.run(command, cwd=published, check=False, capture_output=True).returncode != 0


def test_the_example_with_openssl_verifies(published):
    binary("openssl")
    (code,) = [text for text in examples("sh") if "pkeyutl" in text]
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=published, check=False, capture_output=True, text=True)
    assert (done.returncode, "Verified Successfully" in done.stdout) == (0, True), done.stderr
    payload = published / "payload.json"
    payload.write_bytes(payload.read_bytes().replace(b"HOLD", b"RUN"))
    assert subprocess.run(command, cwd=published, check=False, capture_output=True).returncode != 0


def test_public_keys_are_base64_of_32_bytes():
    assert len(base64.b64decode(KEY.public)) == 32
    assert re.fullmatch("[0-9a-f]{16}", KEY.key_id)
