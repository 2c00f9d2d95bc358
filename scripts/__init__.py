"""Makes the pictures that the product and its documentation carry."""
