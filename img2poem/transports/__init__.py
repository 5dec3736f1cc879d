"""The ways to the served models: in process, over gRPC, over HTTP."""
