"""Signatures of messages: Ed25519 over the bytes as published. docs/signing.md has the format.

A payload is `{...,"issuer":"KEY ID","signature":"BASE64"}`. What is signed is the name of the kind of message
("thermogate/1 GateDecision", a newline) and the payload without `,"signature":"BASE64"`. So nothing has to be
encoded again to verify it, and no kind of message passes for another.
"""

import base64
import json
import logging
import re
import time
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from thermogate.core import key_files, wire
from thermogate.core.errors import ConfigError, SignatureError
from thermogate.core.gate_messages import Override
from thermogate.core.key_files import TrustedKey
from thermogate.core.schema import VERSION

log = logging.getLogger(__name__)


class Signed(Protocol):
    """A message (a struct) that can be sealed: `signature` is its last field, and left out when empty."""

    @property
    def schema(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def signature(self) -> str: ...


M = TypeVar("M", bound=Signed)

_BEFORE, _AFTER = b',"signature":"', b'"}'
_SEAL = re.compile(_BEFORE + rb"([A-Za-z0-9+/]{86}==)" + _AFTER)
_SEAL_BYTES = len(_BEFORE) + 88 + len(_AFTER)


class SigningKey:
    """An Ed25519 key that signs. A file is read again when it changes: to rotate needs no restart."""

    def __init__(self, key: Ed25519PrivateKey, file: Path | None = None) -> None:
        self._key = key
        self._file = file
        self._made_of = None if file is None else key_files.state(file)

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new one, of the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """The key in a file (PEM, PKCS #8, not encrypted).

        Raises ConfigError naming the file: missing, unreadable, not such a key, or readable by others.
        """
        return cls(_read(path), path)

    def save(self, path: Path, *, over: bool = False) -> None:
        """Into a file for us alone, whole or not at all.

        Raises ConfigError when there is one and not `over`, UnavailableError when it cannot be written.
        """
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key_files.write_secret(path, pem, over=over)

    @property
    def public_bytes(self) -> bytes:
        """The public half, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def public(self) -> str:
        """The public half in base64, as in a file of trusted keys."""
        return base64.b64encode(self.public_bytes).decode()

    @property
    def key_id(self) -> str:
        """What its messages name as `issuer`: 16 hex digits."""
        return key_files.key_id(self.public_bytes)

    def seal(self, message: M) -> tuple[M, bytes]:
        """`message` with `issuer` and `signature`, and the payload to publish, byte for byte."""
        self._refresh()
        unsigned: Any = msgspec.structs.replace(message, issuer=self.key_id, signature="")  # type: ignore[type-var]
        body = wire.encode(unsigned)
        assert not body.endswith(b'"signature":""}'), "the struct needs omit_defaults"
        signature = base64.b64encode(self._key.sign(_domain(unsigned) + body)).decode()
        sealed: M = msgspec.structs.replace(unsigned, signature=signature)
        return sealed, body[:-1] + _BEFORE + signature.encode() + _AFTER

    def _refresh(self) -> None:
        if self._file is None or (state := key_files.state(self._file)) == self._made_of:
            return
        self._made_of = state
        try:
            self._key = _read(self._file)
        except ConfigError as err:
            log.warning("the key stays as it was: %s", err)


class TrustedKeys:
    """Whose word counts. The file is read again when it changes, so that who is revoked is out at once."""

    def __init__(self, keys: tuple[TrustedKey, ...], file: Path | None = None) -> None:
        self._file = file
        self._made_of = None if file is None else key_files.state(file)
        self._keys = _by_id(keys)

    @classmethod
    def load(cls, path: Path) -> "TrustedKeys":
        """Those of a file. Raises ConfigError naming file and line."""
        return cls(key_files.read(path), path)

    @property
    def keys(self) -> tuple[TrustedKey, ...]:
        """Those of now."""
        self._refresh()
        return tuple(key for key, _public in self._keys.values())

    def check(self, payload: bytes, message: Signed, now_ns: int | None = None) -> None:
        """Pass when `payload`, decoded as `message`, is signed by one who may, at `now_ns` (None: now).

        Raises SignatureError with the reason. Whether it is for here and now is for `Admission` to say.
        """
        if not message.signature or not message.issuer:
            raise SignatureError("unsigned", f"unsigned {type(message).__name__}")
        body, signature = _cut(payload)
        _refuse_ambiguous(payload, message)
        self._refresh()
        found = self._keys.get(message.issuer)
        if found is None:
            raise SignatureError("foreign", f"foreign issuer: key {message.issuer[:40]!r} is not trusted")
        key, public = found
        _refuse_unfit(key, message, time.time_ns() if now_ns is None else now_ns)
        try:
            public.verify(signature, _domain(message) + body)
        except InvalidSignature as err:
            raise SignatureError(
                "forged", f"the signature is not that of {key.name} ({key.key_id}): changed since, or forged"
            ) from err

    def _refresh(self) -> None:
        if self._file is None or (state := key_files.state(self._file)) == self._made_of:
            return
        self._made_of = state
        if state is None:
            log.warning("%s is gone: nobody is trusted until it is back", self._file)
            self._keys = {}
            return
        try:
            self._keys = _by_id(key_files.read(self._file))
        except ConfigError as err:
            log.warning("the trusted keys stay as they were: %s", err)


def _read(path: Path) -> Ed25519PrivateKey:
    body = key_files.read_secret(path)
    try:
        key = serialization.load_pem_private_key(body, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise ConfigError(f"{path}: is no private key in PEM without a passphrase") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: is a key of another kind: thermogate signs with Ed25519")
    return key


def _by_id(keys: tuple[TrustedKey, ...]) -> dict[str, tuple[TrustedKey, Ed25519PublicKey]]:
    return {key.key_id: (key, Ed25519PublicKey.from_public_bytes(key.public)) for key in keys}


def _domain(message: Signed) -> bytes:
    return f"{VERSION} {type(message).__name__}\n".encode()


def _cut(payload: bytes) -> tuple[bytes, bytes]:
    """What is signed of a payload, and the signature."""
    seal = _SEAL.fullmatch(payload[-_SEAL_BYTES:])
    if seal is None:
        raise SignatureError("malformed", "the signature is not the last member, or something follows it")
    signature = base64.b64decode(seal[1])
    if base64.b64encode(signature) != seal[1]:
        raise SignatureError("malformed", "the signature is not in canonical base64")
    return payload[:-_SEAL_BYTES] + b"}", signature


def _refuse_ambiguous(payload: bytes, message: Signed) -> None:
    """Every reader must find in the payload what we found.

    Our own encoding is unambiguous. Another one (of a newer version, with members that we do not know) passes
    when it decodes to `message` and no member stands twice: readers differ in which of two they take.
    """
    if message.schema != VERSION:
        raise SignatureError("malformed", f"schema {message.schema[:40]!r} is not {VERSION}")
    if wire.encode(message) == payload:  # type: ignore[arg-type]
        return
    if wire.decode(payload, type(message)) != message:
        raise SignatureError("malformed", "the message is not what its payload says")
    try:
        json.loads(payload, object_pairs_hook=_refuse_twice)
    except (ValueError, RecursionError) as err:
        raise SignatureError("malformed", f"not plain JSON: {err}") from err


def _refuse_twice(members: list[tuple[str, Any]]) -> None:
    names = [name for name, _value in members]
    if len(names) != len(set(names)):
        raise ValueError(f"a member stands twice among {', '.join(sorted(names))[:200]}")


def _refuse_unfit(key: TrustedKey, message: Signed, now_ns: int) -> None:
    if key.until_ns is not None and now_ns >= key.until_ns:
        raise SignatureError(
            "ended", f"{key.name} ({key.key_id}) is no longer trusted since {key_files.rfc3339(key.until_ns)}"
        )
    purpose = "override" if isinstance(message, Override) else "decision"
    if key.purpose not in (None, purpose):
        raise SignatureError(
            "purpose", f"{key.name} ({key.key_id}) is trusted for {key.purpose}s only, and this is no such"
        )
