"""Quantisation of backbones to int8, and the choice between int8 and fp32."""
