"""Contracts of other systems: one module for each, a thin adapter over the request that all of them share.

A module has a `router`, which `app.py` lists. `bodies` finds the images in a JSON object, `answers` writes vectors and
errors, `schemas` describes both for `/docs`; none of the three knows a contract.
"""
