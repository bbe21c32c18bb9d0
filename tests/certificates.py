"""Authorities and certificates for a test, made by the `openssl` command."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.servers import binary


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    cert: Path
    key: Path


class Authority:
    """One that signs; `certificate` is what others trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._own = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl("req", "-x509", *_new_key(self._own.key), "-out", self._own.cert, "-subj", f"/CN={name}")

    @property
    def certificate(self) -> Path:
        return self._own.cert

    def pair(self, name: str, *, file: str = "", days: int = 30, host: str = "localhost") -> Pair:
        """A certificate with this CN, for this host; negative days: it has expired."""
        made = Pair(self._folder / f"{file or name}.pem", self._folder / f"{file or name}.key")
        request, extensions = made.cert.with_suffix(".csr"), made.cert.with_suffix(".ext")
        extensions.write_text(f"subjectAltName=DNS:{host}\nauthorityKeyIdentifier=keyid\n")
        _openssl("req", *_new_key(made.key), "-out", request, "-subj", f"/CN={name}")
        signing = ("-CA", self._own.cert, "-CAkey", self._own.key, "-CAcreateserial", "-days", str(days))
        _openssl("x509", "-req", "-in", request, *signing, "-extfile", extensions, "-out", made.cert)
        return made


def _new_key(file: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([binary("openssl"), *arguments], check=True, capture_output=True)
