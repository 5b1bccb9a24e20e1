"""pesbench: is a machine-learning potential's energy surface smooth enough for dynamics?"""

from __future__ import annotations

__version__ = "0.1.0"
