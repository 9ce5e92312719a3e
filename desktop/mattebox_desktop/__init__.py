"""Mattebox."""
