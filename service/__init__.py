"""Serves SimVAE bundles: `service.engine` is the library, `service.api` the HTTP in front of it."""
