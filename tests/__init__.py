"""Tests of websock."""
