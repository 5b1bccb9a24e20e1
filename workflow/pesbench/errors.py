"""The two ways a command may end that are not results: bad input and a broken host."""

from __future__ import annotations

import os


class UserError(Exception):
    """Bad input. The message is one line naming the place and the cure."""

    exit_code = 2


class HostError(Exception):
    """The machine failed, not the model (memory, a killed worker): the command may be retried."""

    exit_code = os.EX_TEMPFAIL
