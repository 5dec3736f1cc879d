"""Transports to the models: in process, gRPC, HTTP."""
