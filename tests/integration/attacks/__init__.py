"""Attacks that a WebSocket server meets, each one sent for real over a socket."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.kit", f"{__name__}.arena")
