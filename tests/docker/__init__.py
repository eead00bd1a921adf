"""Tests of the image: built, run, and talked to, on a real engine."""
