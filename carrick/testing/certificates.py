"""Certificates for tests: an authority of one's own, made with `openssl`, in a directory of the test's."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_DAY = timedelta(days=1)
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority. `ca` is its certificate."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._number = 0
        self.ca = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._openssl(
            "req",
            "-x509",
            *_NEW_KEY,
            *("-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", str(self._key), "-out", str(self.ca)),
        )

    def issue(
        self,
        name: str,
        addresses: Sequence[str] = (),
        *,
        starts: timedelta = -_DAY,
        ends: timedelta = _DAY,
    ) -> Certificate:
        """Return a certificate for `name` and the IP addresses; its dates are counted from now."""
        self._number += 1
        stem = self._directory / f"{self._number}-{name}"
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        names = ",".join([f"DNS:{name}", *(f"IP:{address}" for address in addresses)])
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl(
            "req",
            "-new",
            *_NEW_KEY,
            *("-subj", f"/CN={name}"),
            *("-keyout", str(made.key), "-out", str(request)),
        )
        # `openssl ca` can set both dates, where `openssl x509` counts days from now.
        index = stem.with_suffix(".index")
        index.write_text("")
        config = stem.with_suffix(".cnf")
        config.write_text(
            "[ca]\ndefault_ca=test\n[test]\n"
            f"database={index}\nnew_certs_dir={self._directory}\nrand_serial=yes\ndefault_md=sha256\n"
            "policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        )
        now = datetime.now(UTC)
        self._openssl(
            *(
                "ca",
                "-batch",
                "-notext",
                "-config",
                str(config),
                "-cert",
                str(self.ca),
                "-keyfile",
                str(self._key),
            ),
            *("-in", str(request), "-out", str(made.cert), "-extfile", str(extensions)),
            *("-startdate", f"{now + starts:%Y%m%d%H%M%SZ}", "-enddate", f"{now + ends:%Y%m%d%H%M%SZ}"),
        )
        return made

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self._directory)
