"""Model packages and model repositories: configuration, manifests, stamps and ONNX files."""
