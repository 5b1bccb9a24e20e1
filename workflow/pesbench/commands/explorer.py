"""The explorer of a folder of results: made by the workflow, and served to a reader."""

from __future__ import annotations

import argparse
import contextlib
import functools
import http
import http.server
import re
import webbrowser
from pathlib import Path
from typing import Any

from pesbench.commands.arguments import whole
from pesbench.commands.parsing import Stages
from pesbench.core.errors import UserError
from pesbench.report.graph import EXPLORER

LOOPBACK = "127.0.0.1"  # nobody else on the machine's network is served
# any port, since ssh may forward another one
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII | re.IGNORECASE)


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    one = stages.add_parser("explorer", help="write the folder of the explorer from sections")
    one.add_argument("--results", type=Path, required=True, help="folder of the scan set")
    one.add_argument("--scan-set", type=Path, required=True)
    one.add_argument("--sections", nargs="+", metavar="NAME",
                     help="sections to show, in order (default: all that exist)")  # fmt: skip
    one.set_defaults(run=_explorer)

    one = stages.add_parser(
        "explore",
        help="rebuild the explorer of a folder of results and serve it on this machine alone",
        for_people=True,
    )
    one.add_argument("results", type=Path, help="folder of results, such as results/mini")
    one.add_argument("--scan-set", type=Path, help="scan set file, if the folder does not hold it")
    one.add_argument("--port", type=whole(0, 65535), default=8000,
                     help="port; 0 takes a free one (default: %(default)s)")  # fmt: skip
    one.add_argument("--open", action="store_true", help="open it in the browser of this machine")
    one.add_argument("--no-server", action="store_true",
                     help="rebuild only; the folder opens from disk")  # fmt: skip
    one.set_defaults(run=_explore)


def _explorer(arguments: argparse.Namespace) -> None:
    _write(arguments.results, arguments.scan_set, arguments.sections)


def _write(results: Path, scan_set_file: Path, names: list[str] | None = None) -> None:
    from pesbench.files import provenance
    from pesbench.files.scan_set import ScanSet
    from pesbench.report import page
    from pesbench.report.board import board_of, model_sections_of
    from pesbench.report.content import answers_of, sections_of, title_of
    from pesbench.report.explorer.folder import Content, write_explorer

    with ScanSet(scan_set_file) as scan_set:
        sections = sections_of(results, scan_set, names)
        board = board_of(sections)
        content = Content(
            results=results,
            scan_set=scan_set,
            board=board,
            title=title_of(scan_set),
            facts=page.facts_of(scan_set),
            answers=answers_of(board, sections),
            sections=sections,
            of_models=model_sections_of(results, scan_set, board, sections),
            made=provenance.describe(scan_set.sha256),
        )
        write_explorer(results / EXPLORER, content)


def _explore(arguments: argparse.Namespace) -> None:
    results = arguments.results
    if not results.is_dir():
        raise UserError(f"{results}: no such folder of results")
    scan_set = arguments.scan_set or results / f"{results.absolute().name}.h5"
    folder = (results / EXPLORER).absolute()
    listening = None if arguments.no_server else server(folder, arguments.port)  # before the work
    with listening or contextlib.nullcontext() as serving:
        _write(results, scan_set)
        print(f"{folder / 'index.html'} opens in a browser as it is")
        if serving:
            port = serving.server_address[1]
            address = f"http://{LOOPBACK}:{port}/"
            print(f"{address} until Ctrl-C; from another machine: "
                  f"ssh -L {port}:{LOOPBACK}:{port} THIS_MACHINE", flush=True)  # fmt: skip
            if arguments.open:
                webbrowser.open(address)
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                print()
        elif arguments.open:
            webbrowser.open((folder / "index.html").as_uri())


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of one folder to pages of this machine, and lists none.

    A name of another host means that a page elsewhere has its own name resolve to this machine, by
    which it could read what is served here.
    """

    def send_head(self) -> Any:
        """The file that is asked for, or an error."""
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            self.send_error(http.HTTPStatus.MISDIRECTED_REQUEST, "this host is not served")
            return None
        asked, folder = Path(self.translate_path(self.path)), Path(self.directory)
        try:
            inside = asked.resolve().is_relative_to(folder)  # no link leads out of it
        except (OSError, ValueError):  # such as a null byte
            inside = False
        if not inside:
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Refuse what has no page of its own."""
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
        pass  # no line for each file

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # a rebuilt explorer is another one
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")  # data are scripts
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()


def server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of a folder for this machine alone, which listens and does not serve yet.

    Args:
        folder: Folder of an explorer.
        port: Port; 0 for a free one.

    Raises:
        UserError: the port is taken.
    """
    handler = functools.partial(_Handler, directory=str(folder.resolve()))
    try:
        return http.server.ThreadingHTTPServer((LOOPBACK, port), handler)
    except OSError as error:
        raise UserError(
            f"--port {port}: {error.strerror}; take another, or 0 for a free one"
        ) from error
