# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Other versions of the PostgreSQL server than the one installed: a Maven artifact, kept in .cache/, unpacked for a session."""

import contextlib
import fcntl
import io
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-{arch}:{version}"
VERSIONS = {14: "14.15.0", 17: "17.2.0", 18: "18.0.0"}
ARCH = {"x86_64": "amd64", "aarch64": "arm64v8"}


def jar_of(major):
    """The artifact in .cache/, fetched when it is not there."""
    version, arch = VERSIONS[major], ARCH[os.uname().machine]
    cache = pathlib.Path(os.environ.get("SLUICE_CACHE_DIR", ROOT / ".cache")) / "postgresql"
    jar = cache / f"embedded-postgres-binaries-linux-{arch}-{version}.jar"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jar.exists():
            done = subprocess.run(["mvn", "-q", "-B", "dependency:copy", f"-DoutputDirectory={cache}",
                                   f"-Dartifact={ARTIFACT.format(arch=arch, version=version)}"],
                                  capture_output=True, text=True, cwd="/", timeout=300)
            assert done.returncode == 0 and jar.exists(), f"PostgreSQL {version} cannot be fetched: {done.stdout[-500:]}"
    return jar


@contextlib.contextmanager
def unpacked(major):
    """The folder of the server's programs; readable by the user the server runs as."""
    base = tempfile.mkdtemp(prefix=f"sluice-pg{major}-")
    os.chmod(base, 0o755)
    try:
        with zipfile.ZipFile(jar_of(major)) as jar:
            inner = next(n for n in jar.namelist() if n.endswith(".txz"))
            with tarfile.open(fileobj=io.BytesIO(jar.read(inner)), mode="r:xz") as archive:
                archive.extractall(base)
        yield f"{base}/bin"
    finally:
        shutil.rmtree(base, ignore_errors=True)
