"""The studio: projects, pictures, labels, versions, training runs and the live model, in one page.

It imports `models` and drives `training` as a subprocess; it needs no PyTorch.
"""
