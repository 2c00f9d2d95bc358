"""The studio: projects, pictures, labels, versions, runs and the live model, in a web page.

It imports `models` and drives `training` as a subprocess; it needs no PyTorch.
"""
