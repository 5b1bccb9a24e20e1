"""Weights by their address: whole or not at all, pinned at first use, refused when they change."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from pesbench import cli
from pesbench.core.errors import HostError, UserError
from pesbench.models import download, transfer
from pesbench.models.addresses import Pin, cache_path, pin_path, read_pin
from pesbench.models.download import fetch
from pesbench.models.fetching import fetch_weights, settle
from pesbench.models.registry import ModelEntry, check_entry
from pesbench.orchestration.config import loading_options, read_models, resolve_entry

NETWORK = b"\x80\x02cmace.modules.models\nScaleShiftMACE\nq\x00)\x81."
PATIENCE_S = 10.0


def archive(text: str) -> bytes:
    """What begins like a pickled MACE model of torch; `text` makes another one."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("model/data.pkl"), NETWORK)
        file.writestr(zipfile.ZipInfo("model/data/0"), text)
    return buffer.getvalue()


GOOD, OTHER = archive("good" * 1000), archive("other" * 1000)


@dataclass
class Server:
    """What the local server sends, and what it was asked for.

    Attributes:
        content: Body by path; a path that is not here is answered with 404.
        faults: What goes wrong at the next requests, in turn: a status, `cut`, `hangup`, `silent`
            (no answer) or `stall` (half a body).
        asked: Paths, in order.
        pause_s: Before every answer.
        released: Ends what hangs.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    pause_s: float = 0.0
    released: threading.Event = field(default_factory=threading.Event)
    root: str = ""

    def address(self, name: str = "a.model") -> str:
        return f"{self.root}/{name}"


def handler_of(state: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            state.released.wait(state.pause_s)
            fault = state.faults.pop(0) if state.faults else None
            body = state.content.get(self.path)
            if fault == "silent":
                state.released.wait(PATIENCE_S)
            elif fault == "hangup":
                self.connection.close()
            elif isinstance(fault, int):
                self.send_error(fault)
            elif body is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if fault else body)
                self.wfile.flush()
                if fault == "stall":
                    state.released.wait(PATIENCE_S)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(content={"/a.model": GOOD})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state))
    state.root = f"http://127.0.0.1:{served.server_port}"
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.released.set()
    served.shutdown()
    served.server_close()
    thread.join(PATIENCE_S)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "BACKOFF_S", 0.0)
    return tmp_path / "cache"


def kept(cache: Path) -> list[str]:
    """Names in the cache but for locks, which stay."""
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock")


def one_line(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    assert len(message) < 600
    return message


# --- the cache -----------------------------------------------------------------------------------


def test_a_good_download_is_kept_and_pinned(server: Server, cache: Path) -> None:
    pin = fetch(server.address())
    path = cache_path(server.address())
    assert path.parent == cache
    assert path.name.endswith("-a.model")
    assert path.read_bytes() == GOOD
    assert pin == read_pin(path)
    assert (pin.address, pin.sha256, pin.size) == (
        server.address(),
        sha256(GOOD).hexdigest(),
        len(GOOD),
    )
    assert kept(cache) == sorted([path.name, path.name + ".json"])
    assert path.stat().st_mode & 0o444 == 0o444  # others may read a shared cache
    assert fetch(server.address()) == pin
    assert server.asked == ["/a.model"]


def test_names_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cache_path("https://example.org/x/my%20model.pt?raw=true")
    assert first.name.endswith("-my_model.pt")
    assert first != cache_path("https://example.org/y/my%20model.pt?raw=true")
    assert first == cache_path("https://example.org/x/my%20model.pt?raw=true")
    assert cache_path("https://example.org/").name.endswith("-weights")
    assert len(cache_path("https://example.org/" + "a" * 500).name) < 255
    monkeypatch.setenv("PESBENCH_CACHE", "")
    assert cache_path("https://a/b").parent == Path.home() / ".cache" / "pesbench" / "weights"
    monkeypatch.setenv("PESBENCH_CACHE", "relative")
    assert cache_path("https://a/b").is_absolute()


@pytest.mark.parametrize("fault", ["cut", "hangup", 503, 429])
def test_what_breaks_is_tried_again(server: Server, cache: Path, fault: int | str) -> None:
    server.faults = [fault, fault]
    assert fetch(server.address()).sha256 == sha256(GOOD).hexdigest()
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("cut", f"{len(GOOD) // 2} of {len(GOOD)} bytes came"),
        ("hangup", "download failed"),
        (500, "the server answers 500"),
    ],
)
def test_what_breaks_always_is_the_hosts_fault(
    server: Server, cache: Path, fault: int | str, said: str
) -> None:
    server.faults = [fault] * transfer.ATTEMPTS
    with pytest.raises(HostError) as caught:
        fetch(server.address())
    assert said in one_line(caught.value)
    assert "try again" in str(caught.value)
    assert len(server.asked) == transfer.ATTEMPTS
    assert kept(cache) == []


@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_a_server_that_says_nothing_more(
    server: Server, cache: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    server.faults = [fault, fault]
    with pytest.raises(HostError, match=r"2 attempts \((no byte came in 0\.1 s|timed out)\)"):
        fetch(server.address())
    assert kept(cache) == []


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match=r"refused.*put the file at"):
        fetch("http://127.0.0.1:9/a.model")


@pytest.mark.parametrize("status", [404, 410, 403])
def test_what_is_not_there_is_not_tried_again(server: Server, cache: Path, status: int) -> None:
    server.faults = [status]
    with pytest.raises(UserError, match=f"{server.address()}: the server answers {status}") as it:
        fetch(server.address())
    assert str(cache_path(server.address())) in one_line(it.value)
    assert len(server.asked) == 1
    assert kept(cache) == []


def test_a_file_that_changed_in_the_cache(server: Server) -> None:
    fetch(server.address())
    path = cache_path(server.address())
    path.write_bytes(OTHER)
    with pytest.raises(UserError) as caught:
        fetch(server.address())
    message = one_line(caught.value)
    for said in (str(path), sha256(GOOD).hexdigest(), sha256(OTHER).hexdigest(), "delete it"):
        assert said in message
    path.unlink()  # the cure
    fetch(server.address())
    assert path.read_bytes() == GOOD


def test_a_file_that_changed_on_the_server(server: Server) -> None:
    address = server.address()
    first = fetch(address)
    path = cache_path(address)
    path.unlink()
    server.content["/a.model"] = OTHER
    with pytest.raises(UserError) as caught:
        fetch(address)
    message = one_line(caught.value)
    for said in (address, first.sha256, sha256(OTHER).hexdigest(), f"delete {pin_path(path)}"):
        assert said in message
    assert not path.exists()
    pin_path(path).unlink()  # the cure
    assert fetch(address).sha256 == sha256(OTHER).hexdigest()


def test_a_file_without_its_pin_is_pinned_as_it_is(server: Server, cache: Path) -> None:
    """It was put there by hand, for a machine without network."""
    path = cache_path(server.address())
    cache.mkdir()
    path.write_bytes(OTHER)
    assert fetch(server.address()).sha256 == sha256(OTHER).hexdigest()
    assert read_pin(path) == fetch(server.address())
    assert server.asked == []


def test_a_pin_that_is_none(server: Server) -> None:
    fetch(server.address())
    path = pin_path(cache_path(server.address()))
    for text in ("", "{}", "[]", '{"sha256": 1}'):
        path.write_text(text)
        with pytest.raises(UserError, match="is no pin") as caught:
            fetch(server.address())
        assert str(path) in one_line(caught.value)


def test_a_checksum_that_is_known_beforehand(server: Server, cache: Path) -> None:
    fetch(server.address(), sha256=sha256(GOOD).hexdigest())
    for address in (server.address("b.model"), server.address()):
        server.content["/b.model"] = GOOD
        with pytest.raises(UserError, match=f"the entry says {'0' * 64}") as caught:
            fetch(address, sha256="0" * 64)
        one_line(caught.value)
    assert not cache_path(server.address("b.model")).exists()
    assert not pin_path(cache_path(server.address("b.model"))).exists()


def test_several_at_once_download_once(server: Server) -> None:
    server.pause_s = 0.2
    found: list[Pin] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.address()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert server.asked == ["/a.model"]


def test_without_locks_both_download(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(download.fcntl, "flock", no_locks)
    cache.mkdir()
    path = cache_path(server.address())
    other = cache / f"{path.name}.other.part"  # of another process, at work perhaps
    other.write_bytes(b"")
    assert fetch(server.address()).size == len(GOOD)
    assert kept(cache) == sorted([path.name, path.name + ".json", other.name])


def test_what_a_killed_download_left_is_removed(server: Server, cache: Path) -> None:
    cache.mkdir()
    path = cache_path(server.address())
    (cache / f"{path.name}.killed.part").write_bytes(b"half")
    fetch(server.address())
    assert kept(cache) == sorted([path.name, path.name + ".json"])


@pytest.mark.parametrize("folder", ["~nobody-here/x", "/" + "a" * 300, "file/below"])
def test_a_cache_that_is_no_place(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PESBENCH_CACHE", folder)
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"mine": {"family": "mace", "weights": "https://a.example/b"}}))
    for trust in ([], ["--trust"]):
        command = ["entry", "mine", "--models-file", str(path), "--out", "o.json", *trust]
        assert cli.main(command) in (2, 75)
        assert caplog.messages[-1].isprintable()


def test_a_cache_that_cannot_be_used(server: Server, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(HostError, match="PESBENCH_CACHE"):
        fetch(server.address())


# --- servers that nobody answers for -------------------------------------------------------------


def spoken(*pieces: bytes, pause_s: float = 0.0, endless: bool = False) -> tuple[str, Callable]:
    """A server that sends just this to whoever connects; its address, and what ends it."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(4096)
            for piece in itertools.chain(pieces, itertools.repeat(pieces[-1]) if endless else ()):
                if over.wait(pause_s):
                    return
                connection.sendall(piece)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listening.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def end() -> None:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()

    return f"http://127.0.0.1:{listening.getsockname()[1]}/a.model", end


OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {  # what comes first, and what comes every hundredth of a second without an end
    "a content": (OK + b"\r\n", b"x"),
    "a content of a length": (OK + b"Content-Length: 900000\r\n\r\n", b"x"),
    "headers": (OK, b"A: b\r\n"),
    "one header": (OK, b"A"),
    "a status": (b"HTTP/1.1 200 ", b"O"),
    "the size of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "empty answers before the true one": (b"HTTP/1.1 100 Continue\r\n\r\n",) * 2,
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_server_is_not_waited_for(
    cache: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte begins the timeout of a socket anew; the transfer as a whole has a limit."""
    monkeypatch.setattr(transfer, "READ_TIMEOUT_S", 0.15)
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    address, end = spoken(*SLOW[kind], pause_s=0.01, endless=True)
    begun = time.monotonic()
    try:
        with pytest.raises((HostError, UserError)) as caught:
            fetch(address)
    finally:
        end()
    assert time.monotonic() - begun < 5
    one_line(caught.value)
    assert kept(cache) == []


def test_a_steady_server_is_waited_for(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(transfer, "READ_TIMEOUT_S", 0.3)
    body = [GOOD[k : k + 200] for k in range(0, len(GOOD), 200)]
    address, end = spoken(OK + b"\r\n", *body, pause_s=0.05)
    try:
        assert fetch(address).sha256 == sha256(GOOD).hexdigest()
    finally:
        end()


def test_a_transfer_has_an_end(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(transfer, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(transfer, "LONGEST_S", 0.3)
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    address, end = spoken(OK + b"\r\n", b"x" * 5000, pause_s=0.01, endless=True)
    try:
        with pytest.raises(HostError, match=r"not whole after 0\.3 s"):
            fetch(address)
    finally:
        end()
    assert kept(cache) == []


@pytest.mark.parametrize("head", [b"Content-Length: 999999999999\r\n", b"Content-Length: x\r\n",
                                  b"Content-Length: -5\r\n", b""])  # fmt: skip
def test_more_than_is_taken(cache: Path, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told beforehand or not; what came is removed, and it is not tried again."""
    monkeypatch.setattr(transfer.save, "__defaults__", (10_000_000,))
    address, end = spoken(OK + head + b"\r\n", b"x" * 1_000_000, endless=True)
    try:
        with pytest.raises(UserError, match=r"sends more than 0\.01 GB"):
            fetch(address)
    finally:
        end()
    assert kept(cache) == []


REASON = b"\x1b]0;owned\x07\x9b31m\x00 nothing\r here"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 " + REASON + b"\r\n\r\n",
        b"HTTP/1.1 404 " + b"long " * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 503 " + REASON + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: " + REASON + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:\x1b[2J/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\x1b/\r\n\r\n",
        b"\x1b[2J not http\r\n\r\n",
        b"HTTP/1.1 \x1b[2J 200\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_a_server_says_is_one_printable_line(
    cache: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    address, end = spoken(answer)
    try:
        with pytest.raises((HostError, UserError)) as caught:
            fetch(address)
    finally:
        end()
    for line in (one_line(caught.value), *caplog.messages):
        assert line.isprintable()


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("file:///etc/passwd", "302"),
        ("ftp://127.0.0.1/a", "leads from http to ftp"),
        ("data:text/plain,x", "302"),
        ("SELF", "infinite loop"),
    ],
)
def test_where_a_server_may_not_lead(cache: Path, location: str, said: str) -> None:
    own: list[str] = []
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation: "
    address, end = spoken(answer + (location if location != "SELF" else "/a.model").encode()
                          + b"\r\n\r\n")  # fmt: skip
    own.append(address)
    try:
        with pytest.raises(UserError, match=said) as caught:
            fetch(address)
    finally:
        end()
    one_line(caught.value)
    assert kept(cache) == []


def test_encryption_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    request = urllib.request.Request("https://example.org/a")
    for after, fine in (("https://a.example/b", True), ("http://example.org/b", False)):
        arguments = (request, None, 302, "Found", {}, after)
        if fine:
            assert transfer._Redirects().redirect_request(*arguments).full_url == after
        else:
            with pytest.raises(transfer._RefusedError, match="from https to http"):
                transfer._Redirects().redirect_request(*arguments)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://me:s3cret@example.org/a.model", "holds a user name or password"),
        ("https://s3cret@example.org/a.model", "holds a user name or password"),
        ("https://me:s3cret@[::1/a.model", "is not valid"),
        ("https://[::1/a.model", "is not valid"),
        ("https://example.org:port/a.model", "is not valid"),
        ("https://example.org/a b.model", "%XX"),
        ("https://example.org/\u00e9.model", "%XX"),
        ("https:///a.model", "names no host"),
        ("https://example.org/" + "a" * 3000, "characters"),
    ],
    ids=range(9),
)
def test_addresses_that_are_refused_before_any_work(
    tmp_path: Path, address: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Through an entry, a bare address, and a transfer; none repeats a password."""
    with pytest.raises(UserError, match=said) as entry:
        entry_of(tmp_path, weights=address)
    with pytest.raises(UserError, match=said) as bare:
        transfer.save(address, tmp_path / "x", "do something")
    assert cli.main(["check", "--weights", address, "--family", "mace", "--trust"]) == 2
    for line in (str(entry.value), str(bare.value), caplog.messages[-1]):
        assert said in line
        assert "s3cret" not in line
        assert line.isprintable()
    assert not (tmp_path / "x").exists()


def test_what_is_compressed_on_the_way_is_refused_not_unpacked(server: Server, cache: Path) -> None:
    server.content["/a.model"] = gzip.compress(bytes(10_000_000))
    with pytest.raises(UserError, match="is no file that torch writes"):
        fetch_weights(ModelEntry("m", "mace", {"weights": server.address()}))
    assert kept(cache) == []


# --- entries -------------------------------------------------------------------------------------


def entry_of(tmp_path: Path, **settings: str | bool) -> ModelEntry:
    """An entry as Snakemake's parsing has it, with the word of consent."""
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"mine": {"family": "mace", "trust": True} | settings}))
    return resolve_entry(read_models(path)["mine"], path, tmp_path)


def test_parsing_downloads_nothing_and_decides_the_same_before_and_after(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    before = entry_of(tmp_path, weights=server.address())
    assert server.asked == []
    assert not cache.exists()
    cached = str(cache_path(server.address()))
    assert loading_options(before) == ["--entry-sha256", before.sha256, "--weights", cached]
    settled = settle(before)
    after = entry_of(tmp_path, weights=server.address())
    assert after.deciding() == before.deciding()
    assert settled["settings"].pop("sha256") == sha256(GOOD).hexdigest()
    assert settled == before.deciding()


def test_another_address_is_another_model_unless_the_checksum_is_stated(
    server: Server, tmp_path: Path
) -> None:
    addresses = [server.address(), server.address("mirror.model")]
    one, two = (entry_of(tmp_path, weights=a).deciding() for a in addresses)
    assert one != two
    known = {"sha256": sha256(GOOD).hexdigest()}
    one, two = (entry_of(tmp_path, weights=a, **known).deciding() for a in addresses)
    assert one == two
    assert one["settings"]["sha256"] == known["sha256"]


def test_what_only_describes_decides_nothing(tmp_path: Path) -> None:
    plain = entry_of(tmp_path, weights="https://example.org/a.model")
    described = entry_of(
        tmp_path, weights="https://example.org/a.model", training_dispersion="none",
        elements=["H", "C"], license="MIT", citation="me",
    )  # fmt: skip
    assert plain.deciding() == described.deciding()
    ase = {"family": "ase", "calculator": "ase.calculators.emt:EMT"}
    (tmp_path / "models.yaml").write_text(
        yaml.safe_dump({"a": ase, "b": ase | {"elements": ["H"]}})
    )
    settings = [e.deciding()["settings"] for e in read_models(tmp_path / "models.yaml").values()]
    assert settings[0] != settings[1]  # there it says which scans are tried


def test_a_job_takes_the_file_from_the_cache_and_never_downloads(
    server: Server, tmp_path: Path
) -> None:
    path, resolved = cache_path(server.address()), tmp_path / "model.json"
    mine = entry_of(tmp_path, weights=server.address())
    resolved.write_text(json.dumps(settle(mine)))
    for weights in (path, None):
        entry = ModelEntry.from_file(resolved, weights, mine.sha256)
        assert entry.settings["weights"] == str(path)
        assert entry.settings["sha256"] == sha256(GOOD).hexdigest()
    path.write_bytes(OTHER)
    with pytest.raises(UserError, match="delete it and download it again") as caught:
        ModelEntry.from_file(resolved, path, mine.sha256)
    assert str(path) in one_line(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=f"pesbench entry mine --out {resolved}"):
        ModelEntry.from_file(resolved, path, mine.sha256)
    assert server.asked == ["/a.model"]


def test_a_job_that_is_not_told_where_the_weights_lie(tmp_path: Path) -> None:
    resolved = tmp_path / "model.json"
    (tmp_path / "a.model").write_bytes(GOOD)
    mine = entry_of(tmp_path, weights="a.model")
    resolved.write_text(json.dumps(settle(mine)))
    with pytest.raises(UserError, match="give --weights PATH"):
        ModelEntry.from_file(resolved, sha256=mine.sha256)


def test_an_entry_with_its_weights_here(server: Server, tmp_path: Path) -> None:
    entry = fetch_weights(entry_of(tmp_path, weights=server.address()))
    assert entry.settings["weights"] == str(cache_path(server.address()))
    assert entry.settings["sha256"] == sha256(GOOD).hexdigest()
    check_entry(entry)
    assert fetch_weights(entry) == entry


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("https:///a.model", "names no host"),
        ("ftp://example.org/a.model", "with http or https"),
        ("file:///a.model", "with http or https"),
    ],
)
def test_an_address_that_is_none_is_refused_before_any_work(
    tmp_path: Path, weights: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        entry_of(tmp_path, weights=weights)
    assert "models.yaml: model 'mine'" in one_line(caught.value)


# --- the command ---------------------------------------------------------------------------------


def run(tmp_path: Path, server: Server, **settings: str) -> list[str]:
    entry_of(tmp_path, **({"weights": server.address()} | settings))
    models, out = str(tmp_path / "models.yaml"), str(tmp_path / "model.json")
    return ["entry", "mine", "--models-file", models, "--out", out]


def test_the_command_downloads_and_writes_the_checksum(server: Server, tmp_path: Path) -> None:
    assert cli.main(run(tmp_path, server)) == 0
    settings = json.loads((tmp_path / "model.json").read_text())["settings"]
    assert settings["sha256"] == sha256(GOOD).hexdigest()
    assert settings["weights"] == server.address()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!DOCTYPE html>\n<html>Sign in</html>", "is an HTML page"),
        (b"Not the model you are looking for\n", "is text"),
        (GOOD[: len(GOOD) // 2], "is cut short"),  # as the server has it, of the length it says
        (b"", "is empty"),
        (None, "the server answers 404"),
    ],
)
def test_the_command_refuses_what_are_no_weights(
    server: Server, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    body: bytes | None, said: str,
) -> None:  # fmt: skip
    server.content = {} if body is None else {"/a.model": body}
    assert cli.main(run(tmp_path, server)) == 2
    message = caplog.messages[-1]
    for text in ("model 'mine'", server.address(), said):
        assert text in message
    assert "\n" not in message
    assert not (tmp_path / "model.json").exists()
    assert kept(cache) == []


def test_the_command_asks_for_a_retry(server: Server, tmp_path: Path) -> None:
    arguments = run(tmp_path, server)
    server.faults = [503] * transfer.ATTEMPTS
    assert cli.main(arguments) == 75
    assert not (tmp_path / "model.json").exists()
    assert cli.main(arguments) == 0


def test_two_commands_at_once_download_once(server: Server, tmp_path: Path) -> None:
    server.pause_s = 0.5
    arguments = run(tmp_path, server)
    commands = [
        [sys.executable, "-m", "pesbench", *arguments[:-1], str(tmp_path / f"{n}.json")]
        for n in range(2)
    ]
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    assert server.asked == ["/a.model"]
