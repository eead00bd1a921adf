"""Quotas: who is counted, and who is one too many."""

from __future__ import annotations

import pytest

from websock.exceptions import TooManyConnections, TooManyRequests
from websock.quota import Quota


def test_quota_counts_all_and_each_host() -> None:
    """Those who leave make room, once."""
    quota = Quota("clients", 3, 2)
    for number, host in enumerate("aab"):
        quota.check(host)
        quota.add(number, host)

    with pytest.raises(TooManyConnections, match="has as many clients as it takes"):
        quota.check("c")
    for _ in range(2):
        quota.discard(2)
    quota.check("c")
    with pytest.raises(TooManyRequests, match="too many clients from this address"):
        quota.check("a")
    quota.discard(0)
    quota.check("a")
    quota.discard(1)
    assert not quota._counts
    assert not quota._hosts


def test_quota_of_none_has_no_end() -> None:
    """And nothing is left of a host that only asked."""
    quota = Quota("clients", None, None)

    for number in range(100):
        quota.check("a")
        quota.add(number, "a")

    Quota("clients", None, 1).check("a")
    Quota("clients", 1, None).check("a")


def test_asking_leaves_nothing() -> None:
    """Addresses that were refused once take no memory."""
    quota = Quota("clients", 1, 1)

    quota.check("a")

    assert not quota._counts
