"""int8 backbones."""
