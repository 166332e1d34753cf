"""The contracts of other systems, each a thin layer over `service.api.exchange`."""
