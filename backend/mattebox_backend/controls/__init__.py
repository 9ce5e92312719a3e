"""Mechanisms that steer sampling, one file each; a method is a list of them."""
