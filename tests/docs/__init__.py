"""Tests of what the documentation shows: its programs run as they stand there."""
