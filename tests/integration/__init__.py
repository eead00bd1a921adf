"""Tests with real sockets, threads, and foreign peers."""
