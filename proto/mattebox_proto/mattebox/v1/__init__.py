"""Stubs made by proto/generate.py from proto/mattebox/v1/*.proto; do not edit."""
