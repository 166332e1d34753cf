"""Turns a run directory into a verified bundle; the only package that imports both training and service."""
