"""Worker process that holds the model: it loads it and answers one question after another."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from pesbench.core.host_memory import keep_freed_memory
from pesbench.core.interface import (
    Batch,
    Status,
    check_result,
    is_host_failure,
    is_lost_device,
    is_out_of_device_memory,
    told,
)
from pesbench.engine.wire import (
    Timed,
    answer,
    info_answer,
    read_question,
    result_answer,
)

_RSS_UNIT = 1024 if sys.platform == "linux" else 1


def _device_bytes() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    devices = range(torch.cuda.device_count())
    return max(int(torch.cuda.max_memory_allocated(device)) for device in devices)


def _host_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def _failure(error: BaseException) -> dict[str, Any]:
    """Answer of the worker for an error of the model."""
    if is_host_failure(error):
        return {"kind": "host", "message": told(error)}
    if is_lost_device(error):
        return {"kind": "lost", "message": told(error)}
    memory = is_out_of_device_memory(error)
    status = Status.OUT_OF_MEMORY if memory else Status.ERROR
    return {"kind": "failed", "status": status.value, "message": told(error)}


def _leave(end: SystemExit) -> None:
    """End as the model wishes, without waiting for its threads."""
    if not isinstance(end.code, int | None):
        print(told(end), file=sys.stderr, flush=True)
    os._exit(end.code & 0xFF if isinstance(end.code, int) else int(end.code is not None))


class _Server:
    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._pid = connection, os.getpid()
        self.number = 0

    def next_question(self) -> Any:
        """What is asked next; the process ends where nothing is."""
        asked = read_question(self._connection)
        if asked is None:
            os._exit(0)  # taking torch down in good order takes a second or two
        self.number, content = asked
        return content

    def send(self, header: dict[str, Any], *arrays: Any) -> None:
        """Answer the question."""
        if os.getpid() != self._pid:
            os._exit(1)  # a copy of the process, which the model made and let go on
        for part in answer({"number": self.number, **header}, *arrays):
            self._connection.sendall(part)


def _load(server: _Server) -> Any:
    entry, scan_set, device, threads = server.next_question()
    if not entry.uses_gpu(device):  # nor shall a package take one that it finds
        os.environ |= {"CUDA_VISIBLE_DEVICES": ""}
    try:
        from pesbench.models import registry
        from pesbench.models.parameters import loaded_info
        from pesbench.models.warm_up import warm_up

        held = None if scan_set is None else Path(scan_set)
        model = registry.load(entry, scan_set=held, device=device)
        info = loaded_info(model)
        if "torch" in sys.modules:  # it reads the environment, and a model may have changed it
            sys.modules["torch"].set_num_threads(threads)
        warm_up(model, info)
        server.send(info_answer(info, _host_bytes()))
    except SystemExit as end:
        _leave(end)
    except BaseException as error:
        server.send(_failure(error))
        os._exit(0)
    return model


def _evaluated(model: Any, batch: Batch) -> tuple[dict[str, Any], list[Any]]:
    start = time.perf_counter()
    result = check_result(batch, model.evaluate(batch))
    elapsed = time.perf_counter() - start
    return result_answer(Timed(result, elapsed, _device_bytes(), _host_bytes()))


def serve(connection: socket.socket) -> None:
    """Load a model and answer until the connection is closed; does not return.

    A question is a batch, or a function with its arguments, which is called with the model first
    and returns what JSON can hold.
    """
    keep_freed_memory()
    sys.argv = [""]  # those of the supervisor are no business of the model's
    # anew, since what they lead to has changed; a locale without some sign is no error of a model's
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
        for number in (1, 2)
    )
    try:
        server = _Server(connection)
        model = _load(server)
        while True:
            asked = server.next_question()
            arrays: list[Any] = []
            try:
                if isinstance(asked, Batch):
                    header, arrays = _evaluated(model, asked)
                else:
                    function, *arguments = asked
                    header = {"kind": "value", "value": function(model, *arguments)}
            except SystemExit as end:
                _leave(end)
            except BaseException as error:
                header, arrays = _failure(error), []
            server.send(header, *arrays)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
