"""Model packages and model repositories: configuration, manifests, stamps, ONNX files."""
