"""The files by which an etcd and we know each other: authority, certificate and key; renewed ones are taken up whole.

They are written one after the other. As long as certificate and key are not of one pair, or something can't be read, what
was read before stays in use.
"""

import asyncio
import os
import ssl
import tempfile
from pathlib import Path

import grpc

from sampan.store.etcd_address import Address

Stamp = tuple[tuple[int, int, int], ...]


class EtcdFiles:
    """Read when it is made, and again when they have changed. Raises OSError when one can't be read at first."""

    def __init__(self, address: Address) -> None:
        self._names = (address.ca, address.key, address.certificate)
        self._is_secure = address.is_secure
        self._seen = self._stamp()
        self._contents = self._read() if address.is_secure else ()

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """For a channel; None where there is no TLS."""
        return grpc.ssl_channel_credentials(*self._contents) if self._is_secure else None

    async def have_changed(self) -> bool:
        """Whether there are others now, which are good."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            contents = self._read()
        except OSError:
            return False
        if contents != self._contents and not await asyncio.to_thread(_is_good, *contents):
            return False  # looked at again, since the stamp stays
        is_new, self._seen, self._contents = contents != self._contents, stamp, contents
        return is_new

    def _stamp(self) -> Stamp:
        found = [os.stat(name) for name in self._names if name]
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in found)

    def _read(self) -> tuple[bytes | None, ...]:
        return tuple(Path(name).read_bytes() if name else None for name in self._names)


def _is_good(authority: bytes | None, key: bytes | None, certificate: bytes | None) -> bool:
    """Whether certificates can be read, and the key is the certificate's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if authority is not None:
            context.load_verify_locations(cadata=authority.decode())
        if key is not None and certificate is not None:
            with tempfile.TemporaryDirectory() as folder:  # ssl only reads key pairs from files; the folder is 0700
                pair = Path(folder) / "pair.pem"
                pair.touch(mode=0o600)
                pair.write_bytes(certificate + b"\n" + key)
                context.load_cert_chain(pair)
    except (ssl.SSLError, ValueError, OSError):
        return False
    return True
