"""Models of others that run as ONNX graphs and are compared with: FastSAM and SAM 2."""
