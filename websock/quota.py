"""Quota: how many connections of a kind there may be at a time.

Layer: shells. May import: exceptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from .exceptions import TooManyConnections, TooManyRequests

__all__ = ["Quota"]


class Quota:
    """Connections of one kind, counted in all and for each host.

    Args:
        kind: What they are, for those who are one too many.
        most: Most of them at a time; :obj:`None` means no limit.
        most_per_host: Most of one host; :obj:`None` means no limit.

    """

    def __init__(self, kind: str, most: int | None, most_per_host: int | None) -> None:
        self._kind = kind
        self._most = most
        self._most_per_host = most_per_host
        self._hosts: dict[Hashable, str] = {}
        self._counts: Counter[str] = Counter()

    def check(self, host: str) -> None:
        """Make sure that there is room for one more of ``host``.

        Raises:
            TooManyConnections: If there are too many in all.
            TooManyRequests: If there are too many of this host.

        """
        if self._most is not None and len(self._hosts) >= self._most:
            raise TooManyConnections(
                f"this server has as many {self._kind} as it takes"
            )
        if (
            self._most_per_host is not None
            and self._counts[host] >= self._most_per_host
        ):
            raise TooManyRequests(f"too many {self._kind} from this address")

    def add(self, connection: Hashable, host: str) -> None:
        """Count a connection."""
        self._hosts[connection] = host
        self._counts[host] += 1

    def discard(self, connection: Hashable) -> None:
        """Count a connection no more, if it was."""
        host = self._hosts.pop(connection, None)
        if host is not None:
            self._counts[host] -= 1
            if not self._counts[host]:
                del self._counts[host]
