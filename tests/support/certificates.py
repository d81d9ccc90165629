# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""Certificates of our own making."""

import subprocess


def openssl(*args):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_authority(here):
    """Fills a folder with ca.pem, other.pem (another authority), server.key and server.crt (of 127.0.0.1), and server.pem with both."""
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN={name}", "-keyout", here / f"{name}.key",
                "-out", here / f"{name}.pem")
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", here / "server.key", "-out", here / "csr")
    (here / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", here / "csr", "-CA", here / "ca.pem", "-CAkey", here / "ca.key", "-CAcreateserial", "-days", 2,
            "-extfile", here / "ext", "-out", here / "server.crt")
    (here / "server.pem").write_text((here / "server.key").read_text() + (here / "server.crt").read_text())
    return here
