"""Close codes and reasons, as data (RFC 6455, 7.4).

Layer: core. May import: nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Close", "CloseCode"]


class CloseCode(enum.IntEnum):
    """Close codes that RFC 6455 (7.4.1) and its registry (11.7) define."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


@dataclass(frozen=True, slots=True)
class Close:
    """Code and reason of a Close frame (5.5.1)."""

    code: int
    """Close code; 1005 stands for a Close frame without one (7.1.5)."""
    reason: str = ""
    """Explanation for humans, empty if there is none (7.1.6)."""

    def __str__(self) -> str:
        """Code, its name and the reason, in one line."""
        try:
            name = CloseCode(self.code).name.lower().replace("_", " ")
        except ValueError:
            if 3000 <= self.code < 4000:
                name = "registered"
            elif 4000 <= self.code < 5000:
                name = "private use"
            else:
                name = "unknown"
        text = f"{self.code} ({name})"
        return f"{text} {self.reason}" if self.reason else text
