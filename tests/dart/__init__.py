"""Dart and Flutter as foreign clients."""
