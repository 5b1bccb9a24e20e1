"""The transfer of a file from an untrusted server, within limits.

A server may be slow, endless, lead elsewhere or say what a terminal acts on. How long and how much
is waited for is limited whatever it sends, redirects stay with http and https and never leave the
encryption, and what it says is quoted as one short line. This is no part of a library: `pooch` has
no limit of size or total time, leaves the encryption and unpacks what comes compressed, and with
this module plugged in as its downloader still downloads again, in silence, a file that changed in
the cache, and leaves the part of a killed download behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pesbench.core.errors import HostError, UserError
from pesbench.core.progress import track
from pesbench.core.text import quoted
from pesbench.models.addresses import MOST_BYTES, why_no_address, without_secret

ATTEMPTS = 4
BACKOFF_S = 2.0  # before the second attempt; twice as long before each further one
READ_TIMEOUT_S = 60.0  # without a byte
SLOWEST_BYTES_PER_S = 1000.0  # over twice that time, which the answer's head counts to
LONGEST_S = 6 * 3600.0  # of one attempt
_MOST_REDIRECTS = 5
_BLOCK_BYTES = 1 << 20
_TRANSIENT = (408, 425, 429)  # of the answers below 500

logger = logging.getLogger("pesbench")


class _TransientError(Exception):
    """A download that may succeed next time."""


class _RefusedError(Exception):
    """Content that is never accepted from a server."""


def save(address: str, path: Path, cure: str, most_bytes: int = MOST_BYTES) -> str:
    """Download an address to a file; what breaks on the way is tried again a few times.

    Args:
        address: http, https or file.
        path: File that is overwritten. On an error it may hold a part, which the caller removes.
        cure: What a user can do if the address is no good, for the message.
        most_bytes: More is not taken.

    Returns:
        The sha256 of the content.

    Raises:
        UserError: the server says that there is nothing for us, leads elsewhere or sends too much,
            or the address is none.
        HostError: the network or the server failed or was too slow at every attempt, or the disk
            failed.
    """
    if reason := why_no_address(address):
        raise UserError(f"{without_secret(address)}: the address {reason}, or {cure}")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _save_once(address, path, cure, most_bytes)
        except _TransientError as error:
            if attempt == ATTEMPTS:
                raise HostError(
                    f"{address}: download failed at {ATTEMPTS} attempts ({error}); "
                    f"try again, or {cure}"
                ) from error
            wait = BACKOFF_S * 2 ** (attempt - 1)
            logger.warning("%s: %s; trying again in %.0f s", address, error, wait)
            time.sleep(wait)
    raise AssertionError("no attempt was made")


def _save_once(address: str, path: Path, cure: str, most_bytes: int) -> str:
    digest, size, length = hashlib.sha256(), 0, None
    with path.open("wb") as out, _Watch() as watch:
        try:
            with _opener(watch).open(address, timeout=READ_TIMEOUT_S) as answer:
                length = _length(answer.headers.get("Content-Length"))
                _check_size(length or 0, most_bytes)
                for block in _blocks(answer, watch, address, length):
                    digest.update(block)
                    size += len(block)
                    _check_size(size, most_bytes)
                    _write(out, block, path)
        except _RefusedError as error:
            raise UserError(f"{address}: {error}; {cure}") from error
        except urllib.error.HTTPError as error:
            said = f"the server answers {error.code} {quoted(error.reason)}"
            error.close()
            if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR or error.code in _TRANSIENT:
                raise _TransientError(said) from error
            raise UserError(f"{address}: {said}; {cure}") from error
        except TimeoutError as error:
            raise _TransientError(f"no byte came in {READ_TIMEOUT_S:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, http.client.InvalidURL):
                raise UserError(f"{address}: not a valid address; {cure}") from error
            said = watch.why or quoted(getattr(error, "reason", "") or error)
            raise _TransientError(said or type(error).__name__) from error
        except ValueError as error:  # errors of the server's answer, such as the port of a redirect
            raise UserError(f"{address}: {quoted(error)}; {cure}") from error
    if watch.why:
        raise _TransientError(watch.why)
    if length is not None and size != length:
        raise _TransientError(f"{size} of {length} bytes came")
    return digest.hexdigest()


def _length(header: str | None) -> int | None:
    return int(header) if header and re.fullmatch("[0-9]{1,18}", header) else None


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise _RefusedError(f"the server sends more than {most_bytes / 1e9:g} GB")


def _blocks(answer: BinaryIO, watch: _Watch, address: str, length: int | None) -> Iterator[bytes]:
    blocks = _received(answer, watch)
    if length is None:
        logger.info("downloading %s", address)
        return blocks
    logger.info("downloading %s (%.1f MB)", address, length / 1e6)
    return track(blocks, -(-length // _BLOCK_BYTES), "MiB")


def _received(answer: BinaryIO, watch: _Watch) -> Iterator[bytes]:
    """The content in large blocks; every byte counts when it comes."""
    held = bytearray()
    while piece := answer.read1(_BLOCK_BYTES):  # type: ignore[attr-defined]
        watch.received += len(piece)
        held += piece
        if len(held) >= _BLOCK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _write(out: BinaryIO, block: bytes, path: Path) -> None:
    try:
        out.write(block)
    except OSError as error:  # not the network's
        raise HostError(
            f"{path}: cannot be written ({error.strerror}); free space there"
        ) from error


class _Watch:
    """Shuts the connection of a transfer that is too slow, whatever the server sends.

    The timeout of a socket begins anew with every byte: a server that sends one a minute, of a
    header without an end, would be waited for without end.

    Attributes:
        received: Bytes of the content so far.
        why: What was too slow, or "".
    """

    def __init__(self) -> None:
        self.received = 0
        self.why = ""
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._sockets:
            connection.close()

    def add(self, connection: socket.socket) -> None:
        """Watch a connection, encrypted or not yet."""
        self._sockets.append(connection.dup())
        if self.why:
            self._shut()

    def _look(self) -> None:
        begun, counted = time.monotonic(), [-1, -1]  # bytes one and two looks ago; at first none
        while not self._over.wait(READ_TIMEOUT_S):
            least = 2 * READ_TIMEOUT_S * SLOWEST_BYTES_PER_S
            if counted[0] >= 0 and self.received - counted[0] < least:
                self.why = f"slower than {SLOWEST_BYTES_PER_S:g} bytes/s"
            elif time.monotonic() - begun > LONGEST_S:
                self.why = f"not whole after {LONGEST_S:g} s"
            if self.why:
                self._shut()
                return
            counted = [max(counted[1], 0), self.received]

    def _shut(self) -> None:
        for connection in self._sockets:
            with contextlib.suppress(OSError):  # it is not connected any more
                connection.shutdown(socket.SHUT_RDWR)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MOST_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = req.type, urllib.parse.urlsplit(newurl).scheme.lower()
        if after not in ("http", "https") or (before == "https" and after == "http"):
            raise _RefusedError(f"the server leads from {before} to {quoted(after, 20)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(watch: _Watch) -> urllib.request.OpenerDirector:
    """What opens an address, with every connection watched from its first byte."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            watch.add(self.sock)

    class Encrypted(http.client.HTTPSConnection, Plain):  # Plain's part comes before the handshake
        pass

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Plain, req)

    class EncryptedHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Encrypted, req)

    return urllib.request.build_opener(PlainHandler, EncryptedHandler, _Redirects)
